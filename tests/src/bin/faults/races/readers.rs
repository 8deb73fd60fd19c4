//! Writers that write as fast as they can, sessions that come and go, and eight
//! readers: they see what was or what is, never half of it, and time does not go
//! back for any of them. A file that has gone is no error.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use monoco_tests::Project;
use serde_json::Value;
use session_core::{ClaimError, NewSession, Outcome, SessionManager, Timestamp, error_chain};

use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::left::own_process;
use crate::promise::check_none_torn;

/// How long one trial lasts.
const TRIAL: Duration = Duration::from_secs(1);
const LISTERS: usize = 3;
const PROGRAMS: usize = 2;
const PLAIN: usize = 3;

pub(crate) fn run(campaign: &mut Campaign) {
    campaign.each_trial(|campaign, _, chance| attempt(chance, campaign));
}

/// What happens in one trial.
struct Stage {
    project: Project,
    manager: SessionManager,
    /// The session that is there all the time.
    steady: String,
    until: Instant,
    writes: AtomicU64,
    reads: AtomicU64,
    /// The first that was broken.
    broken: Mutex<Option<String>>,
}

impl Stage {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// Notes what a reader or writer came to. The others go on until the trial is over:
    /// it is short, and only the first that was broken is told.
    fn note(&self, result: Result<(), String>) {
        if let Err(broken) = result {
            let mut first = self.broken.lock().expect("nobody panics with it");
            first.get_or_insert(broken);
        }
    }
}

fn attempt(chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let project = Project::new();
    let manager = SessionManager::create(project.path()).map_err(|error| error.to_string())?;
    let told = |error: ClaimError| error_chain(&error);
    let mut steady = manager.claim_new(NewSession::default()).map_err(told)?;
    steady.start(own_process()?).map_err(told)?;
    let stage = Stage {
        steady: steady.session().id.to_string(),
        project,
        manager,
        until: Instant::now() + TRIAL,
        writes: AtomicU64::new(0),
        reads: AtomicU64::new(0),
        broken: Mutex::new(None),
    };
    let dice: Vec<_> = (0..3)
        .map(|i| Chance::of(chance.next(), "writer", i))
        .collect();
    std::thread::scope(|scope| {
        let stage = &stage;
        scope.spawn(|| stage.note(write(stage, &mut steady)));
        for dice in dice {
            scope.spawn(move || stage.note(come_and_go(stage, dice)));
        }
        for _ in 0..LISTERS {
            scope.spawn(move || stage.note(list(stage)));
        }
        for _ in 0..PROGRAMS {
            scope.spawn(move || stage.note(run_ps(stage)));
        }
        for _ in 0..PLAIN {
            scope.spawn(move || stage.note(read_plainly(stage)));
        }
    });
    campaign.add("writes", stage.writes.load(Ordering::SeqCst));
    campaign.add("records read", stage.reads.load(Ordering::SeqCst));
    let broken = stage.broken.into_inner().expect("nobody panicked with it");
    broken.map_or(Ok(()), Err)
}

/// The steady session is suspended, resumed and written anew.
fn write(stage: &Stage, steady: &mut session_core::Claim) -> Result<(), String> {
    let told = |error: ClaimError| error_chain(&error);
    while stage.goes_on() {
        steady.suspend().map_err(told)?;
        steady.resume().map_err(told)?;
        steady.rewrite().map_err(told)?;
        stage.writes.fetch_add(3, Ordering::Relaxed);
    }
    Ok(())
}

/// Sessions are made, live for a moment, end, and are removed.
fn come_and_go(stage: &Stage, mut chance: Chance) -> Result<(), String> {
    let told = |error: ClaimError| error_chain(&error);
    while stage.goes_on() {
        let mut claim = stage
            .manager
            .claim_unannounced(NewSession::default())
            .map_err(told)?;
        claim.start(own_process()?).map_err(told)?;
        if chance.below(2) == 0 {
            claim.suspend().map_err(told)?;
        }
        claim.finish(Outcome::Exited { code: 0 }).map_err(told)?;
        stage.writes.fetch_add(3, Ordering::Relaxed);
        if chance.below(2) == 0 {
            claim.remove().map_err(told)?;
        } else {
            let id = claim.session().id.clone();
            claim.release().map_err(told)?;
            stage
                .manager
                .remove(&id)
                .map_err(|error| error_chain(&error))?;
        }
    }
    Ok(())
}

