//! Who a process is. A pid is not a process: the kernel hands pids out again.

mod handle;
mod tree;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

pub use handle::{ProcessHandle, SignalError};
pub use tree::{LEASE_FD, PROJECT_VAR, SESSION_ID_VAR, Tree, TreeError, marked};

use crate::outcome::LostCause;
use crate::sys;

/// A process id that can belong to an agent: greater than 1.
///
/// 0, 1 and negative numbers mean other things to `kill(2)`: the caller's own
/// group, init, everybody. No record can make monoco use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Pid(i32);

impl Pid {
    /// Takes `raw` as a pid, if it can be an agent's.
    #[must_use]
    pub fn new(raw: i64) -> Option<Self> {
        i32::try_from(raw).ok().filter(|pid| *pid > 1).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What tells a process from every other that had or will have its pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessIdentity {
    /// The machine (`/etc/machine-id`, or its name where there is none).
    pub host: String,
    /// The boot of that machine (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The pid namespace in which the pid counts (`/proc/self/ns/pid`).
    pub pid_namespace: u64,
    /// When the process began, in clock ticks since boot (`proc_pid_stat(5)`,
    /// field 22), as the initial time namespace counts them.
    pub start_ticks: u64,
}

/// A process as a record names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: Pid,
    /// Who it is; `None` in records of the original format.
    pub identity: Option<ProcessIdentity>,
}

/// This machine, this boot, this namespace: the part of an identity that all
/// processes seen from here share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// See [`ProcessIdentity::host`].
    pub name: String,
    /// See [`ProcessIdentity::boot_id`].
    pub boot_id: String,
    /// See [`ProcessIdentity::pid_namespace`].
    pub pid_namespace: u64,
    /// How far this time namespace shifts start times, in ticks (`time_namespaces(7)`).
    pub(crate) tick_offset: i64,
}

/// What can be said of a process from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs (or is stopped), and it is the one meant.
    Alive,
    /// It is provably not there any more.
    Gone(LostCause),
    /// Some process has this pid, but nothing tells whether it is the one meant.
    Unverified,
    /// It cannot be told from here; hands off.
    Unknown(Unknowable),
}

/// Why nothing can be said of a process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknowable {
    /// The process belongs to another machine.
    #[error("it runs on another host ({0})")]
    OtherHost(String),
    /// The process belongs to another pid namespace, such as a container.
    #[error("it runs in another pid namespace ({0})")]
    OtherPidNamespace(u64),
    /// The process is the agent of the project of which this one is a copy.
    #[error("it runs for the project {}, of which this one is a copy", .0.display())]
    OtherProject(std::path::PathBuf),
    /// The system does not let us look.
    #[error("this system does not show it: {0}")]
    Hidden(String),
}

impl Host {
    /// Looks at this machine.
    ///
    /// # Errors
    /// When `/proc` does not tell.
    pub fn current() -> std::io::Result<Self> {
        sys::host()
    }

    /// Who the living process `pid` is; `None` when there is none.
    ///
    /// # Errors
    /// When the system does not let us look.
    pub fn identify(&self, pid: Pid) -> std::io::Result<Option<ProcessIdentity>> {
        match sys::look(pid) {
            sys::Look::Found(stat) => Ok(Some(self.identity(stat.start_ticks))),
            sys::Look::Absent => Ok(None),
            sys::Look::Hidden(error) => Err(error),
        }
    }

    fn identity(&self, start_ticks: u64) -> ProcessIdentity {
        ProcessIdentity {
            host: self.name.clone(),
            boot_id: self.boot_id.clone(),
            pid_namespace: self.pid_namespace,
            start_ticks: start_ticks.saturating_add_signed(-self.tick_offset),
        }
    }

    /// What can be said of `process` now.
    #[must_use]
    pub fn state_of(&self, process: &Process) -> ProcessState {
        match &process.identity {
            Some(identity) => match self.reaches(identity) {
                Ok(()) => self.compare(identity, sys::look(process.pid)),
                Err(state) => state,
            },
            None => match sys::look(process.pid) {
                sys::Look::Found(stat) if !stat.is_dead() => ProcessState::Unverified,
                sys::Look::Found(_) | sys::Look::Absent => ProcessState::Gone(LostCause::OwnerDied),
                sys::Look::Hidden(error) => {
                    ProcessState::Unknown(Unknowable::Hidden(error.to_string()))
                }
            },
        }
    }

