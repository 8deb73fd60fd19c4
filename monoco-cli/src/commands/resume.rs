//! `monoco resume`: thaw a suspended session.

use session_core::SessionManager;

use super::each::each;
use crate::args::Resume;
use crate::error::CliError;
use crate::exit::Exit;

pub(super) fn resume(manager: &SessionManager, args: &Resume) -> Result<Exit, CliError> {
    each(manager, &args.ids, |id| {
        let so = " and has no conversation to continue";
        let resumed = manager.resume(id);
        resumed.map(drop).map_err(|error| CliError::act(error, so))
    })
}
