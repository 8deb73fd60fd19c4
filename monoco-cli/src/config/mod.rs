//! What the user and the project have set: one TOML file for each, the environment
//! over both, and where each value comes from.
//!
//! A project's file came with the project, perhaps from a stranger. It may say how
//! sessions are kept and what agents are told, but what is executed (hooks, an
//! engine's arguments, the daemon's going on by itself) is honoured only where the
//! user's own file lists the project in `trust.projects`.

mod error;
mod file;
pub(crate) mod keys;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

pub(crate) use error::{ConfigError, Place};
use file::{Level, Set};
use keys::{KEYS, Reach};
use value::Command;
pub(crate) use value::Value;

use crate::text_file::{Folder, Refusal, Whose};
use crate::xdg;

/// The name of the file, in each folder.
const FILE_NAME: &str = "config.toml";
/// The largest file that is read, in bytes. Finding out where each key stands takes
/// time that grows with the square of it.
const MAX_LEN: u64 = 64 << 10;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Source {
    /// Nobody has set it.
    Default,
    /// A file.
    File(Place),
    /// The environment.
    Environment { variable: String },
}

/// What a key is set to.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) value: Value,
    pub(crate) source: Source,
}

/// A file that was looked for.
#[derive(Debug, Serialize)]
pub(crate) struct Looked {
    pub(crate) path: PathBuf,
    pub(crate) found: bool,
}

/// A program to be run when a session starts or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) command: Vec<String>,
    pub(crate) timeout: Duration,
}

/// The configuration that holds in a project, or outside of all.
#[derive(Debug)]
pub(crate) struct Config {
    settings: BTreeMap<String, Setting>,
    /// What the project sets, but is not trusted to.
    ignored: Vec<Set>,
    files: Vec<Looked>,
    project: Option<PathBuf>,
    is_trusted: bool,
}

/// What is read besides the project.
struct Surroundings<V: Fn(&str) -> Option<OsString>> {
    config_dir: Option<PathBuf>,
    home: Option<PathBuf>,
    variable: V,
}

impl Config {
    /// Reads what holds in `project`.
    ///
    /// # Errors
    /// When a file or a variable that sets something cannot be read or understood.
    pub(crate) fn load(project: Option<&Path>) -> Result<Self, ConfigError> {
        let surroundings = Surroundings {
            config_dir: xdg::config_dir(),
            home: xdg::home(),
            variable: |name: &str| std::env::var_os(name),
        };
        Self::load_in(&surroundings, project)
    }

    fn load_in<V: Fn(&str) -> Option<OsString>>(
        surroundings: &Surroundings<V>,
        project: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self {
            settings: defaults(),
            ignored: Vec::new(),
            files: Vec::new(),
            project: project.map(Path::to_owned),
            is_trusted: false,
        };
        if let Some(dir) = &surroundings.config_dir {
            let set = config.file(dir, Whose::Users)?;
            config.extend(set);
        }
        config.is_trusted = config.lists_project(surroundings.home.as_deref());
        if let Some(project) = project {
            let set = config.file(&project.join(".monoco"), Whose::Projects)?;
            let is_obeyed = |set: &Set| set.key.reach == Reach::All || config.is_trusted;
            let (obeyed, ignored) = set.into_iter().partition(is_obeyed);
            config.extend(obeyed);
            config.ignored = ignored;
        }
        config.environment(&surroundings.variable)?;
        Ok(config)
    }

    /// What the file in `dir` sets.
    fn file(&mut self, dir: &Path, whose: Whose) -> Result<Vec<Set>, ConfigError> {
        let path = dir.join(FILE_NAME);
        let text = read(dir, whose).map_err(|(path, source)| ConfigError::Read { path, source })?;
        let found = text.is_some();
        let level = match whose {
            Whose::Users => Level::User,
            Whose::Projects => Level::Project,
        };
        let set = file::parse(&path, &text.unwrap_or_default(), level)?;
        self.files.push(Looked { path, found });
        Ok(set)
    }

    fn extend(&mut self, set: Vec<Set>) {
        for Set {
            name, value, place, ..
        } in set
        {
            let source = Source::File(place);
            self.settings.insert(name, Setting { value, source });
        }
    }

    fn environment(
        &mut self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(), ConfigError> {
        for key in KEYS {
            let Some(name) = key.variable() else { continue };
            let Some(words) = variable(&name).filter(|words| !words.is_empty()) else {
                continue;
            };
            let words = words
                .into_string()
                .map_err(|_| "it is not UTF-8".to_owned());
            let value = words.and_then(|words| key.kind.of_words(&words));
            let value = value.map_err(|problem| ConfigError::Environment {
                variable: name.clone(),
                problem,
            })?;
            let source = Source::Environment { variable: name };
            self.settings
                .insert(key.name.to_owned(), Setting { value, source });
        }
        Ok(())
    }

    /// Whether `trust.projects` lists the project, by whatever links it was named.
    fn lists_project(&self, home: Option<&Path>) -> bool {
        let Some(project) = &self.project else {
            return false;
        };
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let is_it = |listed: &String| {
            let path = match (listed.strip_prefix("~/"), home) {
                (Some(below), Some(home)) => home.join(below),
                _ => PathBuf::from(listed),
            };
            path.is_absolute() && real(&path) == real(project)
        };
        self.list("trust.projects").iter().any(is_it)
    }

    /// Each key with what it is set to, in the order of the documentation. The
    /// engines' keys are those that are set.
    pub(crate) fn settings(&self) -> Vec<(&str, Option<&Setting>)> {
        let mut all = Vec::new();
        for key in KEYS {
            if key.matches(key.name).is_none() {
                all.push((key.name, self.settings.get(key.name)));
                continue;
            }
            let set = self.settings.iter();
            let set = set.filter(|(name, _)| key.matches(name) == Some(true));
            all.extend(set.map(|(name, setting)| (name.as_str(), Some(setting))));
        }
        all
    }

    /// What one key is set to.
    pub(crate) fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings.get(name)
    }

