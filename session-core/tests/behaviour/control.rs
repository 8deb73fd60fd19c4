//! An observer asks the owner; whatever the owner answers, or does not, is told
//! as it is.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use session_core::control::{DEADLINE, Request};
use session_core::{
    CONTROL_SOCKET, Claim, Control, ControlError, Liveness, Outcome, Session, SessionId,
    SessionManager, Status, record_to_json,
};

use crate::processes::{Agent, until};
use crate::project::Project;

/// A session with an owner that hears each request, and answers as `answer` does.
pub(crate) struct FakeOwner {
    pub(crate) id: SessionId,
    pub(crate) heard: Receiver<String>,
    thread: Option<JoinHandle<()>>,
    _agent: Agent,
}

impl FakeOwner {
    pub(crate) fn new(
        manager: &SessionManager,
        answer: impl FnOnce(UnixStream, Claim) + Send + 'static,
    ) -> Self {
        let agent = Agent::sleeping();
        let claim = manager.claim_new(Default::default());
        let mut claim = claim.expect("a new session");
        claim.start(agent.process()).expect("pending → running");
        let id = claim.session().id.clone();
        let listener = listen(&claim);
        let (hear, heard) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("somebody asks");
            let mut line = String::new();
            BufReader::new(&stream)
                .read_line(&mut line)
                .expect("a line");
            hear.send(line).expect("the test listens");
            answer(stream, claim);
        });
        Self {
            id,
            heard,
            thread: Some(thread),
            _agent: agent,
        }
    }
}

impl Drop for FakeOwner {
    fn drop(&mut self) {
        let thread = self.thread.take().expect("joined once");
        let owner = thread.join();
        if !std::thread::panicking() {
            owner.expect("the owner does not panic");
        }
    }
}

/// The ear of an owner, however long the path of its project is.
pub(crate) fn listen(claim: &Claim) -> UnixListener {
    let folder = claim.lease().folder().as_raw_fd();
    let path = format!("/proc/self/fd/{folder}/{CONTROL_SOCKET}");
    UnixListener::bind(path).expect("a new run directory")
}

pub(crate) fn done(session: &Session) -> Vec<u8> {
    let json: serde_json::Value =
        serde_json::from_slice(&record_to_json(session)).expect("our own record");
    format!("{{\"session\":{json}}}\n").into_bytes()
}

/// What comes of asking an owner that sends `answer`, and then goes.
fn check(
    answer: impl FnOnce(&Session) -> Vec<u8> + Send + 'static,
    expected: impl FnOnce(&SessionId, Result<Session, ControlError>),
) {
    let project = Project::new();
    let owner = FakeOwner::new(&project.manager, move |mut stream, claim| {
        // An observer that has heard enough may hang up.
        let _ = stream.write_all(&answer(claim.session()));
    });
    let control = project.manager.control(&owner.id).expect("it listens");
    expected(&owner.id, control.ask(&Request::Status));
}

fn check_bad(answer: impl FnOnce(&Session) -> Vec<u8> + Send + 'static, why: &'static str) {
    check(answer, |id, told| match told {
        Err(ControlError::BadReply { id: of, reason }) => {
            assert_eq!(of, *id);
            assert!(reason.contains(why), "expected `{why}`, got `{reason}`");
            assert!(
                reason.len() < 1000 && !reason.contains('\u{1b}'),
                "{reason:?}"
            );
        }
        told => panic!("{told:?}"),
    });
}

#[test]
fn what_the_owner_did_is_told_with_the_session_as_it_is_now() {
    check(done, |id, told| {
        let session = told.expect("done");
        assert_eq!((&session.id, session.status()), (id, Status::Running));
    });
    // In pieces, as a socket may deliver it.
    let project = Project::new();
    let owner = FakeOwner::new(&project.manager, |mut stream, claim| {
        for byte in done(claim.session()) {
            stream.write_all(&[byte]).expect("somebody listens");
        }
    });
    let control = project.manager.control(&owner.id).expect("it listens");
    let session = control.ask(&Request::Resume).expect("done");
    assert_eq!(session, project.observe(&owner.id).session);
}

#[test]
fn what_the_owner_refuses_is_told_in_its_words() {
    check(
        |_| b"{\"error\":\"the session is not running\"}\n".to_vec(),
        |_, told| match told {
            Err(ControlError::Refused(why)) => assert_eq!(why, "the session is not running"),
            told => panic!("{told:?}"),
        },
    );
}

