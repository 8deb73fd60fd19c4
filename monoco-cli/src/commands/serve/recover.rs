//! What `serve` does at its start where it was told to: it goes on with what was lost
//! when the machine went down.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use session_core::{Liveness, Session, SessionManager, Timestamp, error_chain};
use session_daemon::Projects;

use super::{OURS_ALONE, Supervisors, note};
use crate::config::Config;
use crate::continuation::{Continuation, lost};
use crate::error::CliError;

/// Goes on with the lost sessions of those projects whose configuration asks for it,
/// or, `always`, of all.
pub(super) fn recover(projects: &Projects, always: bool, supervisors: &Supervisors) {
    let paths = match projects {
        Projects::These(paths) => paths.clone(),
        Projects::Registered(registry) => registry.projects().unwrap_or_default(),
    };
    for path in paths {
        if let Err(error) = recover_in(&path, always, supervisors) {
            let path = path.display();
            tracing::error!("cannot recover sessions of {path}: {}", error_chain(&error));
        }
    }
}

fn recover_in(path: &Path, always: bool, supervisors: &Supervisors) -> Result<(), CliError> {
    if !always && !Config::load(Some(path))?.serve_recover() {
        return Ok(());
    }
    // One that is not there has nothing to recover.
    let Ok(manager) = SessionManager::open(path) else {
        return Ok(());
    };
    let continuation = Continuation::of(&manager)?;
    let seen = manager.list()?.sessions;
    let is_unsettled = |old: &Session| {
        let mut found = seen.iter().filter(|seen| seen.session.id == old.id);
        found.any(|seen| matches!(seen.liveness, Liveness::Lost(_)))
    };
    for old in lost(&seen) {
        if !is_unsettled(&old) && !was_settled_in_this_boot(&old) {
            continue;
        }
        match go_on(&manager, &continuation, supervisors, &old) {
            Ok(new) => tracing::info!("session {} goes on as {}", old.id, new.id),
            Err(error) => {
                tracing::warn!(
                    "session {} is not continued: {}",
                    old.id,
                    error_chain(&error)
                );
            }
        }
    }
    note(&manager);
    Ok(())
}

/// Whether it was found lost since the machine was started. What was found longer ago,
/// and not continued by whoever saw that, is not started behind anybody's back.
fn was_settled_in_this_boot(session: &Session) -> bool {
    let up = clock_gettime(ClockId::Boottime);
    let up = Duration::new(up.tv_sec.unsigned_abs(), up.tv_nsec.unsigned_abs() as u32);
    Timestamp::now().since(session.updated_at) <= up
}

fn go_on(
    manager: &SessionManager,
    continuation: &Continuation<'_>,
    supervisors: &Supervisors,
    old: &Session,
) -> Result<Session, CliError> {
    let (mut launch, _) = continuation.launch_once(old)?;
    manager.settle(&old.id)?;
    launch.env_remove = OURS_ALONE.map(OsString::from).to_vec();
    launch.cwd = launch.cwd.or_else(|| Some(manager.project().to_owned()));
    let launcher = supervisors.launcher();
    let launcher = launcher.map_err(CliError::io("find this program, which is the supervisor"))?;
    Ok(launcher.launch(manager, launch)?.session)
}
