//! `monoco adopt`: give orphans a new owner.

use session_core::{Liveness, SessionManager};
use session_worker::{Adoption, Hooks, Launcher};

use super::each::each;
use super::run;
use crate::args::Adopt;
use crate::config::Config;
use crate::engines::reading_for;
use crate::error::CliError;
use crate::exit::Exit;
use crate::{output, xdg};

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
    // What is damaged there keeps no orphan from having an owner.
    let hooks = Config::load(Some(manager.project())).map(|config| run::hooks(&config));
    let hooks = hooks.unwrap_or_else(|error| {
        output::failure(&error);
        Hooks::default()
    });
    each(manager, &names, |id| {
        let adoption = Adoption {
            reading: reading_for(
                manager.project(),
                manager.get(id)?.session.engine.as_deref(),
            ),
            hooks: hooks.clone(),
            conversations: xdg::conversations(),
        };
        Ok(launcher.adopt(manager, id, adoption).map(|_| ())?)
    })
}

fn orphans(manager: &SessionManager) -> Result<Vec<String>, CliError> {
    let sessions = manager.living()?.sessions.into_iter();
    let orphans = sessions.filter(|seen| seen.liveness == Liveness::Orphan);
    Ok(orphans.map(|seen| seen.session.id.to_string()).collect())
}
