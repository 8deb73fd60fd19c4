//! One file of the configuration: which keys it sets, and where.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place};
use super::keys::{KEYS, Key, Meaning, Reach, meaning, unknown};
use super::value::{Value, Wrong};

/// Who wrote the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    User,
    Project,
}

/// A key that a file sets.
#[derive(Debug)]
pub(super) struct Set {
    /// Its whole name.
    pub(super) name: String,
    pub(super) key: &'static Key,
    pub(super) value: Value,
    pub(super) place: Place,
}

/// Reads the text of a file. Of several things that are wrong, the first is told.
pub(super) fn parse(path: &Path, text: &str, level: Level) -> Result<Vec<Set>, ConfigError> {
    let at = |offset| Place::of(path.to_owned(), text, offset);
    let error = |(span, problem): Wrong| ConfigError::File {
        place: at(span.start),
        problem,
    };
    let table = DeTable::parse(text).map_err(|damage| {
        let span = damage.span().unwrap_or_default();
        error((span, damage.message().replace('\n', ", ")))
    })?;
    let mut reader = Reader {
        level,
        set: Vec::new(),
        wrong: Vec::new(),
    };
    reader.read(&mut Vec::new(), table.get_ref());
    if let Some(first) = reader.wrong.into_iter().min_by_key(|(span, _)| span.start) {
        return Err(error(first));
    }
    let set = reader.set.into_iter();
    Ok(set
        .map(|(name, key, value, offset)| Set {
            name,
            key,
            value,
            place: at(offset),
        })
        .collect())
}

struct Reader {
    level: Level,
    set: Vec<(String, &'static Key, Value, usize)>,
    wrong: Vec<Wrong>,
}

impl Reader {
    /// Reads a table whose own name is `parts`.
    fn read(&mut self, parts: &mut Vec<String>, table: &DeTable<'_>) {
        for (name, node) in table {
            parts.push(name.get_ref().clone().into_owned());
            match meaning(parts) {
                Meaning::Unknown => self.wrong.push((name.span(), unknown(parts))),
                Meaning::Key(place) => self.key(parts, &KEYS[place], name.span().start, node),
                Meaning::Section => match node.get_ref() {
                    DeValue::Table(table) => self.read(parts, table),
                    _ => {
                        let name = parts.join(".");
                        self.wrong.push((
                            node.span(),
                            format!("`{name}` is a section of keys, not a value"),
                        ));
                    }
                },
            }
            parts.pop();
        }
    }

    fn key(
        &mut self,
        parts: &[String],
        key: &'static Key,
        offset: usize,
        node: &Spanned<DeValue<'_>>,
    ) {
        let name = parts.join(".");
        if key.reach == Reach::User && self.level == Level::Project {
            let problem = format!("`{name}` is only for the user's own file, not for a project's");
            self.wrong.push((offset..offset, problem));
            return;
        }
        match key.kind.of_toml(node) {
            Ok(value) => self.set.push((name, key, value, offset)),
            Err((span, problem)) => self.wrong.push((span, format!("`{name}`: {problem}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(text: &str, expected: &str) {
        let error = parse(Path::new("/c"), text, Level::Project).expect_err(text);
        let words = error.to_string();
        assert_eq!(
            words,
            format!("cannot use the configuration {expected}"),
            "{text}"
        );
    }

    #[test]
    fn every_key_that_is_set_has_its_place() {
        let text = "run.role = 'A'\n[hooks]\n  timeout = 5\n[engines.claude]\nargs = ['-v']\n";
        let set = parse(Path::new("/c"), text, Level::Project).expect("right");
        let mut shown: Vec<_> = set
            .iter()
            .map(|set| format!("{} {} = {}", set.place, set.name, set.value))
            .collect();
        shown.sort();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        /c:1:5 run.role = A
        /c:3:3 hooks.timeout = 5s
        /c:5:1 engines.claude.args = ["-v"]
        "#);
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        refuses(
            "[run]\n  timout = '5m'",
            "/c:2:3: unknown key `run.timout`; did you mean `run.timeout`?",
        );
        refuses("[runs]", "/c:1:2: unknown key `runs`; did you mean `run`?");
        refuses(
            "[engines.claude]\nargs = ['-v', 5]",
            "/c:2:15: `engines.claude.args`: expected an array of arguments, \
             such as [\"--verbose\"], found an integer",
        );
        refuses(
            "run.timeout = 'soon'",
            "/c:1:15: `run.timeout`: expected a time, such as 90 (seconds), 15m, 2h30m or 7d",
        );
        refuses("run = 5", "/c:1:7: `run` is a section of keys, not a value");
        refuses("run.role = 'a'\nrun.role = 'b'", "/c:2:5: duplicate key");
        refuses(
            "trust.projects = ['/p']",
            "/c:1:7: `trust.projects` is only for the user's own file, not for a project's",
        );
    }

    #[test]
    fn of_several_the_first_is_told() {
        refuses("[run]\nz = 1\na = 1", "/c:2:1: unknown key `run.z`");
    }

    #[test]
    fn depth_is_bounded() {
        let dotted = vec!["a"; 30_000].join(".");
        for deep in [
            format!("run.role = {}", "[".repeat(60_000)),
            format!("run.role = {}", "{a=".repeat(20_000)),
            format!("[{dotted}]"),
            format!("{dotted} = 1"),
            format!("run.role = {{{dotted} = 1}}"),
            format!("hooks.on_end = [[{{{dotted} = 1}}]]"),
        ] {
            assert!(parse(Path::new("/c"), &deep, Level::Project).is_err());
        }
    }
}
