//! Whose agent a process is, where a project was copied with its `.monoco`: the
//! records of the copy are right in everything, but their agents work for the original.
//!
//! The agent's output tells it, which is the log of its project, wherever that was
//! moved to; and where it has none any more, its environment, which names the project.

use std::io;
use std::path::PathBuf;

use crate::id::SessionId;
use crate::process::Pid;
use crate::store::{Store, StoreError};
use crate::sys;

/// For whom a process works that is the agent of a session by all facts.
#[derive(Debug)]
pub(crate) enum Whose {
    /// For this project, as far as anything tells.
    Ours,
    /// For another one, of which this one is a copy.
    Anothers(PathBuf),
}

/// For whom `agent` works, of the session `id` in `store`.
///
/// # Errors
/// When the system does not let us look: then it cannot be told.
pub(crate) fn whose(store: &Store, id: &SessionId, agent: Pid) -> io::Result<Whose> {
    for (inode, path) in sys::outputs(agent)? {
        if store.log_inode(id)? == Some(inode) {
            return Ok(Whose::Ours);
        }
        if let Some(project) = Store::project_of_log(&path, id) {
            return Ok(Whose::Anothers(project));
        }
    }
    let Some(named) = sys::project_mark(agent)? else {
        return Ok(Whose::Ours);
    };
    let named_store = match Store::open(&named) {
        Ok(named_store) => named_store,
        // A project that was moved is not where it was, and is no copy.
        Err(StoreError::NoProject(_)) => return Ok(Whose::Ours),
        Err(error) => return Err(io::Error::other(error)),
    };
    if named_store.is_same_as(store) || !named_store.find_record(id)? {
        return Ok(Whose::Ours);
    }
    Ok(Whose::Anothers(named))
}
