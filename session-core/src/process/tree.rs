//! An agent with all its descendants.
//!
//! A process group is not the tree: agents start their tools in sessions of
//! their own. The tree is found by parentage under a subreaper, or, where the
//! subreaper died, by parentage under the agent and by the session's id in the
//! environment that descendants inherit.
//!
//! Other sessions are not part of it, even where the agent started them: a
//! supervisor below is recognised by the lease that it holds, and left alone
//! with all below it.

use std::io;
use std::time::{Duration, Instant};

use crate::id::SessionId;
use crate::process::{Pid, ProcessHandle, SignalError};
use crate::sys;

/// The descriptor under which every supervisor holds its lease. Observers tell
/// a supervisor from the agent's own processes by looking at it.
pub const LEASE_FD: i32 = 3;

/// The environment variable that names an agent's session to its descendants.
pub const SESSION_ID_VAR: &str = "MONOCO_SESSION_ID";

/// How long a tree may take to come to rest before that is given up: processes
/// may fork faster than they can be stopped, or wait for a processor or a disk.
const FREEZE_PATIENCE: Duration = Duration::from_secs(3);
/// The pause between two looks; it doubles up to the longest.
const FREEZE_PAUSE: Duration = Duration::from_micros(50);
const FREEZE_PAUSE_MAX: Duration = Duration::from_millis(2);

/// Where a tree grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// All descendants of the calling process, which is a subreaper.
    Below,
    /// The agent, its descendants, and whoever carries the session's id in its
    /// environment: for agents whose subreaper has died.
    Marked {
        /// The agent's first process, if it is still there.
        agent: Option<Pid>,
        /// The session.
        id: SessionId,
    },
}

/// One living process of a tree.
#[derive(Debug)]
pub struct Member {
    handle: ProcessHandle,
    stat: sys::Stat,
}

impl Member {
    /// The process.
    #[must_use]
    pub fn handle(&self) -> &ProcessHandle {
        &self.handle
    }

    /// Whether it is stopped, or as good as stopped: one that waits, as
    /// posix_spawn(3) does, for a child to execute its program (`vfork(2)`) stops
    /// only after a child that is stopped already.
    fn rests_among(&self, members: &[Self]) -> bool {
        let pid = self.handle.pid();
        let is_stopped_child =
            |other: &Self| other.stat.ppid == pid.get() && other.stat.is_stopped();
        self.stat.is_stopped()
            || (self.stat.is_uninterruptible()
                && members.iter().any(is_stopped_child)
                && sys::is_pending(pid, libc_signal::STOP))
    }
}

impl Tree {
    /// Everybody who lives in the tree now.
    ///
    /// # Errors
    /// When the system does not let us look.
    pub fn members(&self) -> io::Result<Vec<Member>> {
        let mut members = Vec::new();
        match self {
            Self::Below => descend(sys::own_pid(), &mut members)?,
            Self::Marked { agent, id } => {
                if let Some(agent) = agent {
                    join(*agent, &mut members, |_| true)?;
                    descend(agent.get(), &mut members)?;
                }
                let mark = format!("{SESSION_ID_VAR}={id}");
                for pid in sys::all_pids()? {
                    let known = members.iter().any(|member| member.handle.pid() == pid);
                    if !known
                        && pid.get() != sys::own_pid()
                        && sys::environ_contains(pid, mark.as_bytes())
                        // The supervisor of a session that the agent started.
                        && !sys::holds_lease(pid, LEASE_FD)
                    {
                        join(pid, &mut members, |_| {
                            sys::environ_contains(pid, mark.as_bytes())
                        })?;
                    }
                }
            }
        }
        Ok(members)
    }

