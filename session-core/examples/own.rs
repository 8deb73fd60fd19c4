//! Owns one session within this program: `cargo run --example own -- DIR CMD…`
//! starts the command, waits for its end, and records how it ended. Meanwhile
//! `cargo run --example list -- DIR`, or any other observer, sees it run.
//!
//! The worker here is the smallest that keeps the trait's promises for a single
//! process. The complete one, with the whole tree, the output in a log, and the
//! system's reason where the command cannot be executed, is `ProcessWorker` of
//! the crate `session-worker`; its supervisor also outlives the one who starts
//! it and answers observers, which this program does not.
#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use session_core::{
    Host, NewSession, Pid, Process, ProcessHandle, RuntimeSession, Session, SessionManager,
    WaitStatus, Worker, WorkerError,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let project = args.next().ok_or("usage: own DIR CMD…")?;
    let manager = SessionManager::create(project)?;
    let claim = manager.claim_new(NewSession {
        command: args.collect(),
        cwd: Some(std::env::current_dir()?),
        ..NewSession::default()
    })?;
    let mut owner = RuntimeSession::owner(claim, OneProcess::default());
    // When this returns, the command runs, and its record says so durably.
    owner.start()?;
    println!("{} runs", owner.session().id);

    let pid = owner.session().pid().ok_or("what runs has a pid")?;
    if let Some(handle) = ProcessHandle::open(pid)? {
        handle.wait(None)?;
    }
    owner.refresh_status()?;
    let session = owner.session();
    println!(
        "{} {} {:?}",
        session.id,
        session.status(),
        session.outcome()
    );
    Ok(())
}

/// A worker for one process. Its gate is a shell that reads a line before it
/// becomes the command: if this program dies before, the shell reads the end of
/// the pipe instead, and exits.
#[derive(Default)]
struct OneProcess(Option<Running>);

struct Running {
    child: Child,
    gate: Option<ChildStdin>,
    /// Means our child and nobody else, also after its pid is handed out anew.
    handle: ProcessHandle,
}

impl Worker for OneProcess {
    fn prepare(&mut self, session: &Session) -> Result<Process, WorkerError> {
        let mut child = Command::new("sh")
            .args(["-c", "read gate && exec \"$@\" </dev/null", "gate"])
            .args(&session.command)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(io("start a shell"))?;
        let gate = child.stdin.take();
        let pid = Pid::new(child.id().into()).ok_or(WorkerError::NotStarted)?;
        let handle = ProcessHandle::open(pid).map_err(io("open the process"))?;
        let host = Host::current().map_err(io("look at this machine"))?;
        let identity = host.identify(pid).map_err(io("look at the process"))?;
        self.0 = Some(Running {
            child,
            gate,
            handle: handle.ok_or(WorkerError::NotStarted)?,
        });
        Ok(Process { pid, identity })
    }

    fn release(&mut self) -> Result<(), WorkerError> {
        let gate = self.running()?.gate.take();
        let mut gate = gate.ok_or(WorkerError::NotStarted)?;
        gate.write_all(b"\n").map_err(io("open the gate"))
    }

    fn suspend(&mut self) -> Result<(), WorkerError> {
        self.running()?.signal(SIGSTOP);
        Ok(())
    }

    fn resume(&mut self) -> Result<(), WorkerError> {
        self.running()?.signal(SIGCONT);
        Ok(())
    }

    fn terminate(&mut self, grace: Duration) -> Result<Option<WaitStatus>, WorkerError> {
        let running = self.running()?;
        // A gate that closes ends what waits at it.
        running.gate = None;
        running.signal(SIGTERM);
        running.signal(SIGCONT);
        let ended = running.handle.wait(Some(grace));
        if !ended.map_err(io("wait for the process"))? {
            running.signal(SIGKILL);
        }
        let status = running.child.wait().map_err(io("wait for the process"))?;
        Ok(Some(wait_status(status)))
    }

    fn poll(&mut self) -> Result<Option<WaitStatus>, WorkerError> {
        let status = self.running()?.child.try_wait();
        Ok(status.map_err(io("look at the process"))?.map(wait_status))
    }
}

// The numbers of Linux on every usual processor (`signal(7)`).
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

impl OneProcess {
    fn running(&mut self) -> Result<&mut Running, WorkerError> {
        self.0.as_mut().ok_or(WorkerError::NotStarted)
    }
}

impl Running {
    fn signal(&self, signal: i32) {
        // It may have ended by now; then there is nobody to signal.
        let _ = self.handle.signal(signal);
    }
}

fn wait_status(status: ExitStatus) -> WaitStatus {
    match status.code() {
        Some(code) => WaitStatus::Exited { code },
        None => WaitStatus::Signaled {
            signal: status.signal().unwrap_or_default(),
            core_dumped: status.core_dumped(),
        },
    }
}

fn io(attempt: &'static str) -> impl Fn(std::io::Error) -> WorkerError {
    move |source| WorkerError::Io { attempt, source }
}
