//! The agents' programs that Monoco knows: engines. They are data, not code: a file
//! in this binary, over it the user's `engines.toml`, over that the project's.
//!
//! All that such a file says of an engine decides what is executed. A project's file
//! may have come with a clone, so it counts only where the user trusts the project.

mod engine;
mod file;
pub(crate) mod ready;
#[cfg(test)]
mod sample_tests;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) use engine::{Added, Conversation, Engine, NoResume, Source};
use session_worker::Reading;

use file::{Damage, Entries, Entry};

use crate::config::{self, Config};
use crate::error::CliError;
use crate::text_file::{Folder, Refusal, Whose};
use crate::{nearest, output, xdg};

/// The engines that come with Monoco.
const BUILT_IN: &str = include_str!("builtin.toml");
/// What the files are called.
const FILE: &str = "engines.toml";
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// All engines that there are.
#[derive(Debug)]
pub(crate) struct Engines {
    engines: BTreeMap<String, Engine>,
    /// What was set and does not count.
    warnings: Vec<String>,
}

/// The engines cannot be told, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnginesError {
    /// A file is there, but is not to be read.
    #[error("cannot read the engines in {}", path.display())]
    Read { path: PathBuf, source: Refusal },
    /// A file is not what it should be.
    #[error("cannot use the engines in {}:{line}:{column}: {message}", path.display())]
    Damaged {
        path: PathBuf,
        line: usize,
        column: usize,
        message: String,
    },
    /// Something is missing in what the files say of an engine, or does not fit.
    #[error("cannot use the engine `{name}` of {}: {why}", path.display())]
    Unusable {
        path: PathBuf,
        name: String,
        why: &'static str,
    },
    /// There is no such engine.
    #[error("no engine is called `{name}`{instead} (`monoco engines` lists all)")]
    Unknown { name: String, instead: String },
}

/// What all files together say of one engine.
#[derive(Debug, Default)]
struct Said {
    entry: Entry,
    sources: Vec<Source>,
}

impl Engines {
    /// Those built in, the user's and, if the project is trusted, the project's, with
    /// what the configuration adds to them.
    ///
    /// # Errors
    /// [`EnginesError`]: a file that cannot be read is not passed over, since what it
    /// was to say is not known.
    pub(crate) fn load(project: Option<&Path>, config: &Config) -> Result<Self, EnginesError> {
        let mut texts = vec![(Source::BuiltIn, BUILT_IN.to_owned())];
        if let Some(dir) = xdg::config_dir() {
            texts.extend(read(&dir, Whose::Users)?);
        }
        let mut warnings = config.warnings("engines");
        if let Some(dir) = project.map(|project| project.join(".monoco")) {
            if config.trusts_project() {
                texts.extend(read(&dir, Whose::Projects)?);
            } else if dir.join(FILE).symlink_metadata().is_ok() {
                let path = dir.join(FILE);
                warnings.push(format!(
                    "{} is ignored: {}",
                    path.display(),
                    config.distrust()
                ));
            }
        }
        let mut engines = merged(texts)?;
        for (name, source) in config.engines() {
            match engines.get_mut(name) {
                Some(engine) => engine.added = added(config, name, source),
                None => warnings.push(format!(
                    "engines.{name}.args is set ({}), but no engine is called so",
                    place(source)
                )),
            }
        }
        Ok(Self { engines, warnings })
    }

    /// Says what was set and does not count.
    pub(crate) fn tell_warnings(&self) {
        for warning in &self.warnings {
            output::words(warning);
        }
    }

    /// The engine of that name.
    ///
    /// # Errors
    /// [`EnginesError::Unknown`], with the nearest name.
    pub(crate) fn get(&self, name: &str) -> Result<&Engine, EnginesError> {
        self.engines.get(name).ok_or_else(|| {
            let known = self.engines.keys().map(String::as_str);
            let near = nearest::nearest(name, known);
            EnginesError::Unknown {
                name: name.to_owned(),
                instead: near.map_or(String::new(), |near| format!("; did you mean `{near}`?")),
            }
        })
    }

    /// All, by their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Engine> {
        self.engines.values()
    }
}

/// How what a session's agent prints is read, where that is known. What stands in the
/// way is said; it keeps nobody from the session.
pub(crate) fn reading_for(project: &Path, engine: Option<&str>) -> Option<Reading> {
    let engine = engine?;
    let load = || -> Result<_, CliError> {
        Ok(Engines::load(Some(project), &Config::load(Some(project))?)?)
    };
    match load() {
        Ok(engines) => engines
            .get(engine)
            .ok()
            .map(|engine| engine.reading.clone()),
        Err(error) => {
            output::failure(&error);
            None
        }
    }
}

/// What the file in `dir` says, if there is one.
fn read(dir: &Path, whose: Whose) -> Result<Option<(Source, String)>, EnginesError> {
    let path = dir.join(FILE);
    let text = Folder::open(dir, whose).and_then(|folder| match folder {
        Some(folder) => folder.read(FILE, MAX_FILE),
        None => Ok(None),
    });
    match text {
        Ok(text) => Ok(text.map(|text| (Source::File(path), text))),
        Err(source) => Err(EnginesError::Read { path, source }),
    }
}

fn added(config: &Config, name: &str, source: &config::Source) -> Option<Added> {
    let args = config.engine_args(name).to_vec();
    let by = place(source);
    (!args.is_empty()).then_some(Added { args, by })
}

/// Where a list is set, which only files do.
fn place(source: &config::Source) -> String {
    match source {
        config::Source::File(place) => place.to_string(),
        config::Source::Default | config::Source::Environment { .. } => "configuration".to_owned(),
    }
}

fn merged(texts: Vec<(Source, String)>) -> Result<BTreeMap<String, Engine>, EnginesError> {
    let mut all: BTreeMap<String, Said> = BTreeMap::new();
    for (source, text) in texts {
        for (name, entry) in entries(&source, &text)? {
            let said = all.entry(name).or_default();
            said.sources.push(source.clone());
            said.entry = std::mem::take(&mut said.entry).overridden(entry);
        }
    }
    let engine = |(name, said): (String, Said)| {
        let last = said.sources.last().map(path).unwrap_or_default();
        let engine = said.entry.into_engine(&name, said.sources);
        match engine {
            Ok(engine) => Ok((name, engine)),
            Err(why) => Err(EnginesError::Unusable {
                path: last,
                name,
                why,
            }),
        }
    };
    all.into_iter().map(engine).collect()
}

fn entries(source: &Source, text: &str) -> Result<Entries, EnginesError> {
    file::parse(text).map_err(|damage| {
        let Damage {
            line,
            column,
            message,
        } = damage;
        EnginesError::Damaged {
            path: path(source),
            line,
            column,
            message,
        }
    })
}

fn path(source: &Source) -> PathBuf {
    match source {
        Source::BuiltIn => Path::new("monoco").join(FILE),
        Source::File(path) => path.clone(),
    }
}
