//! How a session ended: everything that is known, nothing that is guessed.

use serde::{Deserialize, Serialize};

/// What the kernel told about the end of a process (`waitid(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WaitStatus {
    /// The process returned from `main` or called `exit`.
    Exited {
        /// Its exit code, 0 to 255.
        code: i32,
    },
    /// A signal killed the process.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core dump.
        core_dumped: bool,
    },
}

/// Why nobody saw the end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostCause {
    /// The machine was started anew since.
    Reboot,
    /// The owner died before the agent ended, or together with it.
    OwnerDied,
}

/// What was wrong with a program that could not be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnFailure {
    /// It does not exist.
    NotFound,
    /// It exists, but cannot be executed.
    NotExecutable,
}

/// How a session ended.
///
/// A forced end carries the real wait status beside its cause, where the kernel
/// could tell it; the cause decides the session's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// The agent ended by itself with this exit code.
    Exited {
        /// The agent's exit code, 0 to 255.
        code: i32,
    },
    /// A signal that was not sent through monoco killed the agent.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core dump.
        core_dumped: bool,
    },
    /// The session's time was up, and monoco stopped it.
    TimedOut {
        /// The timeout, in seconds.
        after_seconds: u64,
        /// How the agent's process then ended.
        #[serde(skip_serializing_if = "Option::is_none")]
        wait_status: Option<WaitStatus>,
    },
    /// Somebody stopped the session through monoco.
    Stopped {
        /// Who: `cli`, `daemon`, or the name an embedding program gave.
        by: String,
        /// How the agent's process then ended.
        #[serde(skip_serializing_if = "Option::is_none")]
        wait_status: Option<WaitStatus>,
    },
    /// The agent never ran.
    SpawnFailed {
        /// Why, in words.
        error: String,
        /// What was wrong with its program, if that was the reason.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<SpawnFailure>,
    },
    /// Nobody saw how the agent ended.
    Lost {
        /// What is known about why.
        cause: LostCause,
    },
}

impl From<WaitStatus> for Outcome {
    fn from(status: WaitStatus) -> Self {
        match status {
            WaitStatus::Exited { code } => Self::Exited { code },
            WaitStatus::Signaled {
                signal,
                core_dumped,
            } => Self::Signaled {
                signal,
                core_dumped,
            },
        }
    }
}

/// The longest text in an outcome, in bytes: a record must have room for it.
const MAX_TEXT_LEN: usize = 2048;

impl Outcome {
    /// The same, with its texts no longer than a record has room for.
    pub(crate) fn shortened(mut self) -> Self {
        if let Self::SpawnFailed { error: text, .. } | Self::Stopped { by: text, .. } = &mut self
            && text.len() > MAX_TEXT_LEN
        {
            let end = (0..=MAX_TEXT_LEN)
                .rev()
                .find(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        self
    }

    /// The agent never ran, for a reason that is not its program's.
    pub fn never_ran(error: impl Into<String>) -> Self {
        Self::SpawnFailed {
            error: error.into(),
            reason: None,
        }
    }

    /// The wait status of the agent's process, as far as anybody saw it.
    #[must_use]
    pub fn wait_status(&self) -> Option<WaitStatus> {
        match *self {
            Self::Exited { code } => Some(WaitStatus::Exited { code }),
            Self::Signaled {
                signal,
                core_dumped,
            } => Some(WaitStatus::Signaled {
                signal,
                core_dumped,
            }),
            Self::TimedOut { wait_status, .. } | Self::Stopped { wait_status, .. } => wait_status,
            Self::SpawnFailed { .. } | Self::Lost { .. } => None,
        }
    }
}
