//! `monoco suspend`: the agent and all its descendants stop where they are.

use session_core::SessionManager;

use super::each::each;
use crate::args::Suspend;
use crate::error::CliError;
use crate::exit::Exit;

pub(super) fn suspend(manager: &SessionManager, args: &Suspend) -> Result<Exit, CliError> {
    each(manager, &args.ids, |id| {
        let so = "; there is nothing to suspend";
        let suspended = manager.suspend(id);
        suspended
            .map(drop)
            .map_err(|error| CliError::act(error, so))
    })
}
