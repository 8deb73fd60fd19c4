//! Many sessions were lost, and several reconcilers settle them at once, some of
//! which are killed midway. Each session is settled once: from then on its record
//! stays as it is, byte for byte. None is lost, and who lives is left alone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use monoco_tests::{Project, finish};
use session_core::{
    Claim, NewSession, Process, SessionId, SessionManager, Status, error_chain, parse_record,
};

use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::left::dead_process;

/// What settles: the last one only after it has listed.
const COMMANDS: [&[&str]; 4] = [&["reconcile"], &["reconcile"], &["ps"], &["ps", "-a"]];

struct Stage {
    project: Project,
    manager: SessionManager,
    /// A session that lives.
    owned: String,
    orphan: String,
}

pub(crate) fn run(campaign: &mut Campaign) {
    campaign.each_on(Stage::new, |campaign, stage, _, chance| {
        attempt(stage, chance, campaign)
    });
}

impl Stage {
    fn new() -> Result<Self, String> {
        let project = Project::new();
        let (owned, _) = project.start_agent(&[], &["sleep"], 1);
        let (orphan, _) = project.orphan(&[], &["sleep"]);
        let manager = SessionManager::open(project.path()).map_err(|e| e.to_string())?;
        Ok(Self {
            project,
            manager,
            owned,
            orphan,
        })
    }
}

fn attempt(stage: &Stage, chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let dead = dead_process()?;
    let n = 1 + chance.below(20);
    let lost: Vec<_> = (0..n)
        .map(|_| lose(&stage.manager, &dead, chance))
        .collect::<Result<_, _>>()?;
    campaign.add("sessions lost", n);
    let living =
        [&stage.owned, &stage.orphan].map(|id| std::fs::read(stage.project.record_path(id)));
    let paths = lost.iter().map(|id| stage.project.record_path(id.as_str()));
    let over = AtomicBool::new(false);
    let settled = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(paths.collect(), &over));
        let raced = race(&stage.project, chance, campaign);
        let report = stage.manager.reconcile().map_err(|error| error.to_string());
        // Once more, for whoever would write what is written.
        let again = stage.manager.reconcile().map_err(|error| error.to_string());
        over.store(true, Ordering::SeqCst);
        let settled = watcher
            .join()
            .map_err(|_| "the watcher gave up".to_owned())?;
        raced?;
        campaign.add("left for the last reconciler", report?.settled.len() as u64);
        match again?.settled.len() {
            0 => settled,
            n => Err(format!("{n} were settled once more")),
        }
    })?;
    if settled != lost.len() {
        return Err(format!("{settled} of {n} have ended"));
    }
    for (id, before) in [&stage.owned, &stage.orphan].into_iter().zip(living) {
        let now = std::fs::read(stage.project.record_path(id));
        if before.ok() != now.ok() {
            return Err(format!("{id} lives, and was written to"));
        }
    }
    check_and_remove(stage, &lost)
}

/// A session that was lost in one of the ways in which sessions are.
fn lose(
    manager: &SessionManager,
    dead: &Process,
    chance: &mut Chance,
) -> Result<SessionId, String> {
    let told = |error: session_core::ClaimError| error_chain(&error);
    let mut claim: Claim = manager
        .claim_unannounced(NewSession::default())
        .map_err(told)?;
    let id = claim.session().id.clone();
    let way = chance.below(6);
    if way > 0 {
        claim.start(dead.clone()).map_err(told)?;
    }
    if way == 1 {
        claim.suspend().map_err(told)?;
    }
    if way == 2 {
        // As after a power loss, which forgets run directories.
        claim.release().map_err(told)?;
    } else {
        drop(claim.into_lease());
    }
    Ok(id)
}

/// Two to four at once, some of whom are killed midway.
fn race(project: &Project, chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let begun = Instant::now();
    let mut racers = Vec::new();
    for _ in 0..2 + chance.below(3) {
        let victim = (chance.below(3) == 0).then(|| chance.moment(Duration::from_millis(30)));
        let words = *chance.pick(&COMMANDS);
        racers.push((project.spawn(words), victim));
        if chance.below(2) == 0 {
            std::thread::sleep(chance.moment(Duration::from_millis(5)));
        }
    }
    racers.sort_by_key(|(_, victim)| *victim);
    for (racer, victim) in &mut racers {
        let Some(at) = victim else { continue };
        std::thread::sleep(at.saturating_sub(begun.elapsed()));
        if racer.try_wait().is_ok_and(|ended| ended.is_none()) {
            // It may end by itself in this moment.
            let _ = racer.kill();
            campaign.count("reconcilers killed");
        }
    }
    for (racer, victim) in racers {
        let ran = finish(racer);
        campaign.count("reconcilers");
        if victim.is_none() && ran.code != 0 {
            return Err(format!("a reconciler failed: {ran}"));
        }
    }
    Ok(())
}

/// Reads the records all the time: what has ended stays as it is. Returns how many have.
fn watch(records: Vec<PathBuf>, over: &AtomicBool) -> Result<usize, String> {
    let mut ended: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    loop {
        // What was over before it was looked at is looked at once more.
        let last = over.load(Ordering::SeqCst);
        for path in &records {
            let bytes = std::fs::read(path).map_err(|error| format!("{path:?}: {error}"))?;
            let session = parse_record(&bytes).map_err(|error| format!("{path:?}: {error}"))?;
            match ended.get(path) {
                Some(before) if *before != bytes => {
                    return Err(format!("{path:?} was settled twice"));
                }
                Some(_) => {}
                None if session.status().is_terminal() => {
                    ended.insert(path.clone(), bytes);
                }
                None => {}
            }
        }
        if last {
            return Ok(ended.len());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn check_and_remove(stage: &Stage, lost: &[SessionId]) -> Result<(), String> {
    for id in lost {
        let seen = stage.manager.get(id).map_err(|error| error_chain(&error))?;
        let status = seen.session.status();
        if !matches!(status, Status::Terminated | Status::Failed) {
            return Err(format!("{id} is {status} after it was settled"));
        }
        if stage
            .project
            .path()
            .join(".monoco/run")
            .join(id.as_str())
            .exists()
        {
            return Err(format!("the run directory of {id} is left"));
        }
        stage
            .manager
            .remove(id)
            .map_err(|error| error_chain(&error))?;
    }
    Ok(())
}
