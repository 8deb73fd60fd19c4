//! `monoco kill`: KILL to the whole tree, or another signal to the agent.

use std::time::Duration;

use rustix::process::Signal;
use session_core::control::Request;
use session_core::process::Host;
use session_core::{Liveness, Observation, ProcessHandle, SessionId, SessionManager};

use super::each::each;
use super::refusal;
use super::stop::BY;
use crate::args::Kill;
use crate::error::CliError;
use crate::exit::Exit;

pub(super) fn kill(manager: &SessionManager, args: &Kill) -> Result<Exit, CliError> {
    each(manager, &args.ids, |id| {
        kill_one(manager, id, args.signal.0)
    })
}

fn kill_one(manager: &SessionManager, id: &SessionId, signal: i32) -> Result<(), CliError> {
    let seen = manager.get(id)?;
    match &seen.liveness {
        Liveness::Owned => {
            manager.control(id)?.ask(&Request::Kill {
                signal,
                by: BY.to_owned(),
            })?;
            Ok(())
        }
        Liveness::Orphan if signal == Signal::KILL.as_raw() => {
            manager.load(id)?.terminate(Duration::ZERO, BY)?;
            Ok(())
        }
        Liveness::Orphan => signal_orphan(&seen, signal),
        _ => Err(refusal(&seen, "; there is nothing to kill")),
    }
}

/// Through a pidfd whose identity was checked after it was opened.
fn signal_orphan(seen: &Observation, signal: i32) -> Result<(), CliError> {
    let id = &seen.session.id;
    let look = || CliError::io(format!("look at the agent of session {id}"));
    let Some(process) = seen.session.process() else {
        return Err(refusal(seen, ""));
    };
    let host = Host::current().map_err(look())?;
    match ProcessHandle::open_verified(process, &host).map_err(look())? {
        Ok(agent) => Ok(agent.signal(signal)?),
        Err(_) => Err(CliError::HandsOff {
            id: id.clone(),
            why: "its agent is gone".to_owned(),
        }),
    }
}
