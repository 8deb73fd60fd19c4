//! `kill -9` at random moments: into launchers, supervisors, agents and
//! reconcilers, alone and in pairs. Whatever dies, nothing is torn, nothing that
//! was acknowledged is lost, no agent runs that no record knows, the next command
//! is not refused, and no outcome is invented.

use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, Instant};

use monoco_tests::{Project, Signal, agent, alive, children, executes, finish, kill};
use session_core::{Session, SessionId, SessionManager};

use crate::Campaign;
use crate::chance::Chance;
use crate::model::{Deeds, Verb};

/// How long a start takes at most, from which the moments are chosen.
const LONGEST: Duration = Duration::from_millis(25);
/// How many trials share a project: what earlier ones left is in their way.
const SHARED: u64 = 50;
/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Launcher,
    Supervisor,
    Agent,
    Reconciler,
}

const PLANS: [&[Victim]; 9] = [
    &[Victim::Launcher],
    &[Victim::Supervisor],
    &[Victim::Supervisor],
    &[Victim::Agent],
    &[Victim::Launcher, Victim::Supervisor],
    &[Victim::Supervisor, Victim::Agent],
    &[Victim::Agent, Victim::Supervisor],
    &[Victim::Reconciler, Victim::Supervisor],
    &[Victim::Supervisor, Victim::Reconciler],
];

pub(crate) fn run(campaign: &mut Campaign) {
    let mut project = Project::new();
    while let Some(trial) = campaign.next_trial() {
        if trial.is_multiple_of(SHARED) {
            project = Project::new();
        }
        let mut chance = Chance::of(campaign.seed, "kill", trial);
        if let Err(broken) = attempt(&project, &mut chance, campaign) {
            campaign.fail(trial, broken);
            project = Project::new();
        }
    }
}

fn verb(chance: &mut Chance) -> Verb {
    match chance.below(4) {
        0 => Verb::Exit(i32::try_from(chance.below(10)).expect("a digit")),
        1 => Verb::CatchTerm(i32::try_from(chance.below(10)).expect("a digit")),
        _ => Verb::Sleep,
    }
}

fn attempt(project: &Project, chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let verb = verb(chance);
    let plan = *chance.pick(&PLANS);
    let before = known(project);
    let words = verb.words();
    let words = ["run", "-d", "--", agent()]
        .into_iter()
        .chain(words.iter().map(String::as_str));
    let launcher = project.spawn(&words.collect::<Vec<_>>());
    let mut deeds = Deeds {
        verb,
        killed_launcher: false,
        killed_supervisor: false,
        killed_agent: false,
        stopped: false,
    };
    for victim in plan {
        std::thread::sleep(chance.moment(LONGEST));
        strike(*victim, project, &launcher, &before, &mut deeds, campaign);
    }
    let ran = finish(launcher);
    let acknowledged = (ran.code == 0).then(|| ran.out().trim_end().to_owned());
    campaign.count(if acknowledged.is_some() {
        "acknowledged"
    } else {
        "not acknowledged"
    });
    let session = check_records(project, &before, acknowledged.as_deref())?;
    let Some(session) = session else {
        campaign.count("never recorded");
        return check_deserted(project, None);
    };
    check_agents(project, &session.id)?;
    end(project, &session, deeds, campaign)
}

/// Kills somebody, if he is there by now.
fn strike(
    victim: Victim,
    project: &Project,
    launcher: &Child,
    before: &BTreeSet<SessionId>,
    deeds: &mut Deeds,
    campaign: &mut Campaign,
) {
    let launcher = launcher.id().cast_signed();
    let supervisor = || {
        let child = children(launcher).into_iter().next();
        child.or_else(|| owner(project, &newest(project, before)?))
    };
    match victim {
        Victim::Launcher => {
            kill(launcher, Signal::KILL);
            deeds.killed_launcher = true;
            campaign.count("launchers killed");
        }
        Victim::Supervisor => {
            if let Some(pid) = supervisor() {
                kill(pid, Signal::KILL);
                deeds.killed_supervisor = true;
                campaign.count("supervisors killed");
            }
        }
        Victim::Agent => {
            let agent = supervisor().and_then(|pid| children(pid).into_iter().next());
            if let Some(pid) = agent {
                kill(pid, Signal::KILL);
                deeds.killed_agent = true;
                campaign.count("agents and gates killed");
            }
        }
        Victim::Reconciler => {
            let mut reconciler = project.spawn(&["reconcile"]);
            std::thread::sleep(Duration::from_micros(u64::from(reconciler.id()) % 3000));
            // It may have ended by itself.
            let _ = reconciler.kill();
            let _ = reconciler.wait();
            campaign.count("reconcilers killed");
        }
    }
}

fn manager(project: &Project) -> Option<SessionManager> {
    SessionManager::open(project.path()).ok()
}

fn known(project: &Project) -> BTreeSet<SessionId> {
    let listing = manager(project).and_then(|manager| manager.list().ok());
    let sessions = listing.map(|listing| listing.sessions).unwrap_or_default();
    sessions.into_iter().map(|seen| seen.session.id).collect()
}

fn newest(project: &Project, before: &BTreeSet<SessionId>) -> Option<SessionId> {
    known(project).difference(before).next().cloned()
}

/// The owner of a session, if it listens.
fn owner(project: &Project, id: &SessionId) -> Option<i32> {
    let control = manager(project)?.try_control(id).ok().flatten()?;
    Some(control.owner_pid()?.get())
}

/// Nothing is torn, and what was acknowledged is there. Returns the new session.
fn check_records(
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
    if let Some(damaged) = listing.damaged.first() {
        return Err(format!(
            "{} is torn: {}",
            damaged.path.display(),
            damaged.damage
        ));
    }
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

/// Every agent that runs is known by its record, with its pid.
fn check_agents(project: &Project, id: &SessionId) -> Result<(), String> {
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
fn end(
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
    let manager = manager(project).ok_or("the project is lost")?;
    let seen = manager
        .get(&session.id)
        .map_err(|error| format!("{id}: {error}"))?;
    let shown = seen.shown();
    if !shown.status().is_terminal() {
        return Err(format!("{id} is {} after it was stopped", shown.status()));
    }
    campaign.count(match shown.status().as_str() {
        "completed" | "failed" => "ended by themselves or never ran",
        "crashed" => "crashed",
        _ => "stopped or lost",
    });
    deeds.allow(&shown).map_err(|why| format!("{id}: {why}"))
}

/// Nobody is left who was started for this project.
fn check_deserted(project: &Project, id: Option<&str>) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let survivors = project.survivors();
        if survivors.is_empty() {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{survivors:?} are left of {id:?}"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