#[test]
fn an_answer_that_is_none_is_not_believed() {
    check_bad(|_| b"\n".to_vec(), "EOF");
    check_bad(|_| b"{}\n".to_vec(), "");
    check_bad(|_| b"done\n".to_vec(), "expected");
    check_bad(|_| b"{\"session\":{}}\n".to_vec(), "missing field");
    check_bad(
        |_| b"{\"session\":7}\n".to_vec(),
        "expected a session record",
    );
    check_bad(|_| b"{\"session\":null}\n".to_vec(), "");
    check_bad(|_| b"{\"error\":\xff}\n".to_vec(), "");
    check_bad(|_| b"\x1b[2J\x1b]0;x\x07\n".to_vec(), "expected");
    check_bad(
        |session| [done(session), done(session)].concat(),
        "trailing",
    );
    // Nor is another session's.
    check_bad(
        |session| {
            let mut session = session.clone();
            session.id = SessionId::random();
            done(&session)
        },
        "another session",
    );
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    check_bad(|_| vec![b'x'; 8 << 20], "too long");
    check_bad(
        |_| vec![b'['; 1 << 20].into_iter().chain(*b"\n").collect(),
        "",
    );
}

#[test]
fn an_owner_that_dies_before_it_answers_is_told_apart() {
    for answer in [&b""[..], b"{\"session\":"] {
        check(
            move |_| answer.to_vec(),
            |id, told| match told {
                Err(ControlError::OwnerDied(of)) => assert_eq!(of, *id),
                told => panic!("{told:?}"),
            },
        );
    }
}