    /// Sends `signal` to everybody in the tree; tells how many there were.
    ///
    /// # Errors
    /// The first refusal, after everybody else has been signalled.
    pub fn signal(&self, signal: i32) -> Result<usize, TreeError> {
        let members = self.members().map_err(TreeError::Look)?;
        let mut refused = None;
        for member in &members {
            match member.handle.signal(signal) {
                Ok(()) | Err(SignalError::Gone(_)) => {}
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        refused.map_or(Ok(members.len()), |error| Err(TreeError::Signal(error)))
    }

    /// Asks everybody to end: TERM, then CONT, without which a stopped process
    /// would not see it.
    ///
    /// # Errors
    /// The first refusal, after everybody else has been asked.
    pub fn ask_to_end(&self) -> Result<usize, TreeError> {
        let asked = self.signal(libc_signal::TERM);
        self.signal(libc_signal::CONT)?;
        asked
    }

    /// Stops everybody, until a look through the tree finds nobody who is not
    /// stopped: a process that was just being forked is not missed.
    ///
    /// # Errors
    /// A refusal, or a tree that does not come to rest. What was stopped stays so.
    pub fn freeze(&self) -> Result<(), TreeError> {
        let deadline = Instant::now() + FREEZE_PATIENCE;
        let mut pause = FREEZE_PAUSE;
        while Instant::now() < deadline {
            let members = self.members().map_err(TreeError::Look)?;
            let mut restless = members
                .iter()
                .filter(|member| !member.rests_among(&members))
                .peekable();
            if restless.peek().is_none() {
                return Ok(());
            }
            for member in restless {
                match member.handle.signal(libc_signal::STOP) {
                    Ok(()) | Err(SignalError::Gone(_)) => {}
                    Err(error) => return Err(TreeError::Signal(error)),
                }
            }
            // A process stops only once it gets onto a processor.
            std::thread::sleep(pause);
            pause = (pause * 2).min(FREEZE_PAUSE_MAX);
        }
        Err(TreeError::Restless)
    }

    /// Lets everybody go on.
    ///
    /// # Errors
    /// The first refusal, after everybody else has been thawed.
    pub fn thaw(&self) -> Result<(), TreeError> {
        self.signal(libc_signal::CONT).map(|_| ())
    }
}

/// The signals that trees are driven with.
pub(crate) mod libc_signal {
    use rustix::process::Signal;

    pub(crate) const TERM: i32 = Signal::TERM.as_raw();
    pub(crate) const KILL: i32 = Signal::KILL.as_raw();
    pub(crate) const STOP: i32 = Signal::STOP.as_raw();
    pub(crate) const CONT: i32 = Signal::CONT.as_raw();
}

/// A tree could not be driven as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The system does not show its processes.
    #[error("cannot look through the processes")]
    Look(#[source] io::Error),
    /// A process could not be signalled.
    #[error(transparent)]
    Signal(SignalError),
    /// Processes are forked faster than they can be stopped.
    #[error(
        "the tree does not come to rest: its processes are forked faster than they can be stopped"
    )]
    Restless,
}

/// Adds the living descendants of `root`, but no other session's.
fn descend(root: i32, members: &mut Vec<Member>) -> io::Result<()> {
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for child in sys::children(parent)? {
            if sys::holds_lease(child, LEASE_FD) {
                continue;
            }
            // A descendant whose parent died in this moment belongs to the root now.
            let ours = |stat: &sys::Stat| stat.ppid == parent || stat.ppid == root;
            if join(child, members, ours)? {
                parents.push(child.get());
            }
        }
    }
    Ok(())
}

/// Adds `pid`, if it lives and, with its pidfd open, still is who was meant.
/// Tells whether it may have children of its own.
fn join(
    pid: Pid,
    members: &mut Vec<Member>,
    ours: impl FnOnce(&sys::Stat) -> bool,
) -> io::Result<bool> {
    let Some(handle) = ProcessHandle::open(pid)? else {
        return Ok(false);
    };
    let sys::Look::Found(stat) = sys::look(pid) else {
        return Ok(false);
    };
    // Not ended after the look: the pid was not handed on before it.
    if stat.is_dead() || !ours(&stat) || handle.has_ended()? {
        // The first thread of a process may be dead while others still live.
        return Ok(stat.is_dead());
    }
    members.push(Member { handle, stat });
    Ok(true)
}
