//! What must hold after the reboot, whatever was left.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use monoco_tests::Project;
use rustix::fs::{CWD, FileType, Mode};
use session_core::{
    Damage, Liveness, LostCause, NewSession, Outcome, RecordError, Session, SessionManager, Status,
};
use tempfile::TempDir;

use super::disk::Tree;
use super::history::{Life, has_ended};
use crate::campaign::Campaign;

/// The boot before the reboot, in the place of the one that goes on.
const BOOT_BEFORE: &[u8] = b"7b1f0ad9-54ee-4ec0-8f3c-0c6dbd6f7a64";

/// Where what was left is laid out, in memory: nobody can lose the power here.
pub(super) struct Bench {
    dir: TempDir,
    /// For the commands' environment.
    project: Project,
    boot: Vec<u8>,
}

type Lives = BTreeMap<String, Life>;

impl Bench {
    pub(super) fn new() -> Result<Self, String> {
        let words = |error: std::io::Error| error.to_string();
        let shared_memory = Path::new("/dev/shm");
        let dir = match shared_memory.is_dir() {
            true => TempDir::new_in(shared_memory),
            false => TempDir::new(),
        };
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(words)?;
        Ok(Self {
            dir: dir.map_err(words)?,
            project: Project::new(),
            boot: boot.trim().as_bytes().to_vec(),
        })
    }

    /// What a file holds for those who come after the reboot.
    fn rebooted(&self, bytes: &[u8]) -> Vec<u8> {
        let n = self.boot.len();
        let mut bytes = bytes.to_vec();
        for at in 0..(bytes.len() + 1).saturating_sub(n) {
            if bytes[at..at + n] == *self.boot {
                bytes[at..at + n].copy_from_slice(BOOT_BEFORE);
            }
        }
        bytes
    }

    fn lay_out(&self, left: Option<&Tree>) -> std::io::Result<()> {
        let base = self.dir.path().join(".monoco");
        if base.exists() {
            std::fs::remove_dir_all(&base)?;
        }
        match left {
            Some(tree) => self.lay_out_at(tree, &base),
            None => Ok(()),
        }
    }

    fn lay_out_at(&self, tree: &Tree, path: &PathBuf) -> std::io::Result<()> {
        match tree {
            Tree::File(bytes) => std::fs::write(path, self.rebooted(bytes)),
            Tree::Socket => Ok(rustix::fs::mknodat(
                CWD,
                path,
                FileType::Socket,
                Mode::RWXU,
                0,
            )?),
            Tree::Folder(names) => {
                std::fs::create_dir(path)?;
                for (name, tree) in names {
                    self.lay_out_at(tree, &path.join(name))?;
                }
                // Nobody is back within the minute in which litter is left alone.
                let before = SystemTime::now() - Duration::from_secs(600);
                File::open(path)?.set_times(FileTimes::new().set_modified(before))
            }
        }
    }

    fn record(&self, id: &str) -> Option<Vec<u8>> {
        let path = format!(".monoco/sessions/{id}.json");
        std::fs::read(self.dir.path().join(path)).ok()
    }

    /// Looks with the library at what was left, settles it, and starts anew.
    pub(super) fn check(
        &self,
        left: Option<&Tree>,
        lives: &Lives,
        campaign: &mut Campaign,
    ) -> Result<(), String> {
        self.lay_out(left).map_err(|error| error.to_string())?;
        let Ok(manager) = SessionManager::open(self.dir.path()) else {
            let lost = lives.iter().find(|(_, life)| life.is_promised());
            return match lost {
                Some((id, _)) => Err(format!("{id} is lost, with the whole project")),
                None => self.check_start(),
            };
        };
        let records: BTreeMap<_, _> = lives.keys().map(|id| (id, self.record(id))).collect();
        self.check_listing(&manager, lives, campaign)?;
        let report = manager.reconcile().map_err(|error| error.to_string())?;
        if let Some((id, error)) = report.failed.first() {
            return Err(format!("{id} could not be settled: {error}"));
        }
        self.check_settled(&manager, lives)?;
        for (id, before) in records {
            let is_final = before.as_ref().is_none_or(|before| {
                has_ended(before) || session_core::parse_record(before).is_err()
            });
            if is_final && self.record(id) != before {
                return Err(format!(
                    "{id} was changed though it had ended, or is damaged"
                ));
            }
        }
        let again = manager.reconcile().map_err(|error| error.to_string())?;
        if !again.settled.is_empty() || again.cleared > 0 || !again.failed.is_empty() {
            return Err(format!("settled twice: {again:?}"));
        }
        self.check_litter(&manager)?;
        self.check_start()
    }

