//! A process that cannot be mistaken for another: signals go through its pidfd.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::outcome::WaitStatus;
use crate::process::{Host, Pid, Process, ProcessState};
use crate::sys;

/// An open process. As long as it is open, no other process is ever meant by it.
#[derive(Debug)]
pub struct ProcessHandle {
    pid: Pid,
    fd: sys::PidFd,
}

/// A signal could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// The process is not there any more.
    #[error("process {0} is gone")]
    Gone(Pid),
    /// The process became another user's.
    #[error("process {0} belongs to another user now; only that user or root can signal it")]
    NotPermitted(Pid),
    /// There is no such signal.
    #[error("{0} is not the number of a signal")]
    NoSuchSignal(i32),
    /// The system refused.
    #[error("cannot signal process {pid}")]
    System {
        /// The process.
        pid: Pid,
        /// The system's reason.
        source: io::Error,
    },
}

impl ProcessHandle {
    /// Opens whatever process has this pid now; `None` when there is none.
    ///
    /// # Errors
    /// When the system refuses (no descriptors left, no pidfds).
    pub fn open(pid: Pid) -> io::Result<Option<Self>> {
        Ok(sys::PidFd::open(pid)?.map(|fd| Self { pid, fd }))
    }

    /// Opens `process`, and makes sure that it is the one meant: the identity is
    /// compared after the pidfd is open, so no reuse of the pid can come between.
    ///
    /// # Errors
    /// The state in which the process was found, when it is not [`ProcessState::Alive`];
    /// or the system's refusal.
    pub fn open_verified(process: &Process, host: &Host) -> io::Result<Result<Self, ProcessState>> {
        let Some(handle) = Self::open(process.pid)? else {
            return Ok(Err(host.state_of(process)));
        };
        Ok(match host.state_of(process) {
            ProcessState::Alive => Ok(handle),
            state => Err(state),
        })
    }

    /// The process's pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends `signal` to this process, and to no other.
    ///
    /// # Errors
    /// [`SignalError`]: gone, not permitted, or refused.
    pub fn signal(&self, signal: i32) -> Result<(), SignalError> {
        let Some(signal) = rustix::process::Signal::from_named_raw(signal) else {
            return Err(SignalError::NoSuchSignal(signal));
        };
        self.fd.signal(signal).map_err(|error| match error {
            rustix::io::Errno::SRCH => SignalError::Gone(self.pid),
            rustix::io::Errno::PERM => SignalError::NotPermitted(self.pid),
            error => SignalError::System {
                pid: self.pid,
                source: error.into(),
            },
        })
    }

    /// Whether the process has ended (it may still wait to be reaped).
    ///
    /// # Errors
    /// When the system refuses to look.
    pub fn has_ended(&self) -> io::Result<bool> {
        self.wait(Some(Duration::ZERO))
    }

    /// Waits until the process has ended, at most for `timeout`; tells whether it has.
    ///
    /// # Errors
    /// When the system refuses to wait.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        sys::poll_readable(self.fd.as_fd(), timeout)
    }

    /// How the process ended, where the kernel tells strangers: while nobody has
    /// reaped it, and from Linux 6.15 on once somebody has. Waits at most
    /// `patience` for that.
    #[must_use]
    pub fn wait_status(&self, patience: Duration) -> Option<WaitStatus> {
        let deadline = Instant::now() + patience;
        if !self.wait(Some(patience)).unwrap_or(false) {
            return None;
        }
        if let Some(status) = self.fd.zombie_status(self.pid) {
            return Some(status);
        }
        if !self
            .fd
            .wait_reaped(deadline.saturating_duration_since(Instant::now()))
        {
            return None;
        }
        self.fd.exit_info()
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
