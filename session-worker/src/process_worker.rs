//! The worker that starts a real process: an agent in a session and process
//! group of its own, its output appended to a log without a copy in between.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::{WaitIdOptions, WaitIdStatus, WaitOptions};
pub use session_core::process::PROJECT_VAR;
use session_core::process::{SESSION_ID_VAR, Tree};
use session_core::{Host, Pid, Process, ProcessHandle, Session, WaitStatus, Worker, WorkerError};

use crate::program::Program;
use crate::sys;

/// The environment variable that names an agent's issue.
pub const ISSUE_VAR: &str = "MONOCO_ISSUE_ID";
/// The environment variable that names an agent's role.
pub const ROLE_VAR: &str = "MONOCO_ROLE";

/// How long the kernel is given to tell how a process ended that another reaps.
const REAP_PATIENCE: Duration = Duration::from_secs(2);

/// What an agent's process is made from.
#[derive(Debug)]
pub struct AgentSpec {
    /// The program. `MONOCO_SESSION_ID`, `MONOCO_ISSUE_ID` and `MONOCO_ROLE` are
    /// added to its environment from the session.
    pub program: Program,
    /// The agent's stdin.
    pub stdin: OwnedFd,
    /// The agent's stdout and stderr, opened for appending.
    pub log: File,
}

/// Starts, watches and stops one real agent.
///
/// It can be used within any program ([`new`](Self::new)): the agent's tree is
/// then found by parentage and by the session's id in its environment. The
/// supervisor, a subreaper, has all descendants for certain.
#[derive(Debug)]
pub struct ProcessWorker {
    spec: Option<AgentSpec>,
    in_subreaper: bool,
    /// How many files the agent may open, if it is not as many as this process.
    max_files: Option<u64>,
    agent: Option<Agent>,
}

#[derive(Debug)]
struct Agent {
    handle: ProcessHandle,
    tree: Tree,
    is_child: bool,
    state: AgentState,
}

#[derive(Debug)]
enum AgentState {
    /// Waits at its gate; dropping the gate ends it.
    Held {
        gate: OwnedFd,
        exec_error: OwnedFd,
        program: Program,
    },
    Running,
    /// `None`: it ended, and nobody was told how.
    Ended(Option<WaitStatus>),
}

impl ProcessWorker {
    /// A worker for an agent that is to be started.
    #[must_use]
    pub fn new(spec: AgentSpec) -> Self {
        Self {
            spec: Some(spec),
            in_subreaper: false,
            max_files: None,
            agent: None,
        }
    }

    /// A worker in a process that is a subreaper and has no other children.
    pub(crate) fn in_subreaper(spec: AgentSpec, max_files: Option<u64>) -> Self {
        Self {
            in_subreaper: true,
            max_files,
            ..Self::new(spec)
        }
    }

    /// A worker for an agent that runs already, and is not our child.
    pub(crate) fn adopting(session: &Session, handle: ProcessHandle) -> Self {
        let tree = Tree::of(session.id.clone(), Some(&handle));
        let agent = Agent {
            handle,
            tree,
            is_child: false,
            state: AgentState::Running,
        };
        Self {
            spec: None,
            in_subreaper: false,
            max_files: None,
            agent: Some(agent),
        }
    }

    /// The agent's first process, once there is one.
    pub(crate) fn handle(&self) -> Option<&ProcessHandle> {
        self.agent.as_ref().map(|agent| &agent.handle)
    }

    /// Whether the deaths of its tree are reported to this process (`SIGCHLD`).
    pub(crate) fn hears_of_deaths(&self) -> bool {
        self.in_subreaper
    }

    /// The agent with all its descendants.
    pub(crate) fn tree(&self) -> Result<&Tree, WorkerError> {
        self.agent
            .as_ref()
            .map(|agent| &agent.tree)
            .ok_or(WorkerError::NotStarted)
    }

    /// Has `other` be no part of the agent's tree, although it is below this process.
    pub(crate) fn leave_out(&mut self, other: Option<&Tree>) {
        if let Some(agent) = &mut self.agent {
            agent.tree.leave_out(other);
        }
    }

    /// Stops those again whom others let go on, of a tree that is suspended.
    pub(crate) fn keep_suspended(&self) -> Result<(), WorkerError> {
        Ok(self.tree()?.keep_frozen()?)
    }

    /// Whether the end of the agent's first process has been seen.
    pub(crate) fn is_known_to_have_ended(&self) -> bool {
        self.agent
            .as_ref()
            .is_some_and(|agent| matches!(agent.state, AgentState::Ended(_)))
    }

