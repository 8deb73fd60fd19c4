//! A program that owns a session itself, with a worker of its own: what happens
//! is recorded, and what could not be recorded does not happen.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use session_core::{
    ClaimError, Liveness, NewSession, Outcome, Process, ProcessHandle, RuntimeError,
    RuntimeSession, Session, SessionManager, SpawnFailure, Status, WaitStatus, Worker, WorkerError,
    WriteError,
};

use crate::processes::{identify, until};
use crate::project::Project;

/// A worker with a real process: a shell that waits for a line before it becomes
/// the agent's program.
#[derive(Debug)]
struct ShellGate {
    manager: SessionManager,
    running: Option<Running>,
    refuse: Option<(Step, fn() -> WorkerError)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Prepare,
    Release,
    Suspend,
    Resume,
    Terminate,
}

#[derive(Debug)]
struct Running {
    session: Session,
    child: Child,
    gate: Option<ChildStdin>,
    handle: ProcessHandle,
}

impl ShellGate {
    /// Fails at the step that the test chose.
    fn at(&self, step: Step) -> Result<(), WorkerError> {
        match self.refuse {
            Some((refuse, error)) if refuse == step => Err(error()),
            _ => Ok(()),
        }
    }

    fn running(&mut self) -> Result<&mut Running, WorkerError> {
        self.running.as_mut().ok_or(WorkerError::NotStarted)
    }
}

impl Worker for ShellGate {
    fn prepare(&mut self, session: &Session) -> Result<Process, WorkerError> {
        self.at(Step::Prepare)?;
        let mut child = Command::new("sh")
            .args(["-c", "read gate && exec \"$@\"", "gate"])
            .args(&session.command)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        let process = identify(child.id());
        let gate = child.stdin.take();
        let handle = ProcessHandle::open(process.pid).expect("a pidfd");
        self.running = Some(Running {
            session: session.clone(),
            child,
            gate,
            handle: handle.expect("our child"),
        });
        Ok(process)
    }

    fn release(&mut self) -> Result<(), WorkerError> {
        self.at(Step::Release)?;
        let manager = self.manager.clone();
        let running = self.running()?;
        // The record already says who is about to run, and that it runs.
        let seen = manager.get(&running.session.id).expect("a record");
        assert_eq!(seen.session.status(), Status::Running);
        let pid = seen.session.pid().expect("a pid").get();
        assert_eq!(pid.unsigned_abs(), running.child.id());
        assert_eq!(seen.liveness, Liveness::Owned);
        let mut gate = running.gate.take().expect("released once");
        gate.write_all(b"\n").expect("the gate listens");
        Ok(())
    }

    fn suspend(&mut self) -> Result<(), WorkerError> {
        self.at(Step::Suspend)?;
        self.running()?.handle.signal(19).expect("SIGSTOP");
        Ok(())
    }

    fn resume(&mut self) -> Result<(), WorkerError> {
        self.at(Step::Resume)?;
        self.running()?.handle.signal(18).expect("SIGCONT");
        Ok(())
    }

    fn terminate(&mut self, grace: Duration) -> Result<Option<WaitStatus>, WorkerError> {
        self.at(Step::Terminate)?;
        let running = self.running()?;
        let _ = running.handle.signal(15);
        let _ = running.handle.signal(18);
        running.handle.wait(Some(grace)).expect("poll");
        let _ = running.handle.signal(9);
        let status = running.child.wait().expect("our child");
        Ok(Some(wait_status(status)))
    }

    fn poll(&mut self) -> Result<Option<WaitStatus>, WorkerError> {
        let status = self.running()?.child.try_wait().expect("our child");
        Ok(status.map(wait_status))
    }
}

