//! The eight words for where a session is in its life.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;

/// A session's status, with the values of the original format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Recorded; the agent has not been started.
    Pending,
    /// The agent runs.
    Running,
    /// The agent's whole tree is stopped (`SIGSTOP`) and can be resumed.
    Suspended,
    /// The agent exited 0.
    Completed,
    /// The agent exited non-zero, or could not be started.
    Failed,
    /// The session's time was up.
    Timeout,
    /// The session was stopped, or was lost.
    Terminated,
    /// A signal that was not sent through monoco killed the agent.
    Crashed,
}

/// The text is not a status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown status `{}`: expected one of {}", .0.escape_debug(), Status::ALL.map(Status::as_str).join(", "))]
pub struct UnknownStatus(String);

impl Status {
    /// Every status, in the order of a session's life.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Running,
        Self::Suspended,
        Self::Completed,
        Self::Failed,
        Self::Timeout,
        Self::Terminated,
        Self::Crashed,
    ];

    /// The status as it stands in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Terminated => "terminated",
            Self::Crashed => "crashed",
        }
    }

    /// Whether a session with this status has ended; its record never changes again.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Running | Self::Suspended)
    }

    /// The status in which a session ends with `outcome`.
    #[must_use]
    pub const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Exited { code: 0 } => Self::Completed,
            Outcome::Exited { .. } | Outcome::SpawnFailed { .. } => Self::Failed,
            Outcome::Signaled { .. } => Self::Crashed,
            Outcome::TimedOut { .. } => Self::Timeout,
            Outcome::Stopped { .. } | Outcome::Lost { .. } => Self::Terminated,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownStatus(text.chars().take(80).collect()))
    }
}