    /// Reaps every child that has ended, the adopted grandchildren among them. Adds those
    /// to `others` who are not the agent's first process.
    pub(crate) fn reap_all(
        &mut self,
        others: &mut Vec<(i32, Option<WaitStatus>)>,
    ) -> Result<(), WorkerError> {
        self.ended()?;
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    others.extend(self.reaped(pid.as_raw_pid(), status));
                }
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io_error("reap a child", error.into())),
            }
        }
    }

    /// Notes how the agent's first process ended; gives back another's end.
    fn reaped(
        &mut self,
        pid: i32,
        status: rustix::process::WaitStatus,
    ) -> Option<(i32, Option<WaitStatus>)> {
        let told = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Some(WaitStatus::Exited { code }),
            (None, Some(signal)) => Some(WaitStatus::Signaled {
                signal,
                core_dumped: status.as_raw() & 0x80 != 0,
            }),
            (None, None) => None,
        };
        match &mut self.agent {
            Some(agent) if agent.is_child && agent.handle.pid().get() == pid => {
                agent.state = AgentState::Ended(told);
                None
            }
            _ => Some((pid, told)),
        }
    }

    /// Whether the agent's first process has ended; then, how, if it was told.
    pub(crate) fn ended(&mut self) -> Result<Option<Option<WaitStatus>>, WorkerError> {
        let Some(agent) = &mut self.agent else {
            return Ok(None);
        };
        if !matches!(agent.state, AgentState::Ended(_)) {
            let ended = if agent.is_child {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
                let id = rustix::process::WaitId::PidFd(agent.handle.as_fd());
                match rustix::process::waitid(id, options) {
                    Ok(status) => status.map(|status| from_waitid(&status)),
                    // Somebody else in this process reaped it; the kernel may still tell.
                    Err(rustix::io::Errno::CHILD) => Some(agent.handle.wait_status(REAP_PATIENCE)),
                    Err(error) => return Err(io_error("wait for the agent", error.into())),
                }
            } else if agent
                .handle
                .has_ended()
                .map_err(|e| io_error("wait for the agent", e))?
            {
                Some(agent.handle.wait_status(REAP_PATIENCE))
            } else {
                None
            };
            if let Some(told) = ended {
                agent.state = AgentState::Ended(told);
            }
        }
        match agent.state {
            AgentState::Ended(told) => Ok(Some(told)),
            _ => Ok(None),
        }
    }

    fn running(&mut self) -> Result<&mut Agent, WorkerError> {
        self.agent.as_mut().ok_or(WorkerError::NotStarted)
    }
}

impl Worker for ProcessWorker {
    fn prepare(&mut self, session: &Session) -> Result<Process, WorkerError> {
        let AgentSpec {
            mut program,
            stdin,
            log,
        } = self.spec.take().ok_or(WorkerError::NotStarted)?;
        program.set(SESSION_ID_VAR, session.id.as_str());
        program.set(ISSUE_VAR, &session.issue_id);
        program.set(ROLE_VAR, &session.role_name);
        let image = program.image()?;
        let (waits, gate) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|e| io_error("make the agent's gate", e.into()))?;
        let fds = [stdin.as_fd(), log.as_fd(), log.as_fd()];
        let birth = sys::Birth {
            cwd: None,
            gate: Some(waits.as_fd()),
            max_files: self.max_files,
            parent: sys::Parent::This,
        };
        let forked = sys::fork(&image, &fds, birth).map_err(|e| io_error("fork", e))?;
        let pid = Pid::new(forked.pid.into()).expect("fork returns pids greater than 1");
        let look = |e| io_error("look at the agent's process", e);
        let handle = ProcessHandle::open(pid)
            .map_err(look)?
            .ok_or(WorkerError::NotStarted)?;
        let identity = Host::current()
            .and_then(|host| host.identify(pid))
            .map_err(look)?;
        let id = session.id.clone();
        let tree = match self.in_subreaper {
            true => Tree::below(id, &handle),
            false => Tree::of(id, Some(&handle)),
        };
        let state = AgentState::Held {
            gate,
            exec_error: forked.exec_error,
            program,
        };
        self.agent = Some(Agent {
            handle,
            tree,
            is_child: true,
            state,
        });
        Ok(Process { pid, identity })
    }

    fn release(&mut self) -> Result<(), WorkerError> {
        let agent = self.running()?;
        let AgentState::Held {
            gate,
            exec_error,
            program,
        } = std::mem::replace(&mut agent.state, AgentState::Running)
        else {
            return Ok(());
        };
        rustix::io::write(&gate, &[1]).map_err(|e| io_error("open the agent's gate", e.into()))?;
        match read_errno(&exec_error).map_err(|e| io_error("watch the agent's start", e))? {
            None => Ok(()),
            Some(errno) => {
                agent
                    .handle
                    .wait(None)
                    .map_err(|e| io_error("wait for the agent", e))?;
                self.ended()?;
                Err(program.exec_error(errno))
            }
        }
    }

    fn suspend(&mut self) -> Result<(), WorkerError> {
        Ok(self.tree()?.freeze()?)
    }

    fn resume(&mut self) -> Result<(), WorkerError> {
        Ok(self.tree()?.thaw()?)
    }

    fn terminate(&mut self, grace: Duration) -> Result<Option<WaitStatus>, WorkerError> {
        // A gate that closes ends what waits at it.
        let agent = self.running()?;
        if matches!(agent.state, AgentState::Held { .. }) {
            agent.state = AgentState::Running;
        }
        self.tree()?.end(grace)?;
        // What waits at a gate that was closed kills itself, and soon.
        let agent = self.running()?;
        agent
            .handle
            .wait(None)
            .map_err(|e| io_error("wait for the agent", e))?;
        Ok(self.ended()?.flatten())
    }

    fn poll(&mut self) -> Result<Option<WaitStatus>, WorkerError> {
        Ok(self.ended()?.flatten())
    }
}

fn from_waitid(status: &WaitIdStatus) -> Option<WaitStatus> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(WaitStatus::Exited { code }),
        (None, Some(signal)) => Some(WaitStatus::Signaled {
            signal,
            core_dumped: status.dumped(),
        }),
        (None, None) => None,
    }
}

/// The errno that a child told; `None` once its program runs.
pub(crate) fn read_errno(fd: &OwnedFd) -> io::Result<Option<i32>> {
    let mut bytes = [0; 4];
    loop {
        match rustix::io::read(fd, &mut bytes) {
            Ok(4) => return Ok(Some(i32::from_ne_bytes(bytes))),
            Ok(_) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn io_error(attempt: &'static str, source: io::Error) -> WorkerError {
    WorkerError::Io { attempt, source }
}
