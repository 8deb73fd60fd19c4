//! `monoco adopt`: give orphans a new owner.

use std::path::Path;

use session_core::{Liveness, SessionId, SessionManager};
use session_worker::{Adoption, Hooks, Launcher};

use super::each::each;
use super::run;
use crate::args::Adopt;
use crate::config::Config;
use crate::engines::Engines;
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
    let known = Known::load(manager.project());
    each(manager, &names, |id| {
        let adoption = known.adoption(manager, id);
        Ok(launcher.adopt(manager, id, adoption).map(|_| ())?)
    })
}

/// What a session's new owner is to know besides its record. A file that is damaged
/// keeps no orphan from having an owner.
#[derive(Debug, Default)]
struct Known {
    hooks: Hooks,
    engines: Option<Engines>,
}

impl Known {
    fn load(project: &Path) -> Self {
        let load = || -> Result<Self, CliError> {
            let config = Config::load(Some(project))?;
            Ok(Self {
                hooks: run::hooks(&config),
                engines: Some(Engines::load(Some(project), &config)?),
            })
        };
        load().unwrap_or_else(|error| {
            output::failure(&error);
            Self::default()
        })
    }

    fn adoption(&self, manager: &SessionManager, id: &SessionId) -> Adoption {
        let engine = manager.get(id).ok().and_then(|seen| seen.session.engine);
        let engines = self.engines.as_ref();
        let engine = engines
            .zip(engine)
            .and_then(|(engines, name)| engines.get(&name).ok());
        Adoption {
            reading: engine.map(|engine| engine.reading.clone()),
            hooks: self.hooks.clone(),
            conversations: xdg::conversations(),
        }
    }
}

fn orphans(manager: &SessionManager) -> Result<Vec<String>, CliError> {
    let sessions = manager.living()?.sessions.into_iter();
    let orphans = sessions.filter(|seen| seen.liveness == Liveness::Orphan);
    Ok(orphans.map(|seen| seen.session.id.to_string()).collect())
}
