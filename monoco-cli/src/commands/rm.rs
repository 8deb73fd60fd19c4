//! `monoco rm`: remove the records and the logs of ended sessions.

use session_core::{ActError, Discarded, LookError, SessionId, SessionManager};

use super::each::each;
use super::stop::BY;
use crate::args::Rm;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub(super) fn rm(manager: &SessionManager, args: &Rm) -> Result<Exit, CliError> {
    each(manager, &args.ids, |id| remove(manager, id, args.force))
}

fn remove(manager: &SessionManager, id: &SessionId, force: bool) -> Result<(), CliError> {
    match manager.discard(id, force, BY) {
        Ok(Discarded::RecordOnly) => {
            output::words(&format!(
                "session {id} may still run elsewhere; only its record was removed"
            ));
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(ActError::Look(LookError::Damaged { path, damage })) if !force => {
            Err(CliError::DamagedRecord {
                id: id.clone(),
                path,
                damage,
            })
        }
        Err(error) => Err(error.into()),
    }
}
