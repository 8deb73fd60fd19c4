//! The agents' programs that Monoco knows: engines. They are data, not code: a file
//! in this binary, over it the user's `engines.toml`, over that the project's.
//!
//! All that such a file says of an engine decides what is executed. A project's file
//! may have come with a clone, so it counts only where the user trusts the project.

mod engine;
mod file;
pub(crate) mod ready;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use engine::{Added, Composed, Conversation, Engine, NoResume, Source};
use file::{Damage, Entries, Entry};

use crate::{output, xdg};

/// The engines that come with Monoco.
const BUILT_IN: &str = include_str!("builtin.toml");
/// What the files are called.
const FILE: &str = "engines.toml";

/// All engines that there are.
#[derive(Debug)]
pub(crate) struct Engines {
    engines: BTreeMap<String, Engine>,
    /// The file of a project that is not trusted.
    ignored: Option<PathBuf>,
}

/// The engines cannot be told, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnginesError {
    /// A file is there, but cannot be read.
    #[error("cannot read the engines in {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file is not what it should be.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Damaged {
        path: PathBuf,
        line: usize,
        column: usize,
        message: String,
    },
    /// Something is missing in what the files say of an engine, or does not fit.
    #[error("{}: the engine `{name}` cannot be used: {why}", path.display())]
    Unusable {
        path: PathBuf,
        name: String,
        why: &'static str,
    },
    /// There is no such engine.
    #[error("no engine is called `{name}`; did you mean `{nearest}`? `monoco engines` lists all")]
    Unknown { name: String, nearest: String },
}

/// What the configuration says of engines.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Whether the project's own file counts.
    pub(crate) is_trusted: bool,
    /// What is added to commands, by the engines' names.
    pub(crate) args: BTreeMap<String, Added>,
}

/// What all files together say of one engine.
#[derive(Debug, Default)]
struct Said {
    entry: Entry,
    sources: Vec<Source>,
}

impl Engines {
    /// Those built in, the user's and, if the project is trusted, the project's.
    ///
    /// # Errors
    /// [`EnginesError`]: a file that cannot be read is not passed over, since what it
    /// was to say is not known.
    pub(crate) fn load(
        project: Option<&Path>,
        mut settings: Settings,
    ) -> Result<Self, EnginesError> {
        let users = xdg::config_dir().map(|dir| dir.join(FILE));
        let projects = project.map(|project| project.join(".monoco").join(FILE));
        let (projects, ignored) = match settings.is_trusted {
            true => (projects, None),
            false => (
                None,
                projects.filter(|path| path.symlink_metadata().is_ok()),
            ),
        };
        let files = users.into_iter().chain(projects);
        let mut texts = vec![(Source::BuiltIn, BUILT_IN.to_owned())];
        for path in files {
            let text = file::read(&path).map_err(|source| EnginesError::Read {
                path: path.clone(),
                source,
            })?;
            texts.extend(text.map(|text| (Source::File(path), text)));
        }
        let mut engines = merged(texts)?;
        for engine in engines.values_mut() {
            let added = settings.args.remove(&engine.name);
            engine.added = added.filter(|added| !added.args.is_empty());
        }
        Ok(Self { engines, ignored })
    }

    /// Says that a file was not read, where that is so.
    pub(crate) fn tell_ignored(&self) {
        if let Some(path) = &self.ignored {
            output::words(&format!(
                "{} is not read: it says what is executed, and `trust.projects` of your \
                 configuration does not list the project",
                path.display()
            ));
        }
    }

    /// The engine of that name.
    ///
    /// # Errors
    /// [`EnginesError::Unknown`], with the nearest name.
    pub(crate) fn get(&self, name: &str) -> Result<&Engine, EnginesError> {
        self.engines.get(name).ok_or_else(|| {
            let distance = |known: &&String| strsim::damerau_levenshtein(name, known);
            let nearest = self.engines.keys().min_by_key(distance);
            EnginesError::Unknown {
                name: name.to_owned(),
                nearest: nearest.expect("some are built in").clone(),
            }
        })
    }

    /// All, by their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Engine> {
        self.engines.values()
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
