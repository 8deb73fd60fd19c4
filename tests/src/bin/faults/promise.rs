//! What must hold after whatever happened: the promise, in so many checks.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use monoco_tests::{Project, agent, alive, executes};
use session_core::{Damaged, Session, SessionId, SessionManager, StoreError};

use crate::campaign::Campaign;
use crate::model::Deeds;

/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The manager of the project; `None` before there is one.
pub(crate) fn manager(project: &Project) -> Option<SessionManager> {
    match SessionManager::open(project.path()) {
        Ok(manager) => Some(manager),
        Err(StoreError::NoProject(_)) => None,
        Err(error) => panic!("the project cannot be opened: {error}"),
    }
}

/// The sessions that there are records of.
pub(crate) fn known(project: &Project) -> BTreeSet<SessionId> {
    let Some(manager) = manager(project) else {
        return BTreeSet::new();
    };
    let listing = manager.list().expect("a project can be listed");
    let sessions = listing.sessions.into_iter();
    sessions.map(|seen| seen.session.id).collect()
}

/// Nothing is torn, and what was acknowledged is there. Returns the new session.
pub(crate) fn check_records(
    project: &Project,
    before: &BTreeSet<SessionId>,
    acknowledged: Option<&str>,
) -> Result<Option<Session>, String> {
    let Some(manager) = manager(project) else {
        return match acknowledged {
            Some(id) => Err(format!("{id} was acknowledged, and there is no project")),
            None => Ok(None),
        };
    };
    let listing = manager.list().map_err(|error| error.to_string())?;
    // The first record is not synced, and may be empty only after a power loss.
    check_none_torn(&listing.damaged)?;
    if let Some(lost) = before
        .iter()
        .find(|id| !listing.sessions.iter().any(|seen| seen.session.id == **id))
    {
        return Err(format!("{lost} is lost"));
    }
    let mut new = listing.sessions.into_iter().map(|seen| seen.session);
    let new = new.find(|session| !before.contains(&session.id));
    match (&new, acknowledged) {
        (Some(session), Some(id)) if session.id.as_str() != id => {
            Err(format!("{id} was acknowledged, {} is there", session.id))
        }
        (None, Some(id)) => Err(format!("{id} was acknowledged, and is lost")),
        (Some(session), Some(id)) if session.process().is_none() => Err(format!(
            "{id} was acknowledged, and is {}",
            session.status()
        )),
        _ => Ok(new),
    }
}

/// No record is torn.
pub(crate) fn check_none_torn(damaged: &[Damaged]) -> Result<(), String> {
    damaged.first().map_or(Ok(()), |damaged| {
        let path = damaged.path.display();
        Err(format!("{path} is torn: {}", damaged.damage))
    })
}

/// Every agent that runs, or ever ran, is known by its record, with its pid.
pub(crate) fn check_agents(project: &Project, id: &SessionId) -> Result<(), String> {
    check_the_one_that_ran(project, id)?;
    let start = Instant::now();
    loop {
        let stray = project
            .survivors()
            .into_iter()
            .find(|pid| is_stray(project, *pid, id));
        match stray {
            None => return Ok(()),
            // A gate whose supervisor died is about to exit.
            Some(_) if start.elapsed() < Duration::from_secs(2) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Some(pid) => return Err(format!("process {pid} runs, and no record knows it")),
        }
    }
}

/// An agent that tells its pid has run.
fn check_the_one_that_ran(project: &Project, id: &SessionId) -> Result<(), String> {
    let Some(pid) = project.pids(id.as_str()).first().copied() else {
        return Ok(());
    };
    let seen = manager(project).and_then(|manager| manager.get(id).ok());
    let recorded = seen.and_then(|seen| seen.session.pid());
    match recorded {
        Some(known) if known.get() == pid => Ok(()),
        recorded => Err(format!(
            "process {pid} ran as agent, the record says {recorded:?}"
        )),
    }
}

fn is_stray(project: &Project, pid: i32, id: &SessionId) -> bool {
    if !executes(pid, agent()) {
        return false;
    }
    let recorded = manager(project).and_then(|manager| manager.get(id).ok());
    let recorded = recorded.and_then(|seen| seen.session.pid());
    recorded.is_none_or(|known| known.get() != pid) && alive(pid)
}

/// Ends the session; it must not be refused, nothing may be left, and the record
/// must tell what was done.
pub(crate) fn end(
    project: &Project,
    session: &Session,
    mut deeds: Deeds,
    campaign: &mut Campaign,
) -> Result<(), String> {
    let id = session.id.as_str();
    let ran = project.run(&["stop", "-t", "5", id]);
    deeds.stopped = true;
    if ran.code != 0 {
        return Err(format!("stop {id} was refused: {}", ran.err().trim_end()));
    }
    check_deserted(project, Some(id))?;
    check_end(project, &session.id, deeds, campaign).map(drop)
}

/// The session has ended, and as it may have from what was done to it.
pub(crate) fn check_end(
    project: &Project,
    id: &SessionId,
    deeds: Deeds,
    campaign: &mut Campaign,
) -> Result<Session, String> {
    let manager = manager(project).ok_or("the project is lost")?;
    let seen = manager.get(id).map_err(|error| format!("{id}: {error}"))?;
    let shown = seen.shown();
    if !shown.status().is_terminal() {
        return Err(format!("{id} is {} after it was stopped", shown.status()));
    }
    campaign.count(match shown.status().as_str() {
        "completed" | "failed" => "ended by themselves or never ran",
        "crashed" => "crashed",
        _ => "stopped or lost",
    });
    deeds.allow(&shown).map_err(|why| format!("{id}: {why}"))?;
    Ok(shown)
}

/// Nobody is left who was started for this project.
pub(crate) fn check_deserted(project: &Project, id: Option<&str>) -> Result<(), String> {
    check_deserted_but(project, id, &[])
}

/// The same, for those who may stay.
pub(crate) fn check_deserted_but(
    project: &Project,
    id: Option<&str>,
    staying: &[i32],
) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let mut survivors = project.survivors();
        survivors.retain(|pid| !staying.contains(pid));
        if survivors.is_empty() {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{survivors:?} are left of {id:?}"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The session's name is free again, the next start is not refused, and nothing is
/// left in `run/` by who died.
pub(crate) fn check_tidy(project: &Project, name: &str) -> Result<(), String> {
    let again = project.run(&["run", "--name", name, "--", agent(), "exit", "5"]);
    if again.code != 5 {
        return Err(format!("the next start was refused: {again}"));
    }
    check_deserted(project, None)?;
    let reconciled = project.run(&["reconcile"]);
    let left = litter(project);
    if reconciled.code != 0 || !left.is_empty() {
        return Err(format!("run/ holds {left:?} after {reconciled}"));
    }
    Ok(())
}

/// What lies in `run/` beside its `.gitignore`: `.new-` and `.old-` directories of
/// those who died midway are left out, since nobody may touch young ones.
pub(crate) fn litter(project: &Project) -> Vec<String> {
    let run = project.path().join(".monoco/run");
    let entries = std::fs::read_dir(run).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}
