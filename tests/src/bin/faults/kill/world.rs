//! A project that many trials share, its daemon, and all that was ever told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use monoco_tests::{Daemon, Project, Signal, kill, sessions};
use rustix::fs::{AtFlags, Timespec, Timestamps};
use session_core::{NewSession, SessionId};

use crate::campaign::Campaign;
use crate::promise::{check_deserted, known, litter, manager};

/// How long the daemon may take to show what the files say.
const FRESH: Duration = Duration::from_secs(5);
/// A time long ago, in seconds: what is so old is nobody's any more.
const LONG_AGO: i64 = 1_000_000_000;

pub(super) struct World {
    daemon: Option<Daemon>,
    pub(super) project: Project,
    /// The records of the sessions that have ended, as they were when that was seen.
    ended: BTreeMap<SessionId, Vec<u8>>,
    /// The sessions that were said to be removed.
    removed: BTreeSet<SessionId>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            daemon: None,
            project: Project::new(),
            ended: BTreeMap::new(),
            removed: BTreeSet::new(),
        }
    }

    /// The daemon, started where there is none.
    pub(super) fn daemon(&mut self) -> &Daemon {
        let project = &self.project;
        self.daemon
            .get_or_insert_with(|| Daemon::start(project, &["--project", "."]))
    }

    pub(super) fn daemon_pid(&self) -> Option<i32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    pub(super) fn kill_daemon(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            kill(daemon.pid(), Signal::KILL);
        }
    }

    /// The daemon, after it was killed or not, shows what the files say.
    pub(super) fn check_daemon(&mut self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let told = self.told_by_daemon();
            let written = self.written()?;
            if told == written {
                return Ok(());
            }
            if start.elapsed() > FRESH {
                return Err(format!("the daemon tells {told:?}, the files {written:?}"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn told_by_daemon(&mut self) -> BTreeMap<String, String> {
        let page = self.daemon().list("limit=1000");
        let told = |session: &serde_json::Value| {
            let word = |name: &str| session[name].as_str().unwrap_or("null").to_owned();
            let outcome = &session["outcome"];
            (word("id"), format!("{} {outcome}", word("status")))
        };
        sessions(&page).iter().map(told).collect()
    }

    fn written(&self) -> Result<BTreeMap<String, String>, String> {
        let mut written = BTreeMap::new();
        for id in known(&self.project) {
            let record = std::fs::read(self.project.record_path(id.as_str()));
            let record = record.map_err(|error| format!("{id}: {error}"))?;
            let record: serde_json::Value =
                serde_json::from_slice(&record).map_err(|error| format!("{id}: {error}"))?;
            let status = record["status"].as_str().unwrap_or("null");
            let outcome = &record["outcome"];
            written.insert(id.to_string(), format!("{status} {outcome}"));
        }
        Ok(written)
    }

    /// Remembers for ever how `id` ended.
    pub(super) fn has_ended(&mut self, id: &SessionId) -> Result<(), String> {
        let record = std::fs::read(self.project.record_path(id.as_str()));
        let record = record.map_err(|error| format!("{id}: {error}"))?;
        self.ended.insert(id.clone(), record);
        Ok(())
    }

    pub(super) fn is_removed(&mut self, id: &SessionId) {
        self.ended.remove(id);
        self.removed.insert(id.clone());
    }

    /// Whoever has ended is as he was, and whoever was removed has not come back.
    pub(super) fn check_the_ended(&self) -> Result<(), String> {
        for (id, then) in &self.ended {
            let now = std::fs::read(self.project.record_path(id.as_str())).unwrap_or_default();
            if now != *then {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let (then, now) = (text(then), text(&now));
                return Err(format!("{id} had ended, and changed: {then} to {now}"));
            }
        }
        let back = self.removed.iter().find(|id| {
            let project = &self.project;
            project.record_path(id.as_str()).exists() || project.log_path(id.as_str()).exists()
        });
        match back {
            Some(id) => Err(format!("{id} was removed, and is there")),
            None => Ok(()),
        }
    }

    /// At the end of all: nothing has piled up, everything can be removed, and every
    /// id is free again.
    pub(super) fn close(&mut self, campaign: &mut Campaign) -> Result<(), String> {
        if manager(&self.project).is_none() {
            return Ok(());
        }
        self.project.run(&["reconcile"]).ok();
        self.check_the_ended()?;
        self.check_daemon()?;
        self.kill_daemon();
        check_deserted(&self.project, None)?;
        campaign.add("half-made directories swept", self.age_the_half_made());
        self.project.run(&["reconcile"]).ok();
        let (left, half_made) = (litter(&self.project), self.age_the_half_made());
        if !left.is_empty() || half_made > 0 {
            return Err(format!("run/ holds {left:?}, and {half_made} half-made"));
        }
        let ids: Vec<_> = known(&self.project).into_iter().collect();
        let words: Vec<_> = ["rm"]
            .into_iter()
            .chain(ids.iter().map(SessionId::as_str))
            .collect();
        if !ids.is_empty() {
            self.project.run(&words).ok();
        }
        let manager = manager(&self.project).ok_or("the project is lost")?;
        for id in ids.iter().chain(&self.removed) {
            let new = NewSession {
                id: Some(id.clone()),
                ..NewSession::default()
            };
            let claim = manager.claim_new(new).map_err(|error| error.to_string())?;
            claim.release().map_err(|error| error.to_string())?;
        }
        campaign.add("ids free again", (ids.len() + self.removed.len()) as u64);
        Ok(())
    }

    /// Makes what those left in `run/` who died midway old enough for everybody to
    /// see that it is nobody's; tells how much there is.
    fn age_the_half_made(&self) -> u64 {
        let run = self.project.path().join(".monoco/run");
        let long_ago = Timespec {
            tv_sec: LONG_AGO,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: long_ago,
            last_modification: long_ago,
        };
        let entries = std::fs::read_dir(run).into_iter().flatten().flatten();
        let half_made = entries.filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(".new-") || name.starts_with(".old-")
        });
        let aged = half_made.filter(|entry| {
            let cwd = rustix::fs::CWD;
            rustix::fs::utimensat(cwd, entry.path(), &times, AtFlags::empty()).is_ok()
        });
        aged.count() as u64
    }
}
