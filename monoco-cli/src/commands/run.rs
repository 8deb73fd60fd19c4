//! `monoco run`: run an agent as a session that outlives this terminal.

mod agent;
mod dry_run;
mod prompt;
mod shell;

use std::path::Path;

use rustix::fs::FileType;
use session_core::{NewSession, SessionId, SessionManager};
use session_worker::{AgentStdin, HOOK_MARK, HOOK_SESSION_VAR, Hook, Hooks, Launch, Spare};

use agent::Agent;
pub(super) use agent::tell_added;
pub(crate) use prompt::PromptError;

use super::start::start;
use crate::args::Run;
use crate::config::{self, Config};
use crate::error::CliError;
use crate::exit::Exit;
use crate::{output, project, xdg};

/// The variable that tells an agent's session to what the agent starts.
const SESSION_ID_VAR: &str = session_core::process::SESSION_ID_VAR;

pub(super) fn run(
    project: Option<&Path>,
    args: Run,
    spare: Option<Spare>,
) -> Result<Exit, CliError> {
    let project = project::here(project)?;
    let config = Config::load(Some(&project))?;
    let agent = Agent::of(&project, &args, &config)?;
    let stdin = match &agent.told {
        // Some engines wait for the end of a pipe, others take it for a prompt.
        Some(_) if !args.stdin => AgentStdin::Null,
        Some(_) => agent_stdin(true, true)?,
        None => agent_stdin(args.detach, args.stdin)?,
    };
    if args.dry_run {
        return dry_run::dry_run(&project, &args, &agent, stdin);
    }
    config
        .warnings("hooks")
        .iter()
        .for_each(|warning| output::words(warning));
    if let Some(told) = &agent.told {
        tell_added(&told.engine, &told.added);
    }
    let manager = SessionManager::create(project)?;
    let launch = launch(&args, agent, stdin, &config);
    start(&manager, launch, args.detach, spare)
}

fn launch(args: &Run, agent: Agent, stdin: AgentStdin, config: &Config) -> Launch {
    let labels = args.label.iter().cloned();
    let (engine, conversation_id, reading) = match agent.told {
        Some(told) => (Some(told.engine), told.conversation, Some(told.reading)),
        None => (None, None, None),
    };
    Launch {
        session: NewSession {
            issue_id: args.issue.clone(),
            role_name: Some(agent.role),
            engine,
            conversation_id,
            name: args.name.clone(),
            labels: labels.map(|label| (label.key, label.value)).collect(),
            parent_id: parent(),
            timeout: args.timeout.or(config.run_timeout()),
            ..NewSession::default()
        },
        argv: agent.argv,
        stdin,
        env: agent.env,
        leave_children: args.leave_children || config.run_leave_children(),
        remove_at_end: args.rm,
        grace: config.run_grace(),
        reading,
        hooks: hooks(config),
        conversations: xdg::conversations(),
        ..Launch::default()
    }
}

/// The session whose agent, or hook, has started this process.
pub(super) fn parent() -> Option<SessionId> {
    let id = std::env::var(SESSION_ID_VAR).ok()?;
    let id = match id.starts_with(HOOK_MARK) {
        true => std::env::var(HOOK_SESSION_VAR).ok()?,
        false => id,
    };
    SessionId::parse(&id).ok()
}

/// The programs that are configured to be run when a session starts and ends.
pub(crate) fn hooks(config: &Config) -> Hooks {
    let hook = |config::Hook { command, timeout }| Hook { command, timeout };
    let hooks = |configured: Vec<config::Hook>| configured.into_iter().map(hook).collect();
    Hooks {
        on_start: hooks(config.hooks_on_start()),
        on_end: hooks(config.hooks_on_end()),
    }
}

/// A terminal is never the agent's. In the foreground a pipe, a socket or a file
/// is; detached only a file, which has an end, unless `asked`.
fn agent_stdin(detach: bool, asked: bool) -> Result<AgentStdin, CliError> {
    let stdin = rustix::stdio::stdin();
    let stat = rustix::fs::fstat(stdin)
        .map_err(|error| CliError::io("look at standard input")(error.into()))?;
    let inherits = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => true,
        FileType::Fifo | FileType::Socket => asked || !detach,
        _ => asked && !rustix::termios::isatty(stdin),
    };
    Ok(if inherits {
        AgentStdin::Inherit
    } else {
        AgentStdin::Null
    })
}
