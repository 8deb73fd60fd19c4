//! After a reboot nobody runs who ran before, whatever has their pids now: told at
//! once, of a thousand sessions as of one, and nobody is signalled. A session whose
//! lease is held has not seen a reboot, whatever the boot's id seems to be.

use std::time::Instant;

use monoco_tests::Project;
use session_core::{ProcessIdentity, SessionManager, Status};

use super::drive::{VERBS, drive};
use super::inside::{Inside, is_permitted};
use super::witness::{Witness, check_unharmed};
use super::{Inhabited, Stand};
use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::left::ownerless;

/// How many sessions ran when the power went.
const MANY: u64 = 1000;
/// In how many trials that is tried once.
const MANY_EVERY: u64 = 25;

const NAMESPACE: [&str; 2] = ["-m", "--propagation=private"];
const REBOOT: &str = "\
    cat /proc/sys/kernel/random/uuid > .boot
    mount --bind .boot /proc/sys/kernel/random/boot_id";

pub(crate) fn run(campaign: &mut Campaign) {
    let may_mount = is_permitted(&NAMESPACE);
    if !may_mount {
        campaign.skip("another boot's id needs the privilege to unshare the mount namespace");
    }
    campaign.each_on(Inhabited::new, |campaign, stage, trial, chance| {
        if trial.is_multiple_of(MANY_EVERY) || !may_mount {
            many(trial, campaign, chance)
        } else {
            one(stage, campaign, chance)
        }
    });
}

/// An orphan and a session that is owned, seen by somebody who knows of a reboot.
fn one(stage: &Inhabited, campaign: &mut Campaign, chance: &mut Chance) -> Result<(), String> {
    let victim = Witness::new()?;
    let orphan = ownerless(&stage.manager, victim.process()?)?;
    let stand = Stand::of(&stage.project, orphan.as_str())?;
    let mut rebooted = Inside::start(Some(&stage.project), &NAMESPACE, REBOOT, "drive")?;
    for _ in 0..8 {
        stand.restore()?;
        let seen = rebooted.drive("get", orphan.as_str())?;
        if seen != Ok("lost".to_owned()) {
            return Err(format!("after a reboot, an orphan is {seen:?}"));
        }
        let verb = *chance.pick(&VERBS);
        let done = rebooted.drive(verb, orphan.as_str())?;
        campaign.count("requests after a reboot");
        let told = |why| format!("{verb} ({done:?}): {why}");
        victim.check().map_err(told)?;
        let look = chance.pick::<&str>(&["get", "list"]);
        let done = rebooted.drive(look, &stage.owned.0)?;
        if done != Ok("owned".to_owned()) {
            return Err(format!("a session whose lease is held is {done:?}"));
        }
        rebooted.drive("settle", &stage.owned.0)?.ok();
        check_unharmed(stage.owned.1)?;
    }
    // Whatever was done last may have removed it.
    let _ = drive(&stage.manager, "discard", &orphan);
    if stage.project.status(&stage.owned.0) != "running" {
        return Err("a session whose lease is held was settled".to_owned());
    }
    Ok(())
}

/// Sessions that ran when the power went, and whose pids have others now: a thousand in
/// the first trial, and fewer in the others.
fn many(trial: u64, campaign: &mut Campaign, chance: &mut Chance) -> Result<(), String> {
    let project = Project::new();
    let manager = SessionManager::create(project.path()).map_err(|e| e.to_string())?;
    let victims = [Witness::new()?, Witness::new()?, Witness::new()?];
    let first = ownerless(&manager, before_the_reboot(&victims[0], chance)?)?;
    let text = std::fs::read_to_string(project.record_path(first.as_str()))
        .map_err(|error| error.to_string())?;
    let fewer = MANY / (2 + chance.below(3));
    let (n, to_tell, to_settle) = match trial {
        0 => (MANY, "ms to tell 1,000", "ms to settle 1,000"),
        _ => (fewer, "ms to tell fewer", "ms to settle fewer"),
    };
    for i in 1..n {
        let id = format!("r{i}");
        let pid = format!("\"pid\": {}", chance.pick(&victims).pid);
        let text = text.replace(first.as_str(), &id);
        let text = text.replace(&format!("\"pid\": {}", victims[0].pid), &pid);
        std::fs::write(project.record_path(&id), text).map_err(|error| error.to_string())?;
        let run = project.path().join(".monoco/run").join(&id);
        std::fs::create_dir(&run).map_err(|error| error.to_string())?;
        std::fs::write(run.join("lease"), "").map_err(|error| error.to_string())?;
    }
    let begun = Instant::now();
    let listed = project.run(&["ps", "-a", "--json", "--no-reconcile"]).ok();
    campaign.measure_since(to_tell, begun);
    check_listed(&listed.json(), n)?;
    let begun = Instant::now();
    project.run(&["reconcile"]).ok();
    campaign.measure_since(to_settle, begun);
    campaign.add("sessions told after a reboot", n);
    let listing = manager.list().map_err(|error| error.to_string())?;
    let settled = |seen: &&session_core::Observation| {
        seen.session.status() == Status::Terminated && seen.session.outcome().is_some_and(is_reboot)
    };
    if listing.sessions.iter().filter(settled).count() as u64 != n {
        return Err(format!("not all of {n} were settled as lost to a reboot"));
    }
    victims.iter().try_for_each(Witness::check)
}

fn before_the_reboot(
    victim: &Witness,
    chance: &mut Chance,
) -> Result<session_core::Process, String> {
    let mut process = victim.process()?;
    let boot_id = format!("{:08x}-another-boot", chance.below(1 << 32));
    process.identity = process.identity.map(|identity| ProcessIdentity {
        boot_id,
        ..identity
    });
    Ok(process)
}

fn check_listed(listed: &serde_json::Value, n: u64) -> Result<(), String> {
    let sessions = listed.as_array().ok_or("a listing is an array")?;
    let told = sessions
        .iter()
        .filter(|seen| seen["status"] == "terminated" && seen["outcome"]["cause"] == "reboot");
    match told.count() as u64 {
        told if told == n && sessions.len() as u64 == n => Ok(()),
        told => Err(format!("{told} of {n} are told right")),
    }
}

fn is_reboot(outcome: &session_core::Outcome) -> bool {
    let cause = session_core::LostCause::Reboot;
    *outcome == session_core::Outcome::Lost { cause }
}
