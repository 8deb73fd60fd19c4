//! An owner within any program: `ProcessWorker` without a supervisor.
//!
//! The tests share one process, so the worker finds each agent's tree among
//! children that are not its own: what every embedding program needs.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use session_core::{
    NewSession, Outcome, RuntimeError, RuntimeSession, SessionManager, SpawnFailure, Status,
    WaitStatus, WorkerError,
};
use session_worker::{AgentSpec, ProcessWorker, Program};

struct Owned {
    _project: tempfile::TempDir,
    manager: SessionManager,
    session: RuntimeSession<ProcessWorker>,
}

fn owner(argv: &[&str]) -> Owned {
    let project = tempfile::tempdir().expect("a temporary directory");
    let manager = SessionManager::create(project.path()).expect("a project");
    let claim = manager
        .claim_new(NewSession::default())
        .expect("a new session");
    let log = manager.append_log(&claim.session().id).expect("a log");
    let worker = ProcessWorker::new(AgentSpec {
        program: Program::inheriting_env(argv.iter().map(Into::into).collect()),
        stdin: File::open("/dev/null").expect("/dev/null").into(),
        log,
    });
    Owned {
        _project: project,
        manager,
        session: RuntimeSession::owner(claim, worker),
    }
}

impl Owned {
    fn on_disk(&self) -> session_core::Session {
        self.manager
            .get(&self.session.session().id)
            .expect("a record")
            .session
    }

    fn log(&self) -> String {
        let path = self
            .manager
            .log_path(&self.session.session().id)
            .expect("a path");
        std::fs::read_to_string(path).expect("a log")
    }

    fn wait_for_end(&mut self) -> Status {
        wait_until("the session ends", || {
            self.session
                .refresh_status()
                .expect("a status")
                .is_some_and(Status::is_terminal)
        });
        self.session.session().status()
    }
}

fn wait_until(what: &str, mut happens: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !happens() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn exists(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_started_session_runs_and_its_record_says_so() {
    let mut owned = owner(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    owned.session.start().expect("a shell");
    let recorded = owned.on_disk();
    assert_eq!(
        (recorded.status(), recorded.pid()),
        (Status::Running, owned.session.session().pid())
    );
    assert!(
        recorded
            .process()
            .is_some_and(|process| process.identity.is_some())
    );
    assert_eq!(owned.wait_for_end(), Status::Failed);
    assert_eq!(
        owned.on_disk().outcome(),
        Some(&Outcome::Exited { code: 7 })
    );
    assert_eq!(owned.log(), "out\nerr\n");
}

#[test]
fn what_cannot_be_executed_is_told_apart_and_recorded() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a script");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
        path.to_str().expect("UTF-8").to_owned()
    };
    let check = |program: &str, not_found: bool, words: &str| {
        let mut owned = owner(&[program]);
        let error = owned.session.start().expect_err("it cannot be executed");
        match &error {
            RuntimeError::Worker(WorkerError::NotFound(_)) => assert!(not_found, "{program}"),
            RuntimeError::Worker(WorkerError::NotExecutable { .. }) => {
                assert!(!not_found, "{program}")
            }
            other => panic!("{other}"),
        }
        assert!(error.to_string().contains(words), "{error}");
        let recorded = owned.on_disk();
        assert_eq!((recorded.status(), recorded.pid()), (Status::Failed, None));
        let reason = Some(match not_found {
            true => SpawnFailure::NotFound,
            false => SpawnFailure::NotExecutable,
        });
        let error = error.to_string();
        assert_eq!(
            recorded.outcome(),
            Some(&Outcome::SpawnFailed { error, reason })
        );
    };
    check("no-such-program-anywhere", true, "not found");
    check("/no/such/program", true, "not found");
    check(&script("plain", "echo no", 0o755), false, "#!");
    check(
        &script("private", "#!/bin/sh\n", 0o600),
        false,
        "permission denied",
    );
    check(
        &script("orphaned", "#!/no/such/interpreter\n", 0o755),
        false,
        "interpreter",
    );
    check(
        dir.path().to_str().expect("UTF-8"),
        false,
        "permission denied",
    );
}

#[test]
fn the_agent_is_alone_with_its_three_descriptors_and_default_signals() {
    let script = "ls /proc/self/fd | tr '\\n' ' '; grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2 | tr '\\n' ' '; \
                  read pid _ _ _ pgid sid _ </proc/self/stat; echo $$ $pgid $sid $MONOCO_SESSION_ID";
    let mut owned = owner(&["sh", "-c", script]);
    owned.session.start().expect("a shell");
    owned.wait_for_end();
    let id = owned.session.session().id.clone();
    let pid = owned.session.session().pid().expect("it ran");
    let none = "0000000000000000";
    // 3 is `ls` reading the directory.
    assert_eq!(
        owned.log(),
        format!("0 1 2 3 {none} {none} {pid} {pid} {pid} {id}\n")
    );
}

#[test]
fn suspend_stops_the_whole_tree_and_resume_lets_it_go_on() {
    let mut owned = owner(&["sh", "-c", "setsid sleep 600 & echo $!; wait"]);
    owned.session.start().expect("a shell");
    wait_until("the child has been started", || owned.log().ends_with('\n'));
    let child = owned.log().trim().to_owned();
    let state = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
        stat.rsplit_once(") ")
            .expect("a stat line")
            .1
            .chars()
            .next()
    };
    owned.session.suspend().expect("running");
    assert_eq!(owned.on_disk().status(), Status::Suspended);
    assert_eq!(state(&child), Some('T'));
    owned.session.resume().expect("suspended");
    assert_eq!(owned.on_disk().status(), Status::Running);
    assert_ne!(state(&child), Some('T'));
    owned
        .session
        .terminate(Duration::from_secs(5), "test")
        .expect("running");
    assert!(!exists(&child), "nothing of the tree is left");
}

