//! The keys of the configuration: the one table that files are read by, that
//! `monoco config` shows, and that the documentation prints.

use std::fmt::Write;

use super::value::Kind;
use crate::nearest;

/// Where a key may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// In the user's file and in every project's.
    All,
    /// In a project's file only where the user trusts the project: it says what is
    /// executed.
    Trusted,
    /// Only in the user's file.
    User,
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name; `<name>` in it stands for whatever the user calls it.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// As it would stand in the environment; `None` where nothing is set.
    pub(crate) default: Option<&'static str>,
    pub(crate) reach: Reach,
    /// What it does, for people.
    pub(crate) about: &'static str,
}

/// All that there are, in the order in which they are shown.
pub(crate) const KEYS: &[Key] = &[
    Key {
        name: "run.role",
        kind: Kind::Role,
        default: Some("Default"),
        reach: Reach::All,
        about: "The role of a session that is started without `--role`",
    },
    Key {
        name: "run.timeout",
        kind: Kind::Timeout,
        default: None,
        reach: Reach::All,
        about: "Stop a session after this time, without `--timeout`",
    },
    Key {
        name: "run.grace",
        kind: Kind::Time,
        default: Some("10s"),
        reach: Reach::All,
        about: "How long an agent whose time is up may take to end by itself",
    },
    Key {
        name: "run.leave_children",
        kind: Kind::Flag,
        default: Some("false"),
        reach: Reach::All,
        about: "Let live what an agent leaves running, as `--leave-children`",
    },
    Key {
        name: "hooks.on_start",
        kind: Kind::Commands,
        default: None,
        reach: Reach::Trusted,
        about: "Run when an agent runs, with its session's record on standard input",
    },
    Key {
        name: "hooks.on_end",
        kind: Kind::Commands,
        default: None,
        reach: Reach::Trusted,
        about: "Run when a session has ended, with its record on standard input",
    },
    Key {
        name: "hooks.timeout",
        kind: Kind::Time,
        default: Some("10s"),
        reach: Reach::All,
        about: "How long a hook may take that has no `timeout` of its own",
    },
    Key {
        name: "engines.<name>.args",
        kind: Kind::Arguments,
        default: None,
        reach: Reach::Trusted,
        about: "Added to the engine's command lines, such as flags that skip permissions",
    },
    Key {
        name: "resume.prompt",
        kind: Kind::Text,
        default: Some("Continue where you left off."),
        reach: Reach::All,
        about: "What an agent is told that goes on without another prompt",
    },
    Key {
        name: "serve.recover",
        kind: Kind::Flag,
        default: Some("false"),
        reach: Reach::Trusted,
        about: "Let the daemon continue what was lost when it starts, as `--recover`",
    },
    Key {
        name: "trust.projects",
        kind: Kind::Paths,
        default: None,
        reach: Reach::User,
        about: "The projects whose own files may say what is executed",
    },
];

/// What a dotted name means.
#[derive(Debug)]
pub(super) enum Meaning {
    /// A key, by its place among [`KEYS`].
    Key(usize),
    /// The beginning of keys.
    Section,
    /// Nothing.
    Unknown,
}

/// Looks a name up, part by part.
pub(super) fn meaning(parts: &[String]) -> Meaning {
    let begins = |key: &Key| {
        let mut names = key.name.split('.');
        parts
            .iter()
            .all(|part| matches!(names.next(), Some(name) if name == "<name>" || name == part))
    };
    let Some(place) = KEYS.iter().position(begins) else {
        return Meaning::Unknown;
    };
    if KEYS[place].name.split('.').count() == parts.len() {
        Meaning::Key(place)
    } else {
        Meaning::Section
    }
}

/// Says that a name is unknown, and which key or section may have been meant.
pub(super) fn unknown(parts: &[String]) -> String {
    let mut known = Vec::new();
    for key in KEYS {
        // Somebody who has named an engine has named it rightly.
        let engine = parts.get(1).filter(|_| parts.len() > 2);
        known.push(match engine {
            Some(engine) => key.name.replace("<name>", engine),
            None => key.name.to_owned(),
        });
    }
    if let [_] = parts {
        let sections = KEYS.iter().filter_map(|key| key.name.split('.').next());
        known.extend(sections.map(str::to_owned));
    }
    let known = known.iter().map(String::as_str);
    nearest::unknown("key", &parts.join("."), known)
}

