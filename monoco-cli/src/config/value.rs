//! What a key's value may be, and how it is read from TOML and from the environment.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use jiff::SignedDuration;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::args::{duration, names};
use crate::nearest;

/// What is expected of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A length of time.
    Time,
    /// A session's timeout: whole seconds, at least one.
    Timeout,
    /// Some words.
    Text,
    /// A role's name.
    Role,
    /// A program's arguments.
    Arguments,
    /// Programs, each with its arguments.
    Commands,
    /// Absolute paths.
    Paths,
}

/// What a key is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Flag(bool),
    Time(Duration),
    Text(String),
    List(Vec<String>),
    Commands(Vec<Command>),
}

/// A program with its arguments, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) command: Vec<String>,
    pub(crate) timeout: Option<Duration>,
}

/// Where in the file something is wrong, and what.
pub(super) type Wrong = (Range<usize>, String);

type Node<'a, 'i> = &'a Spanned<DeValue<'i>>;

impl Kind {
    /// What it is called in the documentation.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Flag => "`true` or `false`",
            Self::Time | Self::Timeout => "time",
            Self::Text => "text",
            Self::Role => "role",
            Self::Arguments => "array of arguments",
            Self::Commands => "array of commands",
            Self::Paths => "array of paths",
        }
    }

    /// What an error asks for.
    fn expected(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Time | Self::Timeout => "a time, such as \"15m\", or 90 for seconds",
            Self::Text => "a text",
            Self::Role => "the name of a role",
            Self::Arguments => "an array of arguments, such as [\"--verbose\"]",
            Self::Commands => {
                "an array of commands, such as [[\"notify-send\", \"done\"]] or \
                 [{ command = [\"notify-send\", \"done\"], timeout = \"5s\" }]"
            }
            Self::Paths => "an array of absolute paths, such as [\"/home/me/project\"]",
        }
    }

    /// Whether the environment can tell it.
    pub(crate) fn is_scalar(self) -> bool {
        !matches!(self, Self::Arguments | Self::Commands | Self::Paths)
    }

    /// Reads a scalar from words outside of TOML.
    pub(super) fn of_words(self, words: &str) -> Result<Value, String> {
        match self {
            Self::Flag => match words {
                "true" | "1" => Ok(Value::Flag(true)),
                "false" | "0" => Ok(Value::Flag(false)),
                _ => Err("expected true or false".to_owned()),
            },
            Self::Time => duration::parse(words).map(Value::Time),
            Self::Timeout => duration::timeout(words).map(Value::Time),
            Self::Role => names::role(words).map(Value::Text),
            Self::Text if words.trim().is_empty() => Err("expected some words".to_owned()),
            Self::Text if words.contains('\0') => Err("a text holds no NUL".to_owned()),
            Self::Text => Ok(Value::Text(words.to_owned())),
            Self::Arguments | Self::Commands | Self::Paths => {
                Err(format!("expected {}", self.expected()))
            }
        }
    }

    /// Reads what stands in a file.
    pub(super) fn of_toml(self, node: Node<'_, '_>) -> Result<Value, Wrong> {
        match (self, node.get_ref()) {
            (Self::Flag, DeValue::Boolean(flag)) => Ok(Value::Flag(*flag)),
            (Self::Time | Self::Timeout, DeValue::Integer(seconds)) => {
                let seconds = i64::from_str_radix(seconds.as_str(), seconds.radix());
                let words = seconds.map(|seconds| seconds.to_string());
                let words = words.unwrap_or_default();
                self.of_words(&words).map_err(wrong(node))
            }
            (Self::Time | Self::Timeout | Self::Text | Self::Role, DeValue::String(text)) => {
                self.of_words(text).map_err(wrong(node))
            }
            (Self::Arguments, DeValue::Array(_)) => self.strings(node).map(Value::List),
            (Self::Paths, DeValue::Array(_)) => self.paths(node).map(Value::List),
            (Self::Commands, DeValue::Array(commands)) => {
                let commands = commands.iter().map(command);
                Ok(Value::Commands(commands.collect::<Result<_, _>>()?))
            }
            _ => Err(self.mistaken(node)),
        }
    }

    fn mistaken(self, node: Node<'_, '_>) -> Wrong {
        let found = match node.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        wrong(node)(format!("expected {}, found {found}", self.expected()))
    }

    /// Strings that can be handed to a program.
    fn strings(self, node: Node<'_, '_>) -> Result<Vec<String>, Wrong> {
        let items = node
            .get_ref()
            .as_array()
            .ok_or_else(|| self.mistaken(node))?;
        let string = |item: Node<'_, '_>| match item.get_ref().as_str() {
            Some(text) if text.contains('\0') => {
                Err(wrong(item)("an argument holds no NUL".to_owned()))
            }
            Some(text) => Ok(text.to_owned()),
            None => Err(self.mistaken(item)),
        };
        items.iter().map(string).collect()
    }

    fn paths(self, node: Node<'_, '_>) -> Result<Vec<String>, Wrong> {
        let paths = self.strings(node)?;
        match paths.iter().find(|path| !path.starts_with(['/', '~'])) {
            Some(relative) => Err(wrong(node)(format!(
                "`{relative}` is no absolute path; it begins with `/` or `~/`"
            ))),
            None => Ok(paths),
        }
    }
}

fn wrong(node: Node<'_, '_>) -> impl FnOnce(String) -> Wrong + use<> {
    let span = node.span();
    move |problem| (span, problem)
}

