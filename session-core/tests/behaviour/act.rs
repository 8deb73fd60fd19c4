//! What an observer does to a session that another owns: asked of the owner, or
//! done in a dead owner's stead, or refused for a reason that can be told apart.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use session_core::{
    ActError, Claim, ControlError, Discarded, Liveness, LookError, Outcome, RuntimeError, Session,
    SessionId, Status, WaitStatus,
};

use crate::control::{FakeOwner, done, listen};
use crate::observe::{die, left_elsewhere, left_running};
use crate::processes::{Agent, ended, until};
use crate::project::{Project, id};

const GRACE: Duration = Duration::from_secs(10);
const KILL: i32 = 9;
const USR1: i32 = 10;

fn stopped(signal: i32) -> Outcome {
    Outcome::Stopped {
        by: "a test".to_owned(),
        wait_status: Some(WaitStatus::Signaled {
            signal,
            core_dumped: false,
        }),
    }
}

/// A session that has ended in order.
fn completed(project: &Project) -> SessionId {
    let mut claim = project.running(ended());
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    let id = claim.session().id.clone();
    claim.release().expect("it is ours");
    id
}

fn unclaimed(project: &Project) -> SessionId {
    project.claim().session().id.clone()
}

/// A session of a bare pid, which is `agent`'s.
fn unverified(project: &Project, agent: &Agent) -> SessionId {
    let mut process = agent.process();
    process.identity = None;
    left_running(project, process)
}

/// An owner that refuses, with the session as `become_` left it.
fn refusing(project: &Project, become_: impl FnOnce(&mut Claim) + Send + 'static) -> FakeOwner {
    FakeOwner::new(&project.manager, move |mut stream, mut claim| {
        become_(&mut claim);
        let refusal = b"{\"error\":\"it cannot be done\"}\n";
        stream.write_all(refusal).expect("somebody listens");
    })
}

#[test]
fn stopping_ends_an_orphan_once() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let id = left_running(&project, agent.process());
    let session = project.manager.stop(&id, GRACE, "a test");
    let session = session.expect("it can be ended");
    assert_eq!(session, project.observe(&id).session);
    assert_eq!(session.outcome(), Some(&stopped(15)));
    assert!(!agent.lives());
    let again = project.manager.stop(&id, GRACE, "another");
    assert_eq!(again.expect("it has ended"), session);
}

#[test]
fn what_does_not_allow_a_signal_is_not_stopped() {
    let project = Project::new();
    let agent = Agent::sleeping();
    for id in [
        unverified(&project, &agent),
        left_elsewhere(&project, &agent, "host"),
    ] {
        let refused = project.manager.stop(&id, GRACE, "a test");
        assert!(
            matches!(
                refused,
                Err(ActError::Runtime(RuntimeError::HandsOff { .. }))
            ),
            "{refused:?}"
        );
        assert!(agent.lives());
    }
}

#[test]
fn an_orphan_is_killed_or_signalled() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let id = left_running(&project, agent.process());
    let killed = project.manager.kill(&id, KILL, "a test");
    let killed = killed.expect("it can be killed");
    assert_eq!(killed.outcome(), Some(&stopped(KILL)));
    assert!(!agent.lives());

    let agent = Agent::spawn(Command::new("sh").args(["-c", "exec sleep 600"]));
    let id = left_running(&project, agent.process());
    project
        .manager
        .kill(&id, USR1, "a test")
        .expect("it can be signalled");
    until("the signal ended it", || !agent.lives());
    assert_eq!(project.observe(&id).session.status(), Status::Running);
}

#[test]
fn a_signal_that_is_none_is_refused() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let id = left_running(&project, agent.process());
    let refused = project.manager.kill(&id, 4711, "a test");
    assert!(matches!(refused, Err(ActError::Signal(_))), "{refused:?}");
    assert!(agent.lives());
}

