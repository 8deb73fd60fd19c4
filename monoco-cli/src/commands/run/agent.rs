//! What `run` is to run: a command as it was typed, or an engine's with a prompt.

use std::ffi::OsString;
use std::path::Path;

use session_worker::Reading;

use super::prompt::{Issue, Prompt};
use super::shell::quoted;
use crate::args::Run;
use crate::commands::roles::named;
use crate::config::Config;
use crate::engines::{Added, Engines};
use crate::error::CliError;
use crate::issues::find::{Found, find};
use crate::issues::front_matter::Status;
use crate::roles::{Damaged, Roles};
use crate::{output, xdg};

/// What is to be run.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) argv: Vec<OsString>,
    /// Variables that are added to its environment.
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) role: String,
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
    pub(super) reading: Reading,
}

impl Agent {
    /// What `args` ask for, in the project at `project`, which may not be there yet.
    pub(super) fn of(project: &Path, args: &Run, config: &Config) -> Result<Self, CliError> {
        let role = args.role.as_deref().unwrap_or(config.run_role());
        if args.is_command() {
            return Ok(Self {
                argv: args.command.clone(),
                env: Vec::new(),
                role: role.to_owned(),
                told: None,
            });
        }
        let roles = roles(project);
        let role = named(&roles, role)?;
        let engines = Engines::load(Some(project), config)?;
        engines.tell_warnings();
        let engine = args.engine.as_deref().or(role.engine.as_deref());
        let engine = engines.get(engine.ok_or(CliError::NoEngine)?)?;
        let issue = args.issue.as_deref().map(|id| (id, issue(project, id)));
        let text = args.text();
        let prompt = Prompt {
            system: Some(&role.system_prompt),
            issue: issue.as_ref().map(|(id, found)| Issue {
                id,
                path: found.as_ref().map(|found| below(project, &found.path)),
                title: found.as_ref().and_then(|found| found.title.as_deref()),
            }),
            goal: Some(&role.goal),
            text: text.as_deref(),
        };
        let prompt = prompt.compose()?;
        let composed = engine.new_command(&prompt, &args.extra);
        Ok(Self {
            argv: composed.argv,
            env: composed.env,
            role: role.name.clone(),
            told: Some(Told {
                engine: engine.name.clone(),
                conversation: composed.conversation,
                prompt,
                added: engine.all_added(&args.extra),
                reading: engine.reading.clone(),
            }),
        })
    }
}

/// Says what is added to the engine's own command: it may take its reins off.
pub(in crate::commands) fn tell_added(engine: &str, added: &[Added]) {
    for Added { args, by } in added {
        let words = quoted(args);
        output::words(&format!("{engine} is also given {words} ({by})"));
    }
}

fn roles(project: &Path) -> Roles {
    let roles = Roles::load(xdg::home().as_deref(), Some(project));
    for Damaged { path, problem } in roles.damaged() {
        output::words(&format!("skipped {}: {problem}", path.display()));
    }
    roles
}

/// The issue's file. That there is none, or nothing left to do, stops nobody.
fn issue(project: &Path, id: &str) -> Option<Found> {
    let found = find(project, id);
    let found = found.unwrap_or_else(|error| {
        output::failure(&error);
        None
    });
    let settled = match found.as_ref().map(|found| found.status) {
        None => Some("has no file in Issues".to_owned()),
        Some(Some(status @ (Status::Closed | Status::Archived))) => {
            Some(format!("is {}", status.word()))
        }
        Some(_) => None,
    };
    if let Some(settled) = settled {
        output::words(&format!("warning: {id} {settled}"));
    }
    found
}

/// A path as the agent has it: from where it is started on, if that is the project's
/// directory.
fn below<'a>(project: &Path, path: &'a Path) -> &'a Path {
    let is_here = std::env::current_dir().is_ok_and(|here| here == project);
    match path.strip_prefix(project) {
        Ok(below) if is_here => below,
        _ => path,
    }
}