    /// All that was promised is there, and says what is true; what is damaged was
    /// never promised, and is told to be damaged.
    fn check_listing(
        &self,
        manager: &SessionManager,
        lives: &Lives,
        campaign: &mut Campaign,
    ) -> Result<(), String> {
        let listing = manager.list().map_err(|error| error.to_string())?;
        let mut seen = BTreeMap::new();
        for observation in listing.sessions {
            seen.insert(observation.session.id.to_string(), observation);
        }
        let mut damaged = BTreeMap::new();
        for record in listing.damaged {
            let id = record.id.ok_or("a record that has no session's name")?;
            damaged.insert(id.to_string(), record.damage);
        }
        for (id, life) in lives {
            let told = |why: String| format!("{id}: {why}");
            match (seen.remove(id), damaged.remove(id)) {
                (Some(observation), None) => {
                    let record = self.record(id).ok_or_else(|| told("no record".into()))?;
                    self.check_said(life, &record).map_err(told)?;
                    check_shown(&observation.session, &observation.shown()).map_err(told)?;
                }
                (None, Some(damage)) => {
                    let record = self.record(id).ok_or_else(|| told("no record".into()))?;
                    check_damage(life, &damage, &record).map_err(told)?;
                    campaign.count("damaged records that nobody was told of");
                }
                _ if life.is_promised() => return Err(told("it is lost".into())),
                _ => {}
            }
        }
        match seen.into_keys().chain(damaged.into_keys()).next() {
            Some(id) => Err(format!("{id} was made up")),
            None => Ok(()),
        }
    }

    /// The record says something that it said before, and nothing that is older than
    /// what was promised.
    fn check_said(&self, life: &Life, record: &[u8]) -> Result<(), String> {
        if life.removed {
            return Err("it was removed, and is back".to_owned());
        }
        let mut said = life.said.iter();
        let Some(n) = said.rposition(|said| self.rebooted(said) == record) else {
            return Err("its record says what it never said".to_owned());
        };
        match life.least {
            Some(least) if n < least => Err(format!(
                "its record is the {}. that there was, and the {}. was acknowledged",
                n + 1,
                least + 1
            )),
            _ => Ok(()),
        }
    }

    /// Nobody is thought to live who may not, and what is settled is told as it was
    /// seen before.
    fn check_settled(&self, manager: &SessionManager, lives: &Lives) -> Result<(), String> {
        let listing = manager.list().map_err(|error| error.to_string())?;
        for observation in listing.sessions {
            let id = observation.session.id.as_str();
            let life = lives.get(id).ok_or_else(|| format!("{id} was made up"))?;
            let ended = observation.session.status().is_terminal();
            // Recorded, and never begun: nobody was told of it, and it says so.
            let unclaimed = observation.liveness == Liveness::Unclaimed && life.least.is_none();
            if !ended && !unclaimed {
                let status = observation.status_in_words();
                return Err(format!("{id} is {status} after it was settled"));
            }
        }
        Ok(())
    }

    /// Of what was being written nothing is left but what belongs to a record that
    /// cannot be read, or to a session that never began.
    fn check_litter(&self, manager: &SessionManager) -> Result<(), String> {
        let run = self.dir.path().join(".monoco/run");
        let Ok(names) = std::fs::read_dir(run) else {
            return Ok(());
        };
        let listing = manager.list().map_err(|error| error.to_string())?;
        for name in names {
            let name = name.map_err(|error| error.to_string())?.file_name();
            let name = name.to_string_lossy();
            let of_damaged = |id: &str| {
                let mut ids = listing.damaged.iter().filter_map(|d| d.id.as_ref());
                ids.any(|damaged| damaged.as_str() == id)
            };
            if name != ".gitignore" && !of_damaged(&name) {
                return Err(format!("run/{name} is left behind"));
            }
        }
        Ok(())
    }

