//! All that can be done to a session and might signal somebody.

use std::time::Duration;

use monoco_tests::{Project, monoco};
use session_core::{SessionId, SessionManager, error_chain};
use session_worker::{Adoption, Launcher};

/// What the library is asked to do. (`reconcile`, `list` and `prune` are about all sessions.)
pub(crate) const VERBS: [&str; 12] = [
    "get",
    "list",
    "stop",
    "stop-gently",
    "kill",
    "kill-usr1",
    "suspend",
    "resume",
    "discard",
    "adopt",
    "settle",
    "reconcile",
];

/// The same and more, as people ask for it.
const COMMANDS: [&[&str]; 13] = [
    &["ps"],
    &["ps", "-a"],
    &["show", "ID"],
    &["stop", "-t", "0", "ID"],
    &["stop", "-t", "1", "ID"],
    &["kill", "ID"],
    &["kill", "-s", "USR1", "ID"],
    &["suspend", "ID"],
    &["resume", "ID"],
    &["rm", "-f", "ID"],
    &["adopt", "--all"],
    &["prune"],
    &["doctor"],
];
pub(crate) const N_COMMANDS: u64 = COMMANDS.len() as u64;

/// Whether `verb` means to signal a session's agent, if it is the agent, or takes it
/// into the care of somebody who does.
pub(crate) fn may_signal(verb: &str) -> bool {
    matches!(
        verb,
        "stop" | "stop-gently" | "kill" | "kill-usr1" | "discard" | "adopt"
    )
}

/// Asks the library. What it says when it does it, or why it does not.
pub(crate) fn drive(
    manager: &SessionManager,
    verb: &str,
    id: &SessionId,
) -> Result<String, String> {
    const BY: &str = "a campaign";
    const USR1: i32 = 10;
    const KILL: i32 = 9;
    let status = |session: session_core::Session| session.status().to_string();
    match verb {
        "get" => manager
            .get(id)
            .map(|seen| seen.liveness.as_str().to_owned())
            .map_err(told),
        "list" => {
            let listing = manager.list().map_err(told)?;
            let mut sessions = listing.sessions.into_iter();
            let seen = sessions.find(|seen| seen.session.id == *id);
            seen.map(|seen| seen.liveness.as_str().to_owned())
                .ok_or_else(|| "not listed".to_owned())
        }
        "stop" => manager
            .stop(id, Duration::ZERO, BY)
            .map(status)
            .map_err(told),
        "stop-gently" => manager
            .stop(id, Duration::from_millis(20), BY)
            .map(status)
            .map_err(told),
        "kill" => manager.kill(id, KILL, BY).map(status).map_err(told),
        "kill-usr1" => manager.kill(id, USR1, BY).map(status).map_err(told),
        "suspend" => manager.suspend(id).map(status).map_err(told),
        "resume" => manager.resume(id).map(status).map_err(told),
        "discard" => manager
            .discard(id, true, BY)
            .map(|what| format!("{what:?}"))
            .map_err(told),
        "adopt" => Launcher::new(monoco().into())
            .adopt(manager, id, Adoption::default())
            .map(status)
            .map_err(told),
        "settle" => manager
            .settle(id)
            .map(|()| "settled".to_owned())
            .map_err(told),
        "reconcile" => manager
            .reconcile()
            .map(|report| format!("{} settled", report.settled.len()))
            .map_err(told),
        _ => Err(format!("{verb} is no verb")),
    }
}

/// The library tells the session to be so.
pub(crate) fn expect(
    manager: &SessionManager,
    id: &SessionId,
    liveness: &str,
) -> Result<(), String> {
    match drive(manager, "get", id) {
        Ok(seen) if seen == liveness => Ok(()),
        seen => Err(format!("{id} is {seen:?}, and not {liveness}")),
    }
}

/// Runs one of the commands, and takes whatever it says for an answer.
pub(crate) fn command(project: &Project, which: u64, id: &str) {
    let which = usize::try_from(which).unwrap_or(0) % COMMANDS.len();
    let words = COMMANDS[which]
        .iter()
        .map(|word| if *word == "ID" { id } else { word });
    project.run(&words.collect::<Vec<_>>());
}

fn told(error: impl std::error::Error) -> String {
    error_chain(&error)
}