/// For clap: all keys, and what they do.
pub(crate) fn help() -> String {
    let mut help = "Keys:".to_owned();
    for key in KEYS {
        let (name, word, about) = (key.name, key.kind.word(), key.about);
        // Writing to a string does not fail.
        let _ = write!(help, "\n  {name}  {word}");
        if let Some(default) = key.default {
            let _ = write!(help, " [default: {default}]");
        }
        let _ = write!(help, "\n      {about}");
    }
    help
}

/// For clap: the name of a key.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let parts: Vec<_> = text.split('.').map(str::to_owned).collect();
    match meaning(&parts) {
        Meaning::Key(_) if parts.iter().all(|part| !part.is_empty()) => Ok(text.to_owned()),
        Meaning::Section => Err(format!(
            "`{text}` is a section; `monoco config` lists its keys"
        )),
        Meaning::Key(_) | Meaning::Unknown => Err(unknown(&parts)),
    }
}

impl Key {
    /// The environment variable that stands over the files; lists have none.
    pub(crate) fn variable(&self) -> Option<String> {
        let name = self.name.replace('.', "_").to_uppercase();
        self.kind.is_scalar().then(|| format!("MONOCO_{name}"))
    }

    /// Whether `name` is this key, where the key's own name is not whole; `None`
    /// where it is.
    pub(super) fn matches(&self, name: &str) -> Option<bool> {
        let (before, after) = self.name.split_once("<name>")?;
        Some(name.starts_with(before) && name.ends_with(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as `docs/configuration.md` has it.
    fn documentation() -> String {
        let mut table =
            "| key | value | default | environment | a project's file | what it does |\n\
                         |---|---|---|---|---|---|\n"
                .to_owned();
        for key in KEYS {
            let or_none =
                |text: Option<String>| text.map_or(String::new(), |text| format!("`{text}`"));
            let reach = match key.reach {
                Reach::All => "yes",
                Reach::Trusted => "if trusted",
                Reach::User => "no",
            };
            let (name, word, about) = (key.name, key.kind.word(), key.about);
            let default = or_none(key.default.map(str::to_owned));
            let variable = or_none(key.variable());
            writeln!(
                table,
                "| `{name}` | {word} | {default} | {variable} | {reach} | {about} |"
            )
            .expect("a string grows");
        }
        table
    }

    #[test]
    fn the_documentation_has_this_table() {
        let page = std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../docs/configuration.md"
        ));
        let (page, table) = (page.expect("it is there"), documentation());
        assert!(
            page.contains(&table),
            "docs/configuration.md is to have:\n{table}"
        );
    }

    #[test]
    fn every_default_is_a_value_of_its_key() {
        for key in KEYS {
            if let Some(default) = key.default {
                let value = key.kind.of_words(default).expect(key.name);
                assert_eq!(value.to_string(), default, "{}", key.name);
            }
        }
    }

    #[test]
    fn a_name_is_a_key_or_told_which_one_is_near() {
        let check = |text: &str, expected: Result<(), &str>| {
            let read = name(text).map(|_| ());
            assert_eq!(read, expected.map_err(str::to_owned), "{text}");
        };
        check("run.timeout", Ok(()));
        check("engines.claude.args", Ok(()));
        check(
            "run",
            Err("`run` is a section; `monoco config` lists its keys"),
        );
        check(
            "run.timout",
            Err("unknown key `run.timout`; did you mean `run.timeout`?"),
        );
        check(
            "timeout",
            Err("unknown key `timeout`; did you mean `run.timeout`?"),
        );
        check("hook", Err("unknown key `hook`; did you mean `hooks`?"));
        check(
            "engines.claude.arg",
            Err("unknown key `engines.claude.arg`; did you mean `engines.claude.args`?"),
        );
        check(
            "run.timeout.x",
            Err("unknown key `run.timeout.x`; did you mean `run.timeout`?"),
        );
        check("colour", Err("unknown key `colour`"));
        assert!(name("engines..args").is_err() && name("").is_err());
    }
}
