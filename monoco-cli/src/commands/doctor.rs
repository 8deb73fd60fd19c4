//! `monoco doctor`: what is wrong with a project, and what to do about it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use session_core::control::Request;
use session_core::{
    Damage, Damaged, Liveness, Observation, Pid, SessionId, SessionManager, Timestamp,
};

use crate::args::Doctor;
use crate::error::CliError;
use crate::exit::Exit;
use crate::{describe, output};

/// The mode of the project's directories.
const DIRECTORY_MODE: u32 = 0o700;
/// How many owners are asked at once.
const ASKED_AT_ONCE: usize = 32;
/// Younger ones may belong to a start that is going on.
const LITTER_AGE_SECONDS: i64 = 60;

pub(super) fn doctor(manager: &SessionManager, args: &Doctor) -> Result<Exit, CliError> {
    if args.fix {
        fix(manager)?;
    }
    let findings = examine(manager)?;
    let mut out = output::stdout();
    for finding in &findings {
        output::written(writeln!(out, "{}", output::sanitise::line(finding)))?;
    }
    output::written(out.flush())?;
    match findings.len() {
        0 => output::words("all is well"),
        1 => output::words("1 finding"),
        n => output::words(&format!("{n} findings")),
    }
    Ok(if findings.is_empty() {
        Exit::SUCCESS
    } else {
        Exit::FINDINGS
    })
}

/// Mends what needs no decision.
fn fix(manager: &SessionManager) -> Result<(), CliError> {
    let report = manager.reconcile()?;
    for (id, error) in &report.failed {
        let error = session_core::error_chain(error);
        output::words(&format!("cannot record the end of session {id}: {error}"));
    }
    let (settled, cleared) = (report.settled.len(), report.cleared);
    if settled + cleared > 0 {
        output::words(&format!(
            "recorded {settled} ends, removed {cleared} run directories"
        ));
    }
    Ok(())
}

/// One line per finding: what is wrong, and what to do.
fn examine(manager: &SessionManager) -> Result<Vec<String>, CliError> {
    let base = manager.project().join(".monoco");
    let mut findings = Vec::new();
    for folder in [
        base.clone(),
        base.join("sessions"),
        base.join("run"),
        base.join("logs"),
    ] {
        findings.extend(directory(&folder));
    }
    findings.extend(filesystem(&base.join("run")));
    let listing = manager.list()?;
    findings.extend(listing.damaged.iter().map(damaged));
    findings.extend(listing.sessions.iter().filter_map(session));
    findings.extend(leftovers(manager, &listing.sessions));
    findings.extend(unresponsive(manager, &listing.sessions));
    let is_known = |id: &SessionId| {
        listing.sessions.iter().any(|seen| seen.session.id == *id)
            || listing
                .damaged
                .iter()
                .any(|damaged| damaged.id.as_ref() == Some(id))
    };
    findings.extend(litter(&base.join("run"), is_known));
    Ok(findings)
}

fn directory(path: &Path) -> Option<String> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        // Made on first use.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("{} cannot be looked at: {error}", path.display())),
    };
    let mode = metadata.permissions().mode() & 0o7777;
    let path = path.display();
    if !metadata.is_dir() {
        return Some(format!("{path} is not a directory: move it away"));
    }
    let strangers = mode & !DIRECTORY_MODE;
    (strangers != 0)
        .then(|| format!("{path} has mode {mode:04o}, and others may look in: chmod 0700 '{path}'"))
}

/// What lost agents left running.
fn leftovers(manager: &SessionManager, sessions: &[Observation]) -> Vec<String> {
    let finding = |(id, pids): (SessionId, Vec<Pid>)| {
        let pids: Vec<_> = pids.iter().map(ToString::to_string).collect();
        let pids = pids.join(", ");
        format!("session {id} is lost, but left processes running ({pids}): monoco stop {id}")
    };
    // Where processes are not shown, there is nothing to find.
    let left = manager.left_running(sessions).unwrap_or_default();
    left.into_iter().map(finding).collect()
}

/// Tries what every session needs: a lock, and a file that is durable.
fn filesystem(run: &Path) -> Option<String> {
    if !run.exists() {
        return None;
    }
    let probe = run.join(format!(".doctor-{}", std::process::id()));
    let tried = try_filesystem(run, &probe);
    // Where it could not be made there is nothing to remove.
    let _ = fs::remove_file(&probe);
    let (attempt, error) = tried.err()?;
    let consequence = match attempt {
        Attempt::Write => "sessions can be looked at, but not started",
        Attempt::Lock => "no session can run here; move the project to a local filesystem",
        Attempt::Sync => "records may not survive a power loss; look at the disk",
    };
    Some(format!(
        "{} cannot {}: {error}: {consequence}",
        run.display(),
        attempt.verb()
    ))
}

