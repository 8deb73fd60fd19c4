//! `monoco suspend`: the agent and all its descendants stop where they are.

use session_core::control::Request;
use session_core::{ControlError, Liveness, SessionId, SessionManager, Status};

use super::each::each;
use super::refusal;
use crate::args::Suspend;
use crate::error::CliError;
use crate::exit::Exit;

pub(super) fn suspend(manager: &SessionManager, args: &Suspend) -> Result<Exit, CliError> {
    each(manager, &args.ids, |id| {
        bring_to(
            manager,
            id,
            &Request::Suspend,
            Status::Suspended,
            "; there is nothing to suspend",
        )
    })
}

/// Asks the owner for `request`, unless the session is in the state that it leads
/// to. `ended` says what follows for a session that has ended.
pub(super) fn bring_to(
    manager: &SessionManager,
    id: &SessionId,
    request: &Request,
    goal: Status,
    ended: &'static str,
) -> Result<(), CliError> {
    let seen = manager.get(id)?;
    if seen.liveness != Liveness::Owned {
        return Err(refusal(&seen, ended));
    }
    match manager.control(id)?.ask(request) {
        Ok(_) => Ok(()),
        Err(ControlError::Refused(_)) if manager.get(id)?.status() == Some(goal) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
