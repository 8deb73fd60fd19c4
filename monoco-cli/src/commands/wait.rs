//! `monoco wait`: until sessions have ended.

use std::time::Instant;

use session_core::{Outcome, Session, SessionId, SessionManager, VerdictKind};

use crate::args::Wait;
use crate::describe;
use crate::ear::{Heard, Next, Watch};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{self, ago};

pub(super) fn wait(manager: &SessionManager, args: &Wait) -> Result<Exit, CliError> {
    let deadline = args
        .timeout
        .and_then(|timeout| Instant::now().checked_add(timeout));
    let mut ids = Vec::new();
    for name in &args.ids {
        ids.push(manager.resolve(name)?);
    }
    let mut exit = Exit::SUCCESS;
    for id in ids {
        let Some(session) = until_end(manager, &id, deadline)? else {
            let after = args.timeout.map(ago::length).unwrap_or_default();
            return Err(CliError::TimedOut { id, after });
        };
        let code = told(&session);
        output::line(&code.code().to_string())?;
        if code != Exit::SUCCESS {
            exit = code;
        }
    }
    Ok(exit)
}

/// The session at its end; `None` when the deadline was first.
fn until_end(
    manager: &SessionManager,
    id: &SessionId,
    deadline: Option<Instant>,
) -> Result<Option<Session>, CliError> {
    let mut watch = Watch::new(manager, id.clone());
    loop {
        let ear = match watch.next()? {
            Next::Ended(session) => return Ok(Some(*session)),
            Next::Listen(ear) => ear,
        };
        let heard = ear
            .wait(deadline)
            .map_err(CliError::io(format!("wait for session {id}")))?;
        if !heard {
            return Ok(None);
        }
        if let Heard::Ended(session) = ear.hear() {
            return Ok(Some(*session));
        }
    }
}

/// The exit code of a session that has ended. Where it is not the agent's own,
/// says why.
pub(super) fn told(session: &Session) -> Exit {
    let id = &session.id;
    if let (Some(engine), Some(verdict)) = (&session.engine, session.verdict())
        && !matches!(verdict.kind, VerdictKind::Succeeded | VerdictKind::Unknown)
    {
        let says = describe::verdict(verdict);
        output::words(&format!("session {id}: {engine} says: {says}"));
    }
    match session.outcome() {
        Some(Outcome::Exited { .. } | Outcome::Signaled { .. }) => {}
        Some(outcome) => {
            output::words(&format!("session {id}: {}", describe::outcome(outcome)));
        }
        None => output::words(&format!(
            "session {id} is {}; its record tells no exit code",
            session.status()
        )),
    }
    Exit::of_session(session).unwrap_or(Exit::FAILURE)
}
