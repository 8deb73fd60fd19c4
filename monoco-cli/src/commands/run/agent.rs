//! What `run` is to run: a command as it was typed, or an engine's with a prompt.

use std::ffi::OsString;
use std::path::Path;

use super::prompt::{Issue, Prompt};
use super::shell::quoted;
use crate::args::Run;
use crate::engines::{Added, Engines, Settings};
use crate::error::CliError;
use crate::output;

/// What is to be run.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) argv: Vec<OsString>,
    /// Variables that are added to its environment.
    pub(super) env: Vec<(OsString, OsString)>,
    /// What is more when it is an engine's.
    pub(super) told: Option<Told>,
}

/// An engine with what it is told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) engine: String,
    /// The conversation's id, where it is known already.
    pub(super) conversation: Option<String>,
    pub(super) prompt: String,
    /// What the engine's own command does not have.
    pub(super) added: Vec<Added>,
}

impl Agent {
    /// What `args` ask for, in the project at `project`, which may not be there yet.
    pub(super) fn of(project: &Path, args: &Run) -> Result<Self, CliError> {
        if args.is_command() {
            return Ok(Self {
                argv: args.command.clone(),
                env: Vec::new(),
                told: None,
            });
        }
        let engines = Engines::load(Some(project), Settings::default())?;
        engines.tell_ignored();
        let engine = args.engine.as_deref().ok_or(CliError::NoEngine)?;
        let engine = engines.get(engine)?;
        let text = args.text();
        let prompt = Prompt {
            issue: args.issue.as_deref().map(|id| Issue { id, file: None }),
            text: text.as_deref(),
            ..Prompt::default()
        };
        let prompt = prompt.compose()?;
        let composed = engine.new_command(&prompt, &args.extra);
        let typed = (!args.extra.is_empty()).then(|| typed(&args.extra));
        Ok(Self {
            argv: composed.argv,
            env: composed.env,
            told: Some(Told {
                engine: engine.name.clone(),
                conversation: composed.conversation,
                prompt,
                added: engine.added.iter().cloned().chain(typed).collect(),
            }),
        })
    }
}

impl Told {
    /// Says what is added to the engine's own command: it may take its reins off.
    pub(super) fn tell_added(&self) {
        for Added { args, by } in &self.added {
            let words = quoted(args);
            output::words(&format!("{} is also given {words} (by {by})", self.engine));
        }
    }
}

fn typed(extra: &[OsString]) -> Added {
    let words = extra.iter().map(|word| word.to_string_lossy().into_owned());
    Added {
        args: words.collect(),
        by: "the command line".to_owned(),
    }
}