impl Drop for ShellGate {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

fn wait_status(status: ExitStatus) -> WaitStatus {
    match status.code() {
        Some(code) => WaitStatus::Exited { code },
        None => WaitStatus::Signaled {
            signal: status.signal().expect("it ended"),
            core_dumped: status.core_dumped(),
        },
    }
}

type Owner = RuntimeSession<ShellGate>;

/// A pending session of `command`, owned here.
fn owner(project: &Project, command: &[&str]) -> Owner {
    let new = NewSession {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..NewSession::default()
    };
    let claim = project.manager.claim_new(new).expect("a new session");
    let worker = ShellGate {
        manager: project.manager.clone(),
        running: None,
        refuse: None,
    };
    RuntimeSession::owner(claim, worker)
}

fn refuse(owner: &mut Owner, step: Step) {
    refuse_with(owner, step, || WorkerError::Io {
        attempt: "do as the test says",
        source: io::Error::other("it refuses"),
    });
}

fn refuse_with(owner: &mut Owner, step: Step, error: fn() -> WorkerError) {
    let (_, worker) = owner.as_owner_mut().expect("an owner");
    worker.refuse = Some((step, error));
}

/// The owner and the record on disk say the same.
fn check(project: &Project, owner: &Owner, status: Status, outcome: Option<&Outcome>) {
    let session = owner.session();
    assert_eq!((session.status(), session.outcome()), (status, outcome));
    let seen = project.observe(&session.id);
    assert_eq!(&seen.session, session);
}

/// What the kernel says the agent does: `S` for sleeping, `T` for stopped.
fn kernel_state(owner: &Owner) -> Option<char> {
    let pid = owner.session().pid()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

const GRACE: Duration = Duration::from_secs(10);

#[test]
fn an_owner_drives_its_agent_through_its_life() {
    let project = Project::new();
    let mut owner = owner(&project, &["sleep", "600"]);
    assert!(owner.is_owner());
    check(&project, &owner, Status::Pending, None);
    owner.start().expect("sleep starts");
    check(&project, &owner, Status::Running, None);
    owner.suspend().expect("it can be stopped");
    check(&project, &owner, Status::Suspended, None);
    until("it is stopped", || kernel_state(&owner) == Some('T'));
    owner.resume().expect("it can go on");
    check(&project, &owner, Status::Running, None);
    until("it goes on", || kernel_state(&owner) == Some('S'));
    let status = owner.refresh_status().expect("it can be looked at");
    assert_eq!(status, Some(Status::Running));
    owner.terminate(GRACE, "a test").expect("it can be ended");
    let stopped = Outcome::Stopped {
        by: "a test".into(),
        wait_status: Some(WaitStatus::Signaled {
            signal: 15,
            core_dumped: false,
        }),
    };
    check(&project, &owner, Status::Terminated, Some(&stopped));
    // An end is final.
    owner.terminate(GRACE, "again").expect("it has ended");
    assert!(owner.start().is_err() && owner.suspend().is_err() && owner.resume().is_err());
    check(&project, &owner, Status::Terminated, Some(&stopped));
    drop(owner);
    assert_eq!(project.names("run"), [""; 0]);
}

/// Runs `script` to its end, which is recorded as `outcome`.
fn check_end(script: &str, status: Status, outcome: &Outcome) {
    let project = Project::new();
    let mut owner = owner(&project, &["sh", "-c", script]);
    owner.start().expect("sh starts");
    until("it has ended", || {
        owner.refresh_status().expect("it can be looked at") != Some(Status::Running)
    });
    check(&project, &owner, status, Some(outcome));
}

#[test]
fn how_an_agent_ends_is_recorded_exactly() {
    check_end("exit 0", Status::Completed, &Outcome::Exited { code: 0 });
    check_end("exit 7", Status::Failed, &Outcome::Exited { code: 7 });
    check_end("exit 255", Status::Failed, &Outcome::Exited { code: 255 });
    let killed = Outcome::Signaled {
        signal: 9,
        core_dumped: false,
    };
    check_end("kill -9 $$", Status::Crashed, &killed);
}

#[test]
fn a_suspended_agent_that_is_killed_has_crashed() {
    let project = Project::new();
    let mut owner = owner(&project, &["sleep", "600"]);
    owner.start().expect("sleep starts");
    owner.suspend().expect("it can be stopped");
    let pid = owner.session().pid().expect("a pid");
    let handle = ProcessHandle::open(pid).expect("a pidfd").expect("alive");
    handle.signal(9).expect("SIGKILL");
    until("it has ended", || {
        owner.refresh_status().expect("it can be looked at") != Some(Status::Suspended)
    });
    assert_eq!(owner.session().status(), Status::Crashed);
}

#[test]
fn what_ended_by_itself_was_not_stopped() {
    let project = Project::new();
    let mut owner = owner(&project, &["true"]);
    owner.start().expect("true starts");
    let pid = owner.session().pid().expect("a pid");
    let handle = ProcessHandle::open(pid)
        .expect("a pidfd")
        .expect("our child");
    handle.wait(None).expect("poll");
    owner.terminate(GRACE, "cli").expect("it has ended");
    let exited = Outcome::Exited { code: 0 };
    check(&project, &owner, Status::Completed, Some(&exited));
}

#[test]
fn an_agent_that_catches_term_and_exits_0_was_stopped() {
    let project = Project::new();
    let ready = project.path().join("ready");
    let script = format!(
        "trap 'exit 0' TERM; : > {}; while :; do sleep 0.02; done",
        ready.display()
    );
    let mut owner = owner(&project, &["sh", "-c", &script]);
    owner.start().expect("sh starts");
    until("it is ready", || ready.exists());
    owner.terminate(GRACE, "cli").expect("it can be ended");
    let stopped = Outcome::Stopped {
        by: "cli".into(),
        wait_status: Some(WaitStatus::Exited { code: 0 }),
    };
    check(&project, &owner, Status::Terminated, Some(&stopped));
}

#[test]
fn an_agent_that_cannot_be_started_has_failed() {
    for step in [Step::Prepare, Step::Release] {
        let project = Project::new();
        let mut owner = owner(&project, &["sleep", "600"]);
        refuse(&mut owner, step);
        let refused = owner.start();
        assert!(
            matches!(refused, Err(RuntimeError::Worker(_))),
            "{refused:?}"
        );
        // With the system's reason, and without a process that never was the agent.
        let error = "cannot do as the test says: it refuses".to_owned();
        let failed = Outcome::never_ran(error);
        check(&project, &owner, Status::Failed, Some(&failed));
        assert_eq!(owner.session().pid(), None);
        assert_eq!(owner.session().started_at(), None);
        drop(owner);
        assert_eq!(project.names("run"), [""; 0]);
    }
}

#[test]
fn what_is_wrong_with_a_program_is_recorded() {
    let cases: [(fn() -> WorkerError, _, _); 2] = [
        (
            || WorkerError::NotFound("claude".into()),
            "claude: not found",
            SpawnFailure::NotFound,
        ),
        (
            || WorkerError::NotExecutable {
                program: "claude".into(),
                reason: "permission denied".into(),
            },
            "claude: permission denied",
            SpawnFailure::NotExecutable,
        ),
    ];
    for (error, words, reason) in cases {
        let project = Project::new();
        let mut owner = owner(&project, &["claude"]);
        refuse_with(&mut owner, Step::Release, error);
        assert!(owner.start().is_err());
        let failed = Outcome::SpawnFailed {
            error: words.to_owned(),
            reason: Some(reason),
        };
        check(&project, &owner, Status::Failed, Some(&failed));
    }
}

#[test]
fn an_agent_that_is_ended_before_it_started_never_ran() {
    let project = Project::new();
    let mut owner = owner(&project, &["sleep", "600"]);
    owner.terminate(GRACE, "cli").expect("nothing runs");
    let error = "stopped by cli before it was started".to_owned();
    let failed = Outcome::never_ran(error);
    check(&project, &owner, Status::Failed, Some(&failed));
    assert!(owner.start().is_err());
}

#[test]
fn an_agent_whose_pid_cannot_be_recorded_never_runs() {
    let project = Project::new();
    let proof = project.path().join("it-ran");
    let touch = ["touch", proof.to_str().expect("UTF-8")];
    let mut owner = owner(&project, &touch);
    let id = owner.session().id.clone();
    fs::remove_dir_all(project.inside("run")).expect("it is there");
    let refused = owner.start();
    let Err(RuntimeError::Claim(ClaimError::Write(WriteError::LeaseLost(lost)))) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(lost, id);
    let (_, worker) = owner.as_owner_mut().expect("an owner");
    let ended = worker.poll().expect("our child");
    assert!(ended.is_some(), "the gate is closed and gone");
    assert_eq!(project.observe(&id).session.status(), Status::Pending);
    assert!(!proof.exists());
}

#[test]
fn what_a_worker_refuses_is_not_recorded() {
    let project = Project::new();
    let mut owner = owner(&project, &["sleep", "600"]);
    owner.start().expect("sleep starts");
    refuse(&mut owner, Step::Suspend);
    assert!(matches!(owner.suspend(), Err(RuntimeError::Worker(_))));
    check(&project, &owner, Status::Running, None);
    refuse(&mut owner, Step::Resume);
    owner.suspend().expect("it can be stopped");
    assert!(matches!(owner.resume(), Err(RuntimeError::Worker(_))));
    check(&project, &owner, Status::Suspended, None);
    refuse(&mut owner, Step::Terminate);
    let refused = owner.terminate(GRACE, "cli").map(|_| ());
    assert!(matches!(refused, Err(RuntimeError::Worker(_))));
    check(&project, &owner, Status::Suspended, None);
}

#[test]
fn what_cannot_be_recorded_is_undone() {
    let project = Project::new();
    let mut owner = owner(&project, &["sleep", "600"]);
    owner.start().expect("sleep starts");
    until("it sleeps", || kernel_state(&owner) == Some('S'));
    let run = project.inside("run");
    let aside = project.path().join("aside");
    fs::rename(&run, &aside).expect("it is there");
    assert!(matches!(owner.suspend(), Err(RuntimeError::Claim(_))));
    until("it goes on", || kernel_state(&owner) == Some('S'));
    fs::rename(&aside, &run).expect("it is there");
    check(&project, &owner, Status::Running, None);
    owner.suspend().expect("it can be stopped");
    fs::rename(&run, &aside).expect("it is there");
    assert!(matches!(owner.resume(), Err(RuntimeError::Claim(_))));
    until("it is stopped again", || kernel_state(&owner) == Some('T'));
    fs::rename(&aside, &run).expect("it is there");
    check(&project, &owner, Status::Suspended, None);
}

#[test]
fn only_the_documented_arrows_reach_the_worker() {
    let project = Project::new();
    let mut owner = owner(&project, &["sleep", "600"]);
    let no_arrow = |result: Result<(), RuntimeError>| {
        assert!(
            matches!(result, Err(RuntimeError::Claim(ClaimError::Transition(_)))),
            "{result:?}"
        );
    };
    no_arrow(owner.suspend());
    no_arrow(owner.resume());
    owner.start().expect("sleep starts");
    no_arrow(owner.start());
    no_arrow(owner.resume());
    owner.suspend().expect("it can be stopped");
    no_arrow(owner.suspend());
    no_arrow(owner.start());
    check(&project, &owner, Status::Suspended, None);
}

#[test]
fn an_owner_that_goes_away_leaves_an_orphan() {
    let project = Project::new();
    let mut owner = owner(&project, &["sleep", "600"]);
    owner.start().expect("sleep starts");
    let id = owner.session().id.clone();
    let (claim, worker) = owner.into_owner().expect("an owner");
    drop(claim);
    until("the owner is gone", || {
        project.liveness(&id) == Liveness::Orphan
    });
    // And somebody may take it up again.
    let claim = project.manager.claim(&id).expect("nobody owns it");
    let mut again = RuntimeSession::owner(claim, worker);
    let began = Instant::now();
    again.terminate(GRACE, "cli").expect("it can be ended");
    assert!(began.elapsed() < GRACE);
    assert_eq!(project.observe(&id).status(), Some(Status::Terminated));
}
