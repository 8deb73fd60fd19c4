//! What an owner drives its agent with.

use std::time::Duration;

use crate::outcome::WaitStatus;
use crate::process::Process;
use crate::session::Session;

/// Why a worker could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The agent's program does not exist.
    #[error("{0}: not found")]
    NotFound(String),
    /// The agent's program exists, but cannot be executed.
    #[error("{program}: {reason}")]
    NotExecutable {
        /// The program.
        program: String,
        /// Why not.
        reason: String,
    },
    /// The worker has no agent.
    #[error("the agent has not been started")]
    NotStarted,
    /// The agent's tree could not be driven.
    #[error(transparent)]
    Tree(#[from] crate::process::TreeError),
    /// The system refused.
    #[error("cannot {attempt}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Starts, watches and stops one agent.
///
/// Starting takes two steps, so that no agent ever runs that no record knows:
/// [`prepare`](Self::prepare) makes the process but holds it at a gate, its
/// identity is recorded, and [`release`](Self::release) opens the gate.
pub trait Worker {
    /// Makes the agent's process, held at the gate, and says who it is. If this
    /// process dies before the gate opens, so does that one.
    ///
    /// # Errors
    /// When there can be no such process.
    fn prepare(&mut self, session: &Session) -> Result<Process, WorkerError>;

    /// Opens the gate. Returns once the agent's program runs.
    ///
    /// # Errors
    /// When the program cannot be executed; there is no process then.
    fn release(&mut self) -> Result<(), WorkerError>;

    /// Stops the whole tree where it is.
    ///
    /// # Errors
    /// When some of it could not be stopped.
    fn suspend(&mut self) -> Result<(), WorkerError>;

    /// Lets the whole tree go on.
    ///
    /// # Errors
    /// When some of it could not be signalled.
    fn resume(&mut self) -> Result<(), WorkerError>;

    /// Ends the whole tree: TERM and CONT, then KILL after `grace`, until nothing
    /// is left. Returns how the agent's first process ended, as far as the
    /// kernel could tell. That process may have ended before, as
    /// [`poll`](Self::poll) told: then its pid is nobody's any more.
    ///
    /// # Errors
    /// When some of it could not be ended.
    fn terminate(&mut self, grace: Duration) -> Result<Option<WaitStatus>, WorkerError>;

    /// How the agent's first process ended, if it has.
    ///
    /// # Errors
    /// When the system refuses to tell.
    fn poll(&mut self) -> Result<Option<WaitStatus>, WorkerError>;
}

/// The worker of those who have none: there is no value of this type.
#[derive(Debug)]
pub enum NoWorker {}

impl Worker for NoWorker {
    fn prepare(&mut self, _: &Session) -> Result<Process, WorkerError> {
        match *self {}
    }

    fn release(&mut self) -> Result<(), WorkerError> {
        match *self {}
    }

    fn suspend(&mut self) -> Result<(), WorkerError> {
        match *self {}
    }

    fn resume(&mut self) -> Result<(), WorkerError> {
        match *self {}
    }

    fn terminate(&mut self, _: Duration) -> Result<Option<WaitStatus>, WorkerError> {
        match *self {}
    }

    fn poll(&mut self) -> Result<Option<WaitStatus>, WorkerError> {
        match *self {}
    }
}