/// One of several commands: `["program", "argument"]`, or a table.
fn command(node: Node<'_, '_>) -> Result<Command, Wrong> {
    let (words, timeout) = match node.get_ref() {
        DeValue::Table(table) => fields(node, table)?,
        _ => (node, None),
    };
    let command = Kind::Commands.strings(words)?;
    match command.first() {
        Some(program) if !program.is_empty() => Ok(Command { command, timeout }),
        _ => Err(wrong(words)("a command begins with a program".to_owned())),
    }
}

fn fields<'a, 'i>(
    node: Node<'a, 'i>,
    table: &'a DeTable<'i>,
) -> Result<(Node<'a, 'i>, Option<Duration>), Wrong> {
    const FIELDS: [&str; 2] = ["command", "timeout"];
    let unknown = |name: &&Spanned<DeString<'_>>| !FIELDS.contains(&name.get_ref().as_ref());
    if let Some(name) = table.keys().find(unknown) {
        let problem = nearest::unknown("field of a command", name.get_ref(), FIELDS);
        return Err((name.span(), problem));
    }
    let timeout = match table.get("timeout").map(|node| Kind::Time.of_toml(node)) {
        Some(Ok(Value::Time(timeout))) => Some(timeout),
        Some(Err(wrong)) => return Err(wrong),
        _ => None,
    };
    let command = table.get("command");
    let command = command.ok_or_else(|| wrong(node)("`command` is missing".to_owned()))?;
    Ok((command, timeout))
}

/// As it would stand in a file, except that a text has no quotes.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Time(time) => f.write_str(&time_words(*time)),
            value => f.write_str(&serde_json::to_string(value).map_err(|_| fmt::Error)?),
        }
    }
}

fn time_words(time: Duration) -> String {
    match SignedDuration::try_from(time) {
        Ok(time) => format!("{time:#}").replace(' ', ""),
        // Longer than any clock counts.
        Err(_) => format!("{}s", time.as_secs()),
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Time(time) => serializer.serialize_str(&time_words(*time)),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(list) => list.serialize(serializer),
            Self::Commands(commands) => commands.serialize(serializer),
        }
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("command", &self.command)?;
        if let Some(timeout) = self.timeout {
            map.serialize_entry("timeout", &time_words(timeout))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, toml: &str) -> Result<String, String> {
        let node = DeValue::parse(toml).expect(toml);
        let value = kind.of_toml(&node).map_err(|(_, problem)| problem)?;
        Ok(value.to_string())
    }

    fn check(kind: Kind, toml: &str, expected: &str) {
        assert_eq!(read(kind, toml).as_deref(), Ok(expected), "{toml}");
    }

    fn refuses(kind: Kind, toml: &str, expected: &str) {
        let problem = read(kind, toml).expect_err(toml);
        assert!(problem.contains(expected), "{toml}: {problem}");
    }

    #[test]
    fn values_are_shown_as_they_can_be_written() {
        check(Kind::Flag, "true", "true");
        check(Kind::Time, "90", "1m30s");
        check(Kind::Time, "0x10", "16s");
        check(Kind::Time, "'2h 30m'", "2h30m");
        check(Kind::Time, "'500ms'", "500ms");
        check(Kind::Time, "0", "0s");
        check(Kind::Timeout, "'1500ms'", "2s");
        check(Kind::Text, "'Go on.'", "Go on.");
        check(Kind::Arguments, "['-v', 'a\"b']", r#"["-v","a\"b"]"#);
        check(Kind::Paths, "['/a', '~/b']", r#"["/a","~/b"]"#);
        check(
            Kind::Commands,
            "[['a', 'b'], {command = ['c'], timeout = 5}]",
            r#"[{"command":["a","b"]},{"command":["c"],"timeout":"5s"}]"#,
        );
    }

    #[test]
    fn what_is_shown_reads_the_same() {
        for time in ["1ns", "999ms", "1m30s", "25h", "100d"] {
            let first = read(Kind::Time, &format!("'{time}'")).expect(time);
            check(Kind::Time, &format!("'{first}'"), &first);
        }
    }

    #[test]
    fn other_values_are_refused_with_what_is_expected() {
        refuses(
            Kind::Flag,
            "'true'",
            "expected true or false, found a string",
        );
        refuses(Kind::Time, "-1", "15m");
        refuses(Kind::Time, "99999999999999999999999", "15m");
        refuses(Kind::Time, "1.5", "found a float");
        refuses(Kind::Timeout, "0", "at least one second");
        refuses(Kind::Text, "1", "expected a text, found an integer");
        refuses(Kind::Text, "' '", "some words");
        refuses(Kind::Text, r#""a\u0000""#, "NUL");
        refuses(Kind::Role, r#""a\nb""#, "one line");
        refuses(Kind::Arguments, "'-v'", r#"["--verbose"], found a string"#);
        refuses(Kind::Arguments, "['a', 1]", "found an integer");
        refuses(Kind::Arguments, r#"["\u0000"]"#, "NUL");
        refuses(Kind::Paths, "['here']", "`here` is no absolute path");
        refuses(Kind::Commands, "['notify-send']", "found a string");
        refuses(Kind::Commands, "[[]]", "begins with a program");
        refuses(Kind::Commands, "[{timeout = 1}]", "`command` is missing");
        refuses(
            Kind::Commands,
            "[{command = ['a'], timout = 1}]",
            "unknown field of a command `timout`; did you mean `timeout`?",
        );
    }
}