#[test]
fn what_is_asked_is_one_line_of_json() {
    let stop = Request::Stop {
        grace_seconds: 1.5,
        by: "a\nb".into(),
    };
    let kill = Request::Kill {
        signal: 9,
        by: "cli".into(),
    };
    for (request, expected) in [
        (Request::Status, r#"{"request":"status"}"#),
        (Request::Suspend, r#"{"request":"suspend"}"#),
        (Request::Resume, r#"{"request":"resume"}"#),
        (Request::Wait, r#"{"request":"wait"}"#),
        (
            stop,
            r#"{"request":"stop","grace_seconds":1.5,"by":"a\nb"}"#,
        ),
        (kill, r#"{"request":"kill","signal":9,"by":"cli"}"#),
    ] {
        let project = Project::new();
        let owner = FakeOwner::new(&project.manager, |mut stream, claim| {
            stream
                .write_all(&done(claim.session()))
                .expect("somebody listens");
        });
        let control = project.manager.control(&owner.id).expect("it listens");
        let pid = control.owner_pid().expect("it is seen from here");
        assert_eq!(pid.get().unsigned_abs(), std::process::id());
        control.ask(&request).expect("done");
        let heard = owner.heard.recv().expect("it was asked");
        assert_eq!(heard, format!("{expected}\n"));
    }
}

#[test]
fn the_end_can_be_waited_for() {
    let project = Project::new();
    let owner = FakeOwner::new(&project.manager, |mut stream, mut claim| {
        claim
            .finish(Outcome::Exited { code: 7 })
            .expect("running → failed");
        stream
            .write_all(&done(claim.session()))
            .expect("somebody listens");
    });
    let mut control = project.manager.control(&owner.id).expect("it listens");
    control.subscribe_end().expect("it lives");
    let session = control.ended().expect("it has ended");
    assert_eq!(session.outcome(), Some(&Outcome::Exited { code: 7 }));

    let owner = FakeOwner::new(&project.manager, |stream, claim| {
        drop(claim);
        drop(stream);
    });
    let mut control = project.manager.control(&owner.id).expect("it listens");
    control.subscribe_end().expect("it lives");
    let died = control.ended();
    assert!(matches!(died, Err(ControlError::OwnerDied(_))), "{died:?}");
}

#[test]
fn an_observer_terminates_through_the_owner() {
    let project = Project::new();
    let owner = FakeOwner::new(&project.manager, |mut stream, mut claim| {
        claim
            .finish(Outcome::Stopped {
                by: "cli".into(),
                wait_status: None,
            })
            .expect("running → terminated");
        stream
            .write_all(&done(claim.session()))
            .expect("somebody listens");
    });
    let mut loaded = project.manager.load(&owner.id).expect("a session");
    let grace = Duration::from_millis(2500);
    let ended = loaded.terminate(grace, "cli").expect("it does as asked");
    assert_eq!(ended.status(), Status::Terminated);
    let heard = owner.heard.recv().expect("it was asked");
    let stop = "{\"request\":\"stop\",\"grace_seconds\":2.5,\"by\":\"cli\"}\n";
    assert_eq!(heard, stop);
}

#[test]
fn an_owner_that_was_just_ending_is_no_failure() {
    let project = Project::new();
    let owner = FakeOwner::new(&project.manager, |stream, mut claim| {
        claim
            .finish(Outcome::Exited { code: 0 })
            .expect("running → completed");
        drop((claim, stream));
    });
    let mut loaded = project.manager.load(&owner.id).expect("a session");
    let ended = loaded.terminate(Duration::ZERO, "cli").expect("it ended");
    assert_eq!(ended.status(), Status::Completed);
    // Nor is one that dies while it is asked: what is left is ended without it.
    let owner = FakeOwner::new(&project.manager, |stream, claim| drop((stream, claim)));
    let mut loaded = project.manager.load(&owner.id).expect("a session");
    let ended = loaded.terminate(Duration::ZERO, "cli").expect("it ended");
    assert_eq!(ended.status(), Status::Terminated);
    assert!(
        project
            .manager
            .get(&owner.id)
            .is_ok_and(|seen| !seen.may_live())
    );
}

fn no_owner(project: &Project, id: &SessionId) {
    let nobody = project.manager.control(id);
    assert!(
        matches!(nobody, Err(ControlError::NoOwner(_))),
        "{nobody:?}"
    );
}

#[test]
fn a_session_without_owner_has_nobody_to_ask() {
    let project = Project::new();
    no_owner(&project, &SessionId::random());
    let unclaimed = project.claim().session().id.clone();
    no_owner(&project, &unclaimed);
    // A dead owner's socket still lies there.
    let agent = Agent::sleeping();
    let claim = project.running(agent.process());
    let orphan = claim.session().id.clone();
    drop(listen(&claim));
    drop(claim);
    until("the owner is gone", || {
        project.liveness(&orphan) == Liveness::Orphan
    });
    assert!(
        project
            .names(&format!("run/{orphan}"))
            .contains(&CONTROL_SOCKET.to_owned())
    );
    no_owner(&project, &orphan);
}

#[test]
fn an_owner_that_is_only_just_starting_is_waited_for() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let claim = project.running(agent.process());
    let id = claim.session().id.clone();
    // Tells when somebody looks into the run directory.
    let looks = inotify::init(CreateFlags::CLOEXEC).expect("inotify");
    let run = project.inside(format!("run/{id}"));
    inotify::add_watch(&looks, run, WatchFlags::OPEN).expect("a directory");
    let manager = project.manager.clone();
    let observer = std::thread::spawn(move || manager.control(&id).map(drop));
    rustix::io::read(&looks, &mut [0; 4096]).expect("it looks for the owner's ear");
    let _listener = listen(&claim);
    observer.join().expect("no panic").expect("it listens now");
}

/// An owner that lives but does not answer is not dead, and is waited for no
/// longer than `limit`.
fn check_unresponsive(attempt: impl FnOnce() -> Option<ControlError>, limit: Duration) {
    let began = Instant::now();
    match attempt() {
        Some(ControlError::Unresponsive { after, .. }) => assert_eq!(after, limit),
        other => panic!("{other:?}"),
    }
    let waited = began.elapsed();
    assert!(waited >= limit && waited < limit * 2, "{waited:?}");
}

#[test]
fn an_owner_that_does_not_listen_is_unresponsive() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let claim = project.running(agent.process());
    let id = &claim.session().id;
    check_unresponsive(|| project.manager.control(id).err(), DEADLINE);
    assert_eq!(project.liveness(id), Liveness::Owned);
}

#[test]
fn an_owner_that_does_not_answer_is_unresponsive() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let claim = project.running(agent.process());
    // It listens, but never accepts: as one that is stopped (SIGSTOP).
    let _listener = listen(&claim);
    let id = &claim.session().id;
    let control: Control = project.manager.control(id).expect("it listens");
    check_unresponsive(|| control.ask(&Request::Status).err(), DEADLINE * 2);
    assert_eq!(project.liveness(id), Liveness::Owned);
}

#[test]
fn the_path_of_a_project_may_be_long() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let deep = (0..20).fold(dir.path().to_owned(), |path, n| {
        path.join(format!("a-rather-long-name-{n}"))
    });
    assert!(deep.as_os_str().len() > 107 * 3);
    fs::create_dir_all(&deep).expect("a writable directory");
    let manager = SessionManager::create(&deep).expect("an empty project");
    let owner = FakeOwner::new(&manager, |mut stream, claim| {
        stream
            .write_all(&done(claim.session()))
            .expect("somebody listens");
    });
    let control = manager.control(&owner.id).expect("it listens");
    let session = control.ask(&Request::Status).expect("done");
    assert_eq!(session.id, owner.id);
}
