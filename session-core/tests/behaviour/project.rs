//! A project in a temporary directory, and what tests put there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use session_core::{
    Claim, Liveness, NewSession, Observation, Process, Session, SessionId, SessionManager,
};
use tempfile::TempDir;

/// A project of one test's own, gone when the test is over.
pub(crate) struct Project {
    dir: TempDir,
    /// Opened before there was any session.
    pub(crate) manager: SessionManager,
}

impl Project {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let manager = SessionManager::create(dir.path()).expect("an empty project");
        Self { dir, manager }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path below `.monoco`.
    pub(crate) fn inside(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(".monoco").join(path)
    }

    /// A new pending session, owned.
    pub(crate) fn claim(&self) -> Claim {
        let claim = self.manager.claim_new(NewSession::default());
        claim.expect("a new session")
    }

    /// A new session whose agent is `process`, owned.
    pub(crate) fn running(&self, process: Process) -> Claim {
        let mut claim = self.claim();
        claim.start(process).expect("pending → running");
        claim
    }

    pub(crate) fn observe(&self, id: &SessionId) -> Observation {
        self.manager.get(id).expect("a record that can be read")
    }

    pub(crate) fn liveness(&self, id: &SessionId) -> Liveness {
        self.observe(id).liveness
    }

    pub(crate) fn record(&self, id: &SessionId) -> String {
        fs::read_to_string(self.inside(format!("sessions/{id}.json"))).expect("a record")
    }

    /// The record's bytes, time of change and inode: all that a write changes.
    pub(crate) fn stamp(&self, id: &SessionId) -> (Vec<u8>, (i64, i64), u64) {
        let path = self.inside(format!("sessions/{id}.json"));
        let stat = fs::symlink_metadata(&path).expect("a record");
        let mtime = (stat.mtime(), stat.mtime_nsec());
        (fs::read(&path).expect("a record"), mtime, stat.ino())
    }

    /// Puts `bytes` where the record of `id` belongs, as another program would.
    pub(crate) fn plant(&self, id: &str, bytes: impl AsRef<[u8]>) -> SessionId {
        fs::write(self.inside(format!("sessions/{id}.json")), bytes).expect("a writable project");
        SessionId::parse(id).expect("an id")
    }

    /// Changes the text of a record, as another program would.
    pub(crate) fn edit(&self, id: &SessionId, from: &str, to: &str) {
        let record = self.record(id);
        assert!(record.contains(from), "{record} has no {from}");
        self.plant(id.as_str(), record.replace(from, to));
    }

    /// The names in a folder below `.monoco`, sorted, without `.gitignore`.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.inside(folder)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into()).collect();
        names.retain(|name| name != ".gitignore");
        names.sort();
        names
    }
}

/// Every session that `manager` lists, by id. Nothing may be damaged.
pub(crate) fn all(manager: &SessionManager) -> Vec<Session> {
    let listing = manager.list().expect("a project");
    assert!(listing.damaged.is_empty(), "{:?}", listing.damaged);
    let mut sessions: Vec<_> = listing.sessions.into_iter().map(|s| s.session).collect();
    sessions.sort_by(|a, b| a.id.cmp(&b.id));
    sessions
}

/// The id that `text` is.
pub(crate) fn id(text: &str) -> SessionId {
    SessionId::parse(text).expect("an id")
}
