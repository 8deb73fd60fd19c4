//! Other pid namespaces, in which a pid means somebody else, and time namespaces,
//! in which everybody seems to have begun at another time. What cannot be told from
//! there is unknown, and nobody touches it; what is owned is told by its lease.

use monoco_tests::{Signal, alive, executes, kill, wait_until};
use session_core::SessionId;

use super::drive::{VERBS, drive, expect, may_signal};
use super::inside::{Inside, is_permitted};
use super::witness::{Witness, check_unharmed};
use super::{Inhabited, Stand};
use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::left::ownerless;

/// What an observer has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    Pids,
    Time,
    Both,
}

impl Elsewhere {
    fn options(self, chance: &mut Chance) -> Vec<String> {
        let mut options: Vec<String> = Vec::new();
        if self != Self::Time {
            options.extend(["-p", "--mount-proc"].map(str::to_owned));
        }
        if self != Self::Pids {
            let shift = 1 + chance.below(10_000_000);
            options.extend(["-T".to_owned(), "--boottime".to_owned(), shift.to_string()]);
        }
        options.push("-f".to_owned());
        options
    }
}

pub(crate) fn run(campaign: &mut Campaign) {
    let kinds = [Elsewhere::Pids, Elsewhere::Time, Elsewhere::Both];
    let permitted: Vec<_> = kinds
        .into_iter()
        .filter(|kind| is_possible(*kind))
        .collect();
    for kind in kinds.iter().filter(|kind| !permitted.contains(kind)) {
        campaign.skip(&format!("it needs the privilege to unshare {kind:?}"));
    }
    if permitted.is_empty() {
        return;
    }
    campaign.each_on(Inhabited::new, |campaign, stage, _, chance| {
        let elsewhere = *chance.pick(&permitted);
        if elsewhere != Elsewhere::Time && chance.below(3) == 0 {
            from_outside(stage, elsewhere, campaign, chance)
        } else {
            from_inside(stage, elsewhere, campaign, chance)
        }
    });
}

fn is_possible(kind: Elsewhere) -> bool {
    let options = kind.options(&mut Chance::of(0, "identity/namespaces", 0));
    is_permitted(&options.iter().map(String::as_str).collect::<Vec<_>>())
}

/// An orphan, a dead session and an owned one, looked at and driven from elsewhere.
fn from_inside(
    stage: &Inhabited,
    elsewhere: Elsewhere,
    campaign: &mut Campaign,
    chance: &mut Chance,
) -> Result<(), String> {
    let victim = Witness::new()?;
    let orphan = ownerless(&stage.manager, victim.process()?)?;
    let dead = {
        let mut agent = Witness::new()?;
        let process = agent.process()?;
        agent.kill()?;
        ownerless(&stage.manager, process)?
    };
    let options = elsewhere.options(chance);
    let mut inside = Inside::start(Some(&stage.project), &options, "", "drive")?;
    let (of_orphan, of_dead) = match elsewhere {
        Elsewhere::Time => ("orphan", "lost"),
        Elsewhere::Pids | Elsewhere::Both => ("unknown", "unknown"),
    };
    expect_inside(&mut inside, orphan.as_str(), of_orphan)?;
    expect_inside(&mut inside, dead.as_str(), of_dead)?;
    expect_inside(&mut inside, &stage.owned.0, "owned")?;
    let stand = Stand::of(&stage.project, orphan.as_str())?;
    for _ in 0..6 {
        stand.restore()?;
        let verb = *chance.pick(&VERBS);
        if elsewhere == Elsewhere::Time && may_signal(verb) {
            continue;
        }
        let done = inside.drive(verb, orphan.as_str())?;
        campaign.count("requests from other namespaces");
        let told = |why| format!("{elsewhere:?}: {verb} ({done:?}): {why}");
        victim.check().map_err(told)?;
        if elsewhere != Elsewhere::Time && may_signal(verb) && verb != "discard" {
            done.clone()
                .map_or(Ok(()), |done| Err(told(format!("it was done: {done}"))))?;
        }
    }
    stand.restore()?;
    if elsewhere == Elsewhere::Time {
        // Told across time namespaces, it is the orphan that may be stopped.
        let done = inside.drive("stop", orphan.as_str())?;
        campaign.count("orphans stopped from another time");
        if alive(victim.pid) {
            return Err(format!(
                "an orphan outlived its stop from another time: {done:?}"
            ));
        }
    }
    // Its owner can be asked from anywhere.
    inside.drive("suspend", &stage.owned.0)??;
    if stage.project.status(&stage.owned.0) != "suspended" {
        return Err("it was suspended, and its record does not say so".to_owned());
    }
    inside.drive("resume", &stage.owned.0)??;
    drop(inside);
    for id in [&orphan, &dead] {
        // Whatever was asked for may have removed it.
        let _ = drive(&stage.manager, "discard", id);
    }
    Ok(())
}

/// A session that was started in another pid namespace, and has lost its owner there.
fn from_outside(
    stage: &Inhabited,
    elsewhere: Elsewhere,
    campaign: &mut Campaign,
    chance: &mut Chance,
) -> Result<(), String> {
    let before = stage.project.survivors();
    let options = elsewhere.options(chance);
    let start = format!(
        "'{}' run -d -- '{}' deaf > started",
        monoco_tests::monoco(),
        monoco_tests::agent()
    );
    let mut inside = Inside::start(Some(&stage.project), &options, &start, "drive")?;
    inside.ask("get nobody")?;
    let id = std::fs::read_to_string(stage.project.path().join("started"));
    let id = id.map_err(|error| error.to_string())?.trim_end().to_owned();
    let parsed = SessionId::parse(&id).map_err(|error| error.to_string())?;
    let is_new_agent = |pid: &i32| !before.contains(pid) && executes(*pid, monoco_tests::agent());
    let agent = stage.project.survivors().into_iter().find(is_new_agent);
    let agent = agent.ok_or("the agent inside is not seen from outside")?;
    expect(&stage.manager, &parsed, "owned")?;
    let supervisor = stage.project.supervisor(&id);
    kill(supervisor, Signal::KILL);
    wait_until("the supervisor inside is dead", || !alive(supervisor));
    expect(&stage.manager, &parsed, "unknown")?;
    let stand = Stand::of(&stage.project, &id)?;
    for _ in 0..6 {
        stand.restore()?;
        let verb = *chance.pick(&VERBS);
        let done = drive(&stage.manager, verb, &parsed);
        campaign.count("requests about other namespaces");
        let told = |why| format!("{elsewhere:?}: {verb} from outside ({done:?}): {why}");
        check_unharmed(agent).map_err(told)?;
    }
    stand.restore()?;
    expect_inside(&mut inside, &id, "orphan")?;
    inside.drive("stop", &id)??;
    if stage.project.status(&id) != "terminated" {
        return Err("it was stopped where it ran, and its record does not say so".to_owned());
    }
    drive(&stage.manager, "discard", &parsed).map(drop)
}

fn expect_inside(inside: &mut Inside, id: &str, liveness: &str) -> Result<(), String> {
    match inside.drive("get", id)? {
        Ok(seen) if seen == liveness => Ok(()),
        seen => Err(format!("{id} is {seen:?} from there, and not {liveness}")),
    }
}
