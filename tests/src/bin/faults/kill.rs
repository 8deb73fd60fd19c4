//! `kill -9` at random moments: into launchers, supervisors, agents and
//! reconcilers, alone and in pairs. Whatever dies, nothing is torn, nothing that
//! was acknowledged is lost, no agent runs that no record knows, the next command
//! is not refused, and no outcome is invented.

use std::collections::BTreeSet;
use std::process::Child;
use std::time::Duration;

use monoco_tests::{Project, Signal, agent, children, finish, kill};
use session_core::SessionId;

use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::model::{Deeds, Verb};
use crate::promise::{check_agents, check_deserted, check_records, end, known, manager, newest};

/// How long a start takes at most, from which the moments are chosen.
const LONGEST: Duration = Duration::from_millis(25);
/// How many trials share a project: what earlier ones left is in their way.
const SHARED: u64 = 50;

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
    let mut is_sound = true;
    campaign.each_trial(|campaign, trial, chance| {
        if trial.is_multiple_of(SHARED) || !is_sound {
            project = Project::new();
        }
        is_sound = false;
        attempt(&project, chance, campaign)?;
        is_sound = true;
        Ok(())
    });
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

/// The owner of a session, if it listens.
fn owner(project: &Project, id: &SessionId) -> Option<i32> {
    let control = manager(project)?.try_control(id).ok().flatten()?;
    Some(control.owner_pid()?.get())
}