/// What one reader has seen of every session.
#[derive(Default)]
struct Memory(BTreeMap<String, (Timestamp, bool)>);

impl Memory {
    /// Time does not go back, and what has ended stays so.
    fn see(&mut self, id: &str, updated_at: Timestamp, ended: bool) -> Result<(), String> {
        let before = self.0.insert(id.to_owned(), (updated_at, ended));
        match before {
            Some((at, _)) if at > updated_at => Err(format!(
                "{id} was updated at {at}, and then at {updated_at}"
            )),
            Some((_, true)) if !ended => Err(format!("{id} had ended, and lives")),
            _ => Ok(()),
        }
    }
}

fn list(stage: &Stage) -> Result<(), String> {
    let mut memory = Memory::default();
    while stage.goes_on() {
        let listing = stage.manager.list().map_err(|error| error.to_string())?;
        check_none_torn(&listing.damaged)?;
        stage
            .reads
            .fetch_add(listing.sessions.len() as u64, Ordering::Relaxed);
        let is_steady = |seen: &session_core::Observation| seen.session.id.as_str() == stage.steady;
        let steady = listing.sessions.iter().find(|seen| is_steady(seen));
        match steady.map(|seen| seen.liveness.as_str()) {
            Some("owned") => {}
            other => return Err(format!("the steady session is {other:?}")),
        }
        for seen in &listing.sessions {
            let session = &seen.session;
            let ended = session.status().is_terminal();
            memory.see(session.id.as_str(), session.updated_at, ended)?;
        }
    }
    Ok(())
}

fn run_ps(stage: &Stage) -> Result<(), String> {
    let mut memory = Memory::default();
    while stage.goes_on() {
        let ran = stage.project.run(&["ps", "-a", "--json"]);
        if ran.code != 0 || !ran.err().is_empty() {
            return Err(format!("ps failed: {ran}"));
        }
        let listed: Value =
            serde_json::from_slice(&ran.stdout).map_err(|error| format!("ps: {error}"))?;
        let listed = listed.as_array().ok_or("ps prints an array")?;
        stage
            .reads
            .fetch_add(listed.len() as u64, Ordering::Relaxed);
        for record in listed {
            see(&mut memory, record)?;
        }
        if !listed.iter().any(|record| record["id"] == *stage.steady) {
            return Err("ps does not know the steady session".to_owned());
        }
    }
    Ok(())
}

/// As somebody who knows nothing but the files.
fn read_plainly(stage: &Stage) -> Result<(), String> {
    let folder = stage.project.path().join(".monoco/sessions");
    let mut memory = Memory::default();
    while stage.goes_on() {
        let steady = folder.join(format!("{}.json", stage.steady));
        if !read_one(stage, &steady, &mut memory)? {
            return Err("the steady session was not there".to_owned());
        }
        let entries = std::fs::read_dir(&folder).map_err(|error| error.to_string())?;
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            if path.extension().is_some_and(|ext| ext == "json") {
                read_one(stage, &path, &mut memory)?;
            }
        }
    }
    Ok(())
}

/// Tells whether it was there.
fn read_one(stage: &Stage, path: &Path, memory: &mut Memory) -> Result<bool, String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    stage.reads.fetch_add(1, Ordering::Relaxed);
    let record: Value = serde_json::from_slice(&bytes)
        .map_err(|error| format!("{} is torn: {error}", path.display()))?;
    see(memory, &record)?;
    Ok(true)
}

fn see(memory: &mut Memory, record: &Value) -> Result<(), String> {
    let word = |field: &str| {
        record[field]
            .as_str()
            .ok_or(format!("no {field} in {record}"))
    };
    let updated_at = Timestamp::parse(word("updated_at")?).map_err(|error| error.to_string())?;
    let status = word("status")?;
    let ended = !matches!(status, "pending" | "running" | "suspended");
    memory.see(word("id")?, updated_at, ended)
}