    /// What the project sets, but is not trusted to: name, value, and where.
    pub(crate) fn ignored(&self) -> impl Iterator<Item = (&str, &Value, &Place)> {
        let ignored = self.ignored.iter();
        ignored.map(|set| (set.name.as_str(), &set.value, &set.place))
    }

    /// The files that were looked for, the one that wins last.
    pub(crate) fn files(&self) -> &[Looked] {
        &self.files
    }

    /// What to tell whoever uses `name` (a key, or a section) about what the project
    /// sets there and is not trusted to.
    pub(crate) fn warnings(&self, name: &str) -> Vec<String> {
        let is_in = |key: &str| {
            let rest = key.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let ignored = self.ignored().filter(|(key, ..)| is_in(key));
        ignored
            .map(|(key, _, place)| format!("{key} of {place} is ignored: {}", self.distrust()))
            .collect()
    }

    /// Why, and what to do.
    pub(crate) fn distrust(&self) -> String {
        let user = xdg::config_dir().map(|dir| dir.join(FILE_NAME));
        let user = user.unwrap_or_else(|| FILE_NAME.into());
        let project = self.project.as_deref().unwrap_or(Path::new(""));
        format!(
            "the project is not trusted; to trust it, list \"{}\" in trust.projects in {}",
            project.display(),
            user.display()
        )
    }

    fn list(&self, name: &str) -> &[String] {
        match self.settings.get(name).map(|setting| &setting.value) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    fn commands(&self, name: &str) -> &[Command] {
        match self.settings.get(name).map(|setting| &setting.value) {
            Some(Value::Commands(commands)) => commands,
            _ => &[],
        }
    }

    fn time(&self, name: &str) -> Option<Duration> {
        match self.settings.get(name)?.value {
            Value::Time(time) => Some(time),
            _ => None,
        }
    }

    fn flag(&self, name: &str) -> bool {
        let setting = self.settings.get(name);
        setting.is_some_and(|setting| setting.value == Value::Flag(true))
    }

    fn text(&self, name: &str) -> &str {
        match self.settings.get(name).map(|setting| &setting.value) {
            Some(Value::Text(text)) => text,
            _ => unreachable!("{name} is a text and has a default"),
        }
    }
}

/// What the commands ask for.
impl Config {
    /// The role of a session that is started without one.
    pub(crate) fn run_role(&self) -> &str {
        self.text("run.role")
    }

    /// When a session is stopped that is started without a timeout.
    pub(crate) fn run_timeout(&self) -> Option<Duration> {
        self.time("run.timeout")
    }

    /// How long an agent whose time is up may take to end by itself.
    pub(crate) fn run_grace(&self) -> Duration {
        self.time("run.grace").expect("it has a default")
    }

    /// Whether what an agent leaves running lives on.
    pub(crate) fn run_leave_children(&self) -> bool {
        self.flag("run.leave_children")
    }

    /// What is run once an agent runs.
    pub(crate) fn hooks_on_start(&self) -> Vec<Hook> {
        self.hooks("hooks.on_start")
    }

    /// What is run once a session has ended.
    pub(crate) fn hooks_on_end(&self) -> Vec<Hook> {
        self.hooks("hooks.on_end")
    }

    fn hooks(&self, name: &str) -> Vec<Hook> {
        let usual = self.time("hooks.timeout").expect("it has a default");
        let commands = self.commands(name).iter();
        commands
            .map(|command| Hook {
                command: command.command.clone(),
                timeout: command.timeout.unwrap_or(usual),
            })
            .collect()
    }

    /// What is added to an engine's command lines.
    pub(crate) fn engine_args(&self, engine: &str) -> &[String] {
        self.list(&format!("engines.{engine}.args"))
    }

    /// The engines that something is set for, each with where: some may not exist.
    pub(crate) fn engines(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.settings.iter().filter_map(|(name, setting)| {
            let engine = name.strip_prefix("engines.")?.strip_suffix(".args")?;
            Some((engine, &setting.source))
        })
    }

    /// What an agent is told that goes on without another prompt.
    pub(crate) fn resume_prompt(&self) -> &str {
        self.text("resume.prompt")
    }

    /// Whether the daemon continues, when it starts, what was lost.
    pub(crate) fn serve_recover(&self) -> bool {
        self.flag("serve.recover")
    }

    /// Whether the user lets the project's own files say what is executed.
    pub(crate) fn trusts_project(&self) -> bool {
        self.is_trusted
    }
}

fn defaults() -> BTreeMap<String, Setting> {
    let default = |key: &keys::Key| {
        let value = key.kind.of_words(key.default?);
        let value = value.expect("every default is a value of its key");
        let source = Source::Default;
        Some((key.name.to_owned(), Setting { value, source }))
    };
    KEYS.iter().filter_map(default).collect()
}

/// The text of the file in `dir`, or what is not to be read, and why.
fn read(dir: &Path, whose: Whose) -> Result<Option<String>, (PathBuf, Refusal)> {
    let folder = Folder::open(dir, whose).map_err(|refusal| (dir.to_owned(), refusal))?;
    match folder {
        Some(folder) => folder
            .read(FILE_NAME, MAX_LEN)
            .map_err(|refusal| (folder.path_of(FILE_NAME), refusal)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
