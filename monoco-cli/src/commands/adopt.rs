//! `monoco adopt`: give orphans a new owner.

use session_core::{Liveness, SessionManager};
use session_worker::{Adoption, Launcher};

use super::each::each;
use crate::args::Adopt;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub(super) fn adopt(manager: &SessionManager, args: &Adopt) -> Result<Exit, CliError> {
    let launcher = Launcher::current_exe()
        .map_err(CliError::io("find this program, which is the supervisor"))?
        .short_lived();
    let names = if args.all {
        orphans(manager)?
    } else {
        args.ids.clone()
    };
    if names.is_empty() {
        output::words("there are no orphans");
        return Ok(Exit::SUCCESS);
    }
    each(manager, &names, |id| {
        Ok(launcher
            .adopt(manager, id, Adoption::default())
            .map(|_| ())?)
    })
}

fn orphans(manager: &SessionManager) -> Result<Vec<String>, CliError> {
    let sessions = manager.living()?.sessions.into_iter();
    let orphans = sessions.filter(|seen| seen.liveness == Liveness::Orphan);
    Ok(orphans.map(|seen| seen.session.id.to_string()).collect())
}