#[derive(Debug, Clone, Copy)]
enum Attempt {
    Write,
    Lock,
    Sync,
}

impl Attempt {
    fn verb(self) -> &'static str {
        match self {
            Self::Write => "be written",
            Self::Lock => "lock files",
            Self::Sync => "sync files",
        }
    }
}

fn try_filesystem(run: &Path, probe: &Path) -> Result<(), (Attempt, io::Error)> {
    let failed = |attempt| move |error| (attempt, error);
    let mut file = File::create_new(probe).map_err(failed(Attempt::Write))?;
    file.write_all(b"monoco doctor\n")
        .map_err(failed(Attempt::Write))?;
    file.try_lock().map_err(|error| match error {
        TryLockError::Error(error) => (Attempt::Lock, error),
        TryLockError::WouldBlock => (Attempt::Lock, io::ErrorKind::WouldBlock.into()),
    })?;
    file.sync_all().map_err(failed(Attempt::Sync))?;
    File::open(run)
        .and_then(|run| run.sync_all())
        .map_err(failed(Attempt::Sync))
}

fn damaged(damaged: &Damaged) -> String {
    let what = describe::damage(damaged);
    match (&damaged.damage, &damaged.id) {
        (Damage::Name | Damage::NotAFile(_), _) | (_, None) => format!("{what}: move it away"),
        (_, Some(id)) => format!("{what}: mend it by hand, or `monoco rm -f {id}`"),
    }
}

fn session(seen: &Observation) -> Option<String> {
    let id = &seen.session.id;
    match &seen.liveness {
        Liveness::Ended | Liveness::Unclaimed | Liveness::Owned => None,
        Liveness::Orphan => Some(format!(
            "session {id} has lost its owner, its agent still runs: \
             `monoco adopt {id}`, or `monoco stop {id}`"
        )),
        Liveness::Lost(_) | Liveness::Abandoned => Some(format!(
            "session {id} has ended without its owner, its record still says {}: \
             `monoco reconcile`",
            seen.session.status()
        )),
        Liveness::Unverified | Liveness::Unknown(_) => Some(format!(
            "session {id} says {}, but that cannot be told from here ({}): \
             look for yourself, then `monoco rm -f {id}` removes its record",
            seen.session.status(),
            describe::liveness(&seen.liveness)
        )),
    }
}

/// The owners that do not answer. Each may take its time, so many are asked at once.
fn unresponsive(manager: &SessionManager, sessions: &[Observation]) -> Vec<String> {
    let owned = sessions
        .iter()
        .filter(|seen| seen.liveness == Liveness::Owned);
    let ids: Vec<_> = owned.map(|seen| &seen.session.id).collect();
    let ask = |ids: &[&SessionId]| -> Vec<_> {
        ids.iter().filter_map(|id| no_answer(manager, id)).collect()
    };
    std::thread::scope(|scope| {
        let share = ids.len().div_ceil(ASKED_AT_ONCE).max(1);
        let hands: Vec<_> = ids
            .chunks(share)
            .map(|ids| scope.spawn(move || ask(ids)))
            .collect();
        hands
            .into_iter()
            .flat_map(|hand| hand.join().expect("asking does not panic"))
            .collect()
    })
}

fn no_answer(manager: &SessionManager, id: &SessionId) -> Option<String> {
    use session_core::ControlError::{NoOwner, OwnerDied};
    match manager
        .control(id)
        .and_then(|control| control.ask(&Request::Status))
    {
        // It ended in this moment.
        Ok(_) | Err(NoOwner(_) | OwnerDied(_)) => None,
        Err(error) => Some(format!(
            "{}: it may be stopped (`kill -CONT` it) or its machine overloaded",
            session_core::error_chain(&error)
        )),
    }
}

/// What starters and owners that died left in `run/`.
fn litter(run: &Path, is_known: impl Fn(&SessionId) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(run) else {
        return Vec::new();
    };
    let now = Timestamp::now().as_second();
    let is_old = |metadata: fs::Metadata| now - metadata.mtime() >= LITTER_AGE_SECONDS;
    entries
        .flatten()
        .filter(|entry| entry.metadata().is_ok_and(is_old))
        .filter_map(|entry| {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_str()?;
            let path = path.display();
            if [".new-", ".old-", ".doctor-"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            {
                return Some(format!(
                    "{path} was left by a monoco that died: `monoco doctor --fix`"
                ));
            }
            let id = SessionId::parse(name).ok()?;
            (!is_known(&id)).then(|| {
                format!("{path} belongs to a session without a record: remove it if nothing runs")
            })
        })
        .collect()
}