    /// How long ago the process of `identity` began, on a clock that nobody sets
    /// (`CLOCK_BOOTTIME`; it counts the time that the machine slept).
    #[must_use]
    pub fn age_of(&self, identity: &ProcessIdentity) -> Duration {
        sys::since_boot(self.tick_offset).saturating_sub(sys::ticks(identity.start_ticks))
    }

    /// Whether pids of `identity`'s namespace mean anything here and now.
    fn reaches(&self, identity: &ProcessIdentity) -> Result<(), ProcessState> {
        if identity.host != self.name {
            return Err(ProcessState::Unknown(Unknowable::OtherHost(
                identity.host.clone(),
            )));
        }
        if identity.boot_id != self.boot_id {
            return Err(ProcessState::Gone(LostCause::Reboot));
        }
        if identity.pid_namespace != self.pid_namespace {
            return Err(ProcessState::Unknown(Unknowable::OtherPidNamespace(
                identity.pid_namespace,
            )));
        }
        Ok(())
    }

    fn compare(&self, identity: &ProcessIdentity, look: sys::Look) -> ProcessState {
        match look {
            sys::Look::Found(stat)
                if stat.is_dead() || self.identity(stat.start_ticks) != *identity =>
            {
                ProcessState::Gone(LostCause::OwnerDied)
            }
            sys::Look::Found(_) => ProcessState::Alive,
            sys::Look::Absent => ProcessState::Gone(LostCause::OwnerDied),
            sys::Look::Hidden(error) => {
                ProcessState::Unknown(Unknowable::Hidden(error.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> (Host, Process) {
        let host = Host::current().expect("/proc");
        let pid = Pid::new(std::process::id().into()).expect("a pid");
        let identity = host.identify(pid).expect("/proc");
        (host, Process { pid, identity })
    }

    fn check(change: impl FnOnce(&mut ProcessIdentity), expected: &ProcessState) {
        let (host, mut process) = own();
        change(process.identity.as_mut().expect("alive"));
        assert_eq!(&host.state_of(&process), expected);
    }

    #[test]
    fn a_process_is_its_whole_identity() {
        let gone = ProcessState::Gone(LostCause::OwnerDied);
        check(|_| (), &ProcessState::Alive);
        check(|id| id.start_ticks -= 1, &gone);
        check(
            |id| id.boot_id = "another".into(),
            &ProcessState::Gone(LostCause::Reboot),
        );
        check(
            |id| id.host = "another".into(),
            &ProcessState::Unknown(Unknowable::OtherHost("another".into())),
        );
        check(
            |id| id.pid_namespace = 7,
            &ProcessState::Unknown(Unknowable::OtherPidNamespace(7)),
        );
    }

    #[test]
    fn a_bare_pid_is_never_believed_to_be_the_process() {
        let (host, mut process) = own();
        process.identity = None;
        assert_eq!(host.state_of(&process), ProcessState::Unverified);
    }

    #[test]
    fn a_zombie_is_gone() {
        let mut child = std::process::Command::new("true").spawn().expect("true");
        let pid = Pid::new(child.id().into()).expect("a pid");
        let host = Host::current().expect("/proc");
        let handle = ProcessHandle::open(pid)
            .expect("pidfd")
            .expect("not reaped");
        handle.wait(None).expect("poll");
        let process = Process {
            pid,
            identity: host.identify(pid).expect("/proc"),
        };
        assert!(
            process.identity.is_some(),
            "a zombie can still be looked at"
        );
        assert_eq!(
            host.state_of(&process),
            ProcessState::Gone(LostCause::OwnerDied)
        );
        child.wait().expect("wait");
    }

    #[test]
    fn pids_that_mean_somebody_else_to_kill_are_refused() {
        for raw in [i64::MIN, -1, 0, 1, i64::from(i32::MAX) + 1] {
            assert_eq!(Pid::new(raw), None, "{raw}");
        }
    }
}