#[test]
fn terminate_ends_what_ignores_term_and_what_ran_away() {
    let script = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' &); \
                  while :; do sleep 1; done";
    let mut owned = owner(&["sh", "-c", script]);
    owned.session.start().expect("a shell");
    wait_until("the grandchild has been started", || {
        owned.log().ends_with('\n')
    });
    let grandchild = owned.log().trim().to_owned();
    owned
        .session
        .terminate(Duration::from_millis(300), "test")
        .expect("running");
    let killed = Some(WaitStatus::Signaled {
        signal: 9,
        core_dumped: false,
    });
    assert_eq!(
        owned.on_disk().outcome(),
        Some(&Outcome::Stopped {
            by: "test".into(),
            wait_status: killed
        })
    );
    assert!(!exists(&grandchild), "nothing of the tree is left");
}

#[test]
fn terminate_leaves_the_embedding_programs_other_children_alone() {
    let mut other = std::process::Command::new("sleep")
        .arg("600")
        .spawn()
        .expect("sleep");
    let mut owned = owner(&["sleep", "600"]);
    owned.session.start().expect("sleep");
    owned
        .session
        .terminate(Duration::from_secs(5), "test")
        .expect("running");
    assert_eq!(owned.on_disk().status(), Status::Terminated);
    assert!(
        Path::new(&format!("/proc/{}", other.id())).exists()
            && other.try_wait().expect("wait").is_none()
    );
    other.kill().expect("kill");
    other.wait().expect("wait");
}

#[test]
fn a_gate_that_is_closed_does_not_end_as_an_agent_may() {
    let mut owned = owner(&["true"]);
    let (claim, worker) = owned.session.as_owner_mut().expect("an owner");
    let process = session_core::Worker::prepare(worker, claim.session()).expect("a gate");
    drop(owned);
    let pid = rustix::process::Pid::from_raw(process.pid.get());
    let ended = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
    let (_, status) = ended.expect("it is our child").expect("it was waited for");
    assert_eq!(status.terminating_signal(), Some(9), "{status:?}");
}