    /// A start is not refused.
    fn check_start(&self) -> Result<(), String> {
        let refused = |error: String| format!("a start was refused: {error}");
        let manager = SessionManager::create(self.dir.path());
        let manager = manager.map_err(|error| refused(error.to_string()))?;
        let claim = manager.claim_new(NewSession::default());
        let claim = claim.map_err(|error| refused(error.to_string()))?;
        let id = claim.session().id.clone();
        claim
            .release()
            .map_err(|error| refused(error.to_string()))?;
        let seen = manager
            .get(&id)
            .map_err(|error| refused(error.to_string()))?;
        match seen.session.status() {
            Status::Pending => Ok(()),
            status => Err(format!("a new session is {status}")),
        }
    }

    /// Looks with the real program at what was left.
    pub(super) fn check_commands(&self, left: Option<&Tree>, lives: &Lives) -> Result<(), String> {
        self.lay_out(left).map_err(|error| error.to_string())?;
        let run = |words: &[&str]| {
            let mut command = self.project.monoco(words);
            command.env("MONOCO_PROJECT", self.dir.path());
            command.spawn().map(monoco_tests::finish)
        };
        let run = |words: &[&str]| run(words).map_err(|error| error.to_string());
        let promised = || lives.iter().filter(|(_, life)| life.is_promised());
        if left.is_some() {
            let listed = run(&["ps", "-a", "--json", "--no-reconcile"])?.ok().json();
            let listed = listed.as_array().cloned().unwrap_or_default();
            for (id, _) in promised() {
                let listed = listed.iter().find(|session| session["id"] == **id);
                let status = listed.map(|session| session["status"].clone());
                let expected = self
                    .record(id)
                    .and_then(|r| session_core::parse_record(&r).ok());
                let expected = expected.map(|session| match session.status() {
                    status if status.is_terminal() => status,
                    _ => Status::Terminated,
                });
                if status != expected.map(|status| status.as_str().into()) {
                    return Err(format!("ps tells of {id} that it is {status:?}"));
                }
            }
            run(&["reconcile"])?.ok();
        }
        run(&["run", "--", "true"])?.ok();
        if let Some((id, _)) = promised().next() {
            let session = self
                .record(id)
                .and_then(|r| session_core::parse_record(&r).ok());
            let code = run(&["wait", id])?.code;
            match session.as_ref().and_then(Session::outcome) {
                Some(Outcome::Exited { code: real }) if *real == code => {}
                Some(Outcome::Exited { .. }) | None => {
                    return Err(format!("wait for {id} exits with {code}"));
                }
                Some(_) if code == 0 => return Err(format!("{id} succeeded, says wait")),
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// What is shown is what the record says, or, of a session that had not ended, that
/// the reboot ended it, or that it never began.
fn check_shown(recorded: &Session, shown: &Session) -> Result<(), String> {
    let reboot = Outcome::Lost {
        cause: LostCause::Reboot,
    };
    let holds = match recorded.status() {
        status if status.is_terminal() => shown == recorded,
        Status::Pending => match shown.outcome() {
            Some(Outcome::SpawnFailed { reason: None, .. }) => true,
            _ => shown.status() == Status::Pending,
        },
        _ => shown.outcome() == Some(&reboot),
    };
    if holds {
        return Ok(());
    }
    let (was, is) = (recorded.status(), shown.status());
    Err(format!("it was {was}, and is {is}: {:?}", shown.outcome()))
}

/// What is damaged was never promised, and the reason is the true one.
fn check_damage(life: &Life, damage: &Damage, record: &[u8]) -> Result<(), String> {
    if life.is_promised() {
        return Err(format!("it was acknowledged, and is torn: {damage}"));
    }
    let holds = match damage {
        Damage::Record(RecordError::Empty) => record.is_empty(),
        Damage::Record(RecordError::Zeroes) => record.iter().all(|byte| *byte == 0),
        Damage::Record(RecordError::Malformed(_)) => !record.iter().all(|byte| *byte == 0),
        _ => false,
    };
    match holds {
        true => Ok(()),
        false => Err(format!("of {} bytes it says: {damage}", record.len())),
    }
}
