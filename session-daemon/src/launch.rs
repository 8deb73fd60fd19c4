//! How sessions are started from here: by somebody else. The daemon is handed a
//! launcher; it never starts a process itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use session_core::{Session, SessionManager};

/// A session that is to be started.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// The agent's program and its arguments; not empty.
    pub command: Vec<String>,
    /// The agent's working directory; the project's when `None`.
    pub cwd: Option<PathBuf>,
    /// The issue the agent works on.
    pub issue_id: Option<String>,
    /// The agent's role.
    pub role_name: Option<String>,
    /// A name for the session.
    pub name: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Variables added to the agent's environment. They are never recorded.
    pub env: BTreeMap<String, String>,
    /// How long the agent may run.
    pub timeout: Option<Duration>,
    /// Let live what the agent leaves running when it exits.
    pub leave_children: bool,
    /// Remove the record and the log once the session has ended.
    pub remove_at_end: bool,
}

/// Why a session was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A value is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// Something stands in the way, such as a living session of the same name.
    #[error("{0}")]
    Conflict(String),
    /// The agent's program cannot be executed.
    #[error("{0}")]
    NotStarted(String),
    /// The machine does not let us.
    #[error("{0}")]
    Failed(String),
}

/// Starts sessions.
pub trait Launcher: Send + Sync + 'static {
    /// Starts a session of `manager`'s project. When this returns, its agent runs
    /// and its record says so durably. Called on threads that may block.
    ///
    /// # Errors
    /// [`LaunchError`]; then no agent runs.
    fn launch(&self, manager: &SessionManager, start: Start) -> Result<Session, LaunchError>;
}