#[test]
fn the_owner_does_what_is_asked_of_it() {
    type Verb = fn(&Project, &SessionId) -> Result<Session, ActError>;
    let verbs: [(Verb, &str); 3] = [
        (|p, id| p.manager.suspend(id), r#"{"request":"suspend"}"#),
        (|p, id| p.manager.resume(id), r#"{"request":"resume"}"#),
        (
            |p, id| p.manager.kill(id, USR1, "a test"),
            r#"{"request":"kill","signal":10,"by":"a test"}"#,
        ),
    ];
    for (verb, request) in verbs {
        let project = Project::new();
        let owner = FakeOwner::new(&project.manager, |mut stream, claim| {
            stream
                .write_all(&done(claim.session()))
                .expect("somebody listens");
        });
        let session = verb(&project, &owner.id).expect("it does as asked");
        assert_eq!(session.id, owner.id);
        let heard = owner.heard.recv().expect("it was asked");
        assert_eq!(heard.trim_end(), request);
    }
}

#[test]
fn what_is_as_it_was_wished_is_no_failure() {
    let project = Project::new();
    let owner = refusing(&project, |claim| {
        claim.suspend().expect("running → suspended");
    });
    let session = project.manager.suspend(&owner.id).expect("it is so");
    assert_eq!(session.status(), Status::Suspended);

    let owner = refusing(&project, |_| {});
    let session = project.manager.resume(&owner.id).expect("it is so");
    assert_eq!(session.status(), Status::Running);

    let owner = refusing(&project, |_| {});
    match project.manager.suspend(&owner.id) {
        Err(ActError::Control(ControlError::Refused(why))) => {
            assert_eq!(why, "it cannot be done");
        }
        other => panic!("{other:?}"),
    }
}

/// What is said when `id` is suspended, resumed, or sent a signal.
fn check_refused(project: &Project, id: &SessionId, expected: &str) {
    let manager = &project.manager;
    let tried = [
        manager.suspend(id),
        manager.resume(id),
        manager.kill(id, USR1, "a test"),
    ];
    for refused in tried {
        let told = refused.expect_err("there is nobody to do it").to_string();
        assert_eq!(told, expected.replace("ID", id.as_str()));
    }
}

#[test]
fn what_cannot_be_done_is_told_apart() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let completed = completed(&project);
    check_refused(&project, &completed, "session ID has ended (completed)");
    let lost = left_running(&project, ended());
    check_refused(&project, &lost, "session ID has ended (terminated)");
    let abandoned = die(&project, project.claim());
    check_refused(&project, &abandoned, "session ID has ended (failed)");
    let unclaimed = unclaimed(&project);
    check_refused(&project, &unclaimed, "session ID has not been started");
    check_refused(
        &project,
        &unverified(&project, &agent),
        "session ID cannot be told from here: \
         another program recorded it; some process has its pid, which may be any",
    );
    let nowhere = id("nowhere");
    check_refused(&project, &nowhere, "no such session: ID");
    let elsewhere = left_elsewhere(&project, &agent, "host");
    let refused = project.manager.suspend(&elsewhere);
    assert!(
        matches!(refused, Err(ActError::HandsOff { .. })),
        "{refused:?}"
    );
    // Suspending is for owners only; an orphan's agent may be signalled.
    let orphan = left_running(&project, agent.process());
    for refused in [
        project.manager.suspend(&orphan),
        project.manager.resume(&orphan),
    ] {
        assert!(
            matches!(&refused, Err(ActError::Orphan(of)) if *of == orphan),
            "{refused:?}"
        );
    }
    assert!(agent.lives());
}

fn is_there(project: &Project, id: &SessionId) -> bool {
    let record = project.inside(format!("sessions/{id}.json"));
    record.symlink_metadata().is_ok()
}

/// Discards `id`: without force for `what`, with force as `discarded`.
fn check_discard(project: &Project, id: &SessionId, what: Option<&str>, discarded: Discarded) {
    if let Some(what) = what {
        match project.manager.discard(id, false, "a test") {
            Err(ActError::Living { id: of, what: is } | ActError::Untold { id: of, what: is }) => {
                assert_eq!((&of, &*is), (id, what));
            }
            other => panic!("{other:?}"),
        }
        assert!(is_there(project, id));
    }
    let done = project.manager.discard(id, what.is_some(), "a test");
    assert_eq!(done.expect("it is removed"), discarded);
    assert!(!is_there(project, id));
}

#[test]
fn what_has_ended_is_discarded_and_what_lives_only_by_force() {
    let project = Project::new();
    let whole = Discarded::Session;
    check_discard(&project, &completed(&project), None, whole);
    let lost = left_running(&project, ended());
    check_discard(&project, &lost, None, whole);
    let abandoned = die(&project, project.claim());
    check_discard(&project, &abandoned, None, whole);
    check_discard(&project, &unclaimed(&project), Some("pending"), whole);
    let agent = Agent::sleeping();
    let orphan = left_running(&project, agent.process());
    check_discard(&project, &orphan, Some("running (orphan)"), whole);
    assert!(!agent.lives());
    let nowhere = project.manager.discard(&orphan, true, "a test");
    assert!(
        matches!(nowhere, Err(ActError::Look(LookError::NotFound(_)))),
        "{nowhere:?}"
    );
}

#[test]
fn what_may_run_elsewhere_is_forgotten_and_not_touched() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let only = Discarded::RecordOnly;
    let bare = unverified(&project, &agent);
    check_discard(&project, &bare, Some("running (unverified)"), only);
    let elsewhere = left_elsewhere(&project, &agent, "host");
    check_discard(&project, &elsewhere, Some("unknown (other host)"), only);
    assert!(agent.lives());
}

#[test]
fn a_record_that_cannot_be_read_is_discarded_by_force_only() {
    let project = Project::new();
    let id = project.plant("damaged", "{");
    let refused = project.manager.discard(&id, false, "a test");
    assert!(
        matches!(refused, Err(ActError::Look(LookError::Damaged { .. }))),
        "{refused:?}"
    );
    assert!(is_there(&project, &id));
    let done = project.manager.discard(&id, true, "a test");
    assert_eq!(done.expect("it is removed"), Discarded::DamagedRecord);
    assert!(!is_there(&project, &id));
    // But not under its owner, who is asked, and does not answer here.
    let claim = project.claim();
    let id = claim.session().id.clone();
    fs::write(project.inside(format!("sessions/{id}.json")), "{").expect("a writable project");
    let refused = project.manager.discard(&id, true, "a test");
    assert!(matches!(refused, Err(ActError::Control(_))), "{refused:?}");
    assert!(is_there(&project, &id));
}

#[test]
fn an_owner_that_still_ends_what_is_left_is_waited_for() {
    let project = Project::new();
    let mut claim = project.running(ended());
    let id = claim.session().id.clone();
    let listener = listen(&claim);
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    let owner = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("somebody waits");
        // What is left of the tree takes its time.
        std::thread::sleep(Duration::from_millis(50));
        claim.release().expect("it is ours");
        drop(stream);
    });
    assert_eq!(project.liveness(&id), Liveness::Ended);
    check_discard(&project, &id, None, Discarded::Session);
    owner.join().expect("the owner does not panic");
}
