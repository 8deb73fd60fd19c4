//! `monoco stop`: ask the whole tree to end, kill it when the time is up.

use std::time::Duration;

use session_core::{SessionId, SessionManager};

use super::each::each;
use crate::args::Stop;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

/// Who stopped a session that was stopped from here.
pub(super) const BY: &str = "cli";

pub(super) fn stop(manager: &SessionManager, args: &Stop) -> Result<Exit, CliError> {
    each(manager, &args.ids, |id| stop_one(manager, id, args.time))
}

fn stop_one(manager: &SessionManager, id: &SessionId, grace: Duration) -> Result<(), CliError> {
    // Where its record cannot be read, its owner is asked all the same.
    let status = manager.get(id).map(|seen| seen.session.status());
    if let Ok(status) = status
        && status.is_terminal()
    {
        output::words(&format!("session {id} has ended already ({status})"));
    }
    // Also then: a lost agent may have left something running.
    manager.stop(id, grace, BY)?;
    Ok(())
}
