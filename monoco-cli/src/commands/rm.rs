//! `monoco rm`: remove the records and the logs of ended sessions.

use std::time::{Duration, Instant};

use session_core::{Liveness, LookError, Observation, RemoveError, SessionId, SessionManager};

use super::each::each;
use super::stop::BY;
use crate::args::Rm;
use crate::describe;
use crate::ear::wait_readable;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

/// How long an owner is waited for that still ends what its agent left running.
const ENDING_PATIENCE: Duration = Duration::from_secs(15);

pub(super) fn rm(manager: &SessionManager, args: &Rm) -> Result<Exit, CliError> {
    each(manager, &args.ids, |id| remove(manager, id, args.force))
}

fn remove(manager: &SessionManager, id: &SessionId, force: bool) -> Result<(), CliError> {
    let seen = match manager.get(id) {
        Ok(seen) => seen,
        Err(LookError::Damaged { .. }) if force => return Ok(manager.forget(id)?),
        Err(LookError::Damaged { path, damage }) => {
            return Err(CliError::DamagedRecord {
                id: id.clone(),
                path,
                damage,
            });
        }
        Err(error) => return Err(error.into()),
    };
    match &seen.liveness {
        Liveness::Ended | Liveness::Lost(_) | Liveness::Abandoned => {}
        _ if !force => return Err(living(&seen)),
        Liveness::Owned | Liveness::Orphan | Liveness::Unclaimed => {
            manager.load(id)?.terminate(Duration::ZERO, BY)?;
        }
        // A person said so. Its process, wherever it is, is left alone.
        Liveness::Unverified | Liveness::Unknown(_) => {
            manager.forget(id)?;
            output::words(&format!(
                "session {id} may still run elsewhere; only its record was removed"
            ));
            return Ok(());
        }
    }
    remove_ended(manager, id)
}

fn living(seen: &Observation) -> CliError {
    CliError::Living {
        id: seen.session.id.clone(),
        what: describe::status(seen),
    }
}

/// Removes a session that has ended. Its owner may still be ending what the agent
/// left running; the end of that is the end of its control connection.
fn remove_ended(manager: &SessionManager, id: &SessionId) -> Result<(), CliError> {
    let deadline = Instant::now() + ENDING_PATIENCE;
    loop {
        match manager.remove(id) {
            Ok(()) => return Ok(()),
            // Removed by its owner (`run --rm`), or by somebody else.
            Err(RemoveError::Look(LookError::NotFound(_))) => return Ok(()),
            Err(RemoveError::Living { .. }) if manager.get(id)?.liveness == Liveness::Ended => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= deadline {
            return Err(CliError::Ending(id.clone()));
        }
        // No owner to reach means that there is none in the way any more.
        if let Ok(control) = manager.control(id) {
            use std::os::fd::AsFd;
            wait_readable(control.as_fd(), Some(deadline))
                .map_err(CliError::io(format!("wait for the owner of session {id}")))?;
        }
    }
}
