//! `monoco kill`: KILL to the whole tree, or another signal to the agent.

use session_core::SessionManager;

use super::each::each;
use super::stop::BY;
use crate::args::Kill;
use crate::error::CliError;
use crate::exit::Exit;

pub(super) fn kill(manager: &SessionManager, args: &Kill) -> Result<Exit, CliError> {
    each(manager, &args.ids, |id| {
        let killed = manager.kill(id, args.signal.0, BY);
        let so = "; there is nothing to kill";
        killed.map(drop).map_err(|error| CliError::act(error, so))
    })
}
