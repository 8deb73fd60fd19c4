//! A pid is not a process: whatever records say, and whatever becomes of pids,
//! boots and namespaces, nobody is signalled who is not proven to be the agent.

mod drive;
mod forged;
mod inside;
mod namespaces;
mod reboot;
mod reuse;
mod witness;
mod zombies;

pub(crate) use forged::run as forged;
pub(crate) use inside::if_asked;
pub(crate) use namespaces::run as namespaces;
pub(crate) use reboot::run as reboot;
pub(crate) use reuse::run as reuse;
pub(crate) use zombies::run as zombies;

use std::path::PathBuf;

use monoco_tests::Project;
use session_core::SessionManager;

/// What trials share: a project, and who sees to its sessions.
struct Stage {
    project: Project,
    manager: SessionManager,
}

impl Stage {
    fn new() -> Result<Self, String> {
        let project = Project::new();
        let manager = SessionManager::create(project.path()).map_err(|e| e.to_string())?;
        Ok(Self { project, manager })
    }
}

/// The same with somebody in it.
struct Inhabited {
    project: Project,
    manager: SessionManager,
    /// A session that has an owner, and its agent.
    owned: (String, i32),
}

impl Inhabited {
    fn new() -> Result<Self, String> {
        let project = Project::new();
        let (owned, pids) = project.start_agent(&[], &["deaf"], 1);
        let manager = SessionManager::open(project.path()).map_err(|e| e.to_string())?;
        let owned = (owned, pids[0]);
        Ok(Self {
            project,
            manager,
            owned,
        })
    }
}

/// A session's files as they were at one moment, to be put back.
#[derive(Debug)]
struct Stand {
    record: PathBuf,
    bytes: Vec<u8>,
    run: PathBuf,
}

impl Stand {
    fn of(project: &Project, id: &str) -> Result<Self, String> {
        let record = project.record_path(id);
        let bytes = std::fs::read(&record).map_err(|error| error.to_string())?;
        let run = project.path().join(".monoco/run").join(id);
        Ok(Self { record, bytes, run })
    }

    /// Puts them back, with the lease of a dead owner.
    fn restore(&self) -> Result<(), String> {
        self.try_restore().map_err(|error| error.to_string())
    }

    fn try_restore(&self) -> std::io::Result<()> {
        std::fs::write(&self.record, &self.bytes)?;
        if !self.run.exists() {
            std::fs::create_dir(&self.run)?;
            std::fs::write(self.run.join("lease"), "")?;
        }
        Ok(())
    }
}
