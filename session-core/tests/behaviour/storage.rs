//! What the disk refuses: the old record stands, and the end is recorded all the same.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use session_core::{
    Change, Claim, ClaimError, Liveness, NewSession, Outcome, SessionManager, Status, WriteError,
    parse_record,
};

use crate::processes::{Agent, alone, alone_in_namespaces, ended, until};
use crate::project::Project;

/// Where the tests mount what is small or read-only, in a namespace of their own.
const MOUNTED: &str = "/mnt";
const SMALL: &str = "mount -t tmpfs -o size=256k,nr_inodes=48 none /mnt";

/// The record on disk says the same as the claim: `status`.
fn check(claim: &Claim, status: Status) {
    let session = claim.session();
    assert_eq!(session.status(), status);
    let path = Path::new(MOUNTED).join(format!(".monoco/sessions/{}.json", session.id));
    let record = fs::read(path).expect("a record");
    assert_eq!(&parse_record(&record).expect("whole"), session);
}

/// The error that the system gave for what was not written.
fn refusal(result: Result<(), ClaimError>) -> Errno {
    match result {
        Err(ClaimError::Write(WriteError::NotWritten { source, .. })) => {
            Errno::from_io_error(&source).expect("the system's error")
        }
        other => panic!("{other:?}"),
    }
}

/// Takes all the room and all the inodes that there still are.
fn fill() {
    for n in 0.. {
        let path = format!("{MOUNTED}/filling-{n}");
        let Ok(mut file) = File::options().append(true).create(true).open(path) else {
            return;
        };
        for size in [4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }
}

fn make_room() {
    for entry in fs::read_dir(MOUNTED).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            fs::remove_file(entry.path()).expect("our own");
        }
    }
}

fn small_project() -> (SessionManager, Agent) {
    let manager = SessionManager::create(MOUNTED).expect("room for a project");
    (manager, Agent::sleeping())
}

fn running(manager: &SessionManager, agent: &Agent) -> Claim {
    let claim = manager.claim_new(NewSession::default());
    let mut claim = claim.expect("room for a record");
    claim.start(agent.process()).expect("pending → running");
    claim
}

fn n_entries(folder: &str) -> usize {
    let folder = format!("{MOUNTED}/.monoco/{folder}");
    fs::read_dir(folder).expect("a folder").count()
}

#[test]
fn a_full_disk_leaves_the_old_record() {
    let test = "storage::a_full_disk_leaves_the_old_record";
    if !alone_in_namespaces(test, &["--mount"], SMALL) {
        return;
    }
    let (manager, agent) = small_project();
    let mut claim = running(&manager, &agent);
    fill();
    assert_eq!(refusal(claim.suspend()), Errno::NOSPC);
    check(&claim, Status::Running);
    assert_eq!(refusal(claim.rewrite()), Errno::NOSPC);
    assert!(claim.keep_reserve().is_err());
    check(&claim, Status::Running);
    let before = (n_entries("run"), n_entries("sessions"));
    let refused = manager.claim_new(NewSession::default());
    let error = refused.expect_err("there is no room");
    assert!(error.to_string().starts_with("cannot "), "{error}");
    assert_eq!((n_entries("run"), n_entries("sessions")), before);
    assert_eq!(manager.list().expect("a project").sessions.len(), 1);
    make_room();
    claim.suspend().expect("there is room again");
    check(&claim, Status::Suspended);
    manager.claim_new(NewSession::default()).expect("room");
}

#[test]
fn the_end_is_recorded_on_a_full_disk() {
    let test = "storage::the_end_is_recorded_on_a_full_disk";
    if !alone_in_namespaces(test, &["--mount"], SMALL) {
        return;
    }
    let (manager, agent) = small_project();
    let mut claim = running(&manager, &agent);
    claim.keep_reserve().expect("room");
    fill();
    claim
        .finish(Outcome::Exited { code: 3 })
        .expect("the reserve is there for this");
    check(&claim, Status::Failed);
    drop(claim);
    assert_eq!(n_entries("run"), 1, "only .gitignore");
}

#[test]
fn the_reserve_of_a_dead_owner_is_there_for_whoever_ends_its_orphan() {
    let test = "storage::the_reserve_of_a_dead_owner_is_there_for_whoever_ends_its_orphan";
    if !alone_in_namespaces(test, &["--mount"], SMALL) {
        return;
    }
    let (manager, agent) = small_project();
    let mut claim = running(&manager, &agent);
    let id = claim.session().id.clone();
    claim.keep_reserve().expect("room");
    drop(claim);
    fill();
    let stopped = manager.stop(&id, Duration::from_secs(5), "a test");
    assert_eq!(stopped.expect("an orphan").status(), Status::Terminated);
    let outcome = manager
        .get(&id)
        .expect("a record")
        .session
        .outcome()
        .cloned();
    assert!(
        matches!(outcome, Some(Outcome::Stopped { .. })),
        "{outcome:?}"
    );
    assert_eq!(n_entries("run"), 1, "only .gitignore");
}

#[test]
fn the_reserve_outlives_what_happens_before_the_end() {
    let test = "storage::the_reserve_outlives_what_happens_before_the_end";
    if !alone_in_namespaces(test, &["--mount"], SMALL) {
        return;
    }
    let (manager, agent) = small_project();
    let mut claim = running(&manager, &agent);
    claim.keep_reserve().expect("room");
    fill();
    for _ in 0..5 {
        claim.suspend().expect("running → suspended");
        check(&claim, Status::Suspended);
        // What the old record leaves, somebody else takes at once.
        fill();
        claim.resume().expect("suspended → running");
        check(&claim, Status::Running);
        fill();
    }
    claim
        .finish(Outcome::Stopped {
            by: "somebody with a rather long name".into(),
            wait_status: None,
        })
        .expect("running → terminated");
    check(&claim, Status::Terminated);
}

#[test]
fn a_disk_without_inodes_is_a_full_disk() {
    let test = "storage::a_disk_without_inodes_is_a_full_disk";
    if !alone_in_namespaces(test, &["--mount"], SMALL) {
        return;
    }
    let (manager, agent) = small_project();
    let mut with = running(&manager, &agent);
    let mut without = running(&manager, &agent);
    with.keep_reserve().expect("room");
    fill();
    // Room there is, only no inodes.
    File::create(format!("{MOUNTED}/filling-0")).expect("it is there");
    assert_eq!(refusal(without.suspend()), Errno::NOSPC);
    with.finish(Outcome::Exited { code: 0 })
        .expect("the reserve");
    check(&with, Status::Completed);
    check(&without, Status::Running);
}

#[test]
fn an_abandoned_start_that_cannot_be_recorded_now_is_recorded_later() {
    let test = "storage::an_abandoned_start_that_cannot_be_recorded_now_is_recorded_later";
    if !alone_in_namespaces(test, &["--mount"], SMALL) {
        return;
    }
    let (manager, _agent) = small_project();
    let claim = manager.claim_new(NewSession::default()).expect("room");
    let id = claim.session().id.clone();
    drop(claim.into_lease());
    fill();
    for _ in 0..2 {
        assert_eq!(refusal(manager.settle(&id)), Errno::NOSPC);
        let seen = manager.get(&id).expect("a record");
        assert_eq!(seen.liveness, Liveness::Abandoned);
    }
    make_room();
    manager.settle(&id).expect("there is room again");
    let seen = manager.get(&id).expect("a record");
    assert_eq!(seen.session.status(), Status::Failed);
    assert_eq!(n_entries("run"), 1, "only .gitignore");
}

#[test]
fn the_end_is_recorded_without_a_free_descriptor() {
    let test = "storage::the_end_is_recorded_without_a_free_descriptor";
    if !alone(test, &[]) {
        return;
    }
    let project = Project::new();
    let agent = Agent::sleeping();
    let mut with = project.running(agent.process());
    let mut without = project.running(agent.process());
    with.keep_reserve().expect("room");
    let mut feed = project.manager.feed().expect("a project");
    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit {
        // What is open stays open; poll(2) is allowed no more than this.
        current: Some(1),
        ..limit
    };
    setrlimit(Resource::Nofile, none).expect("less is always allowed");
    let refused = refusal(without.suspend());
    let recorded = with.finish(Outcome::Exited { code: 0 });
    let listed = project.manager.list();
    let started = project.manager.claim_new(NewSession::default());
    let deaf = project.manager.feed();
    let seen = feed.next(Some(Duration::ZERO));
    setrlimit(Resource::Nofile, limit).expect("as it was");
    assert_eq!(refused, Errno::MFILE);
    recorded.expect("the reserve is open already");
    assert!(listed.is_err() && started.is_err() && deaf.is_err());
    assert!(!seen.expect("it is open already").is_empty());
    let id = &with.session().id;
    assert_eq!(project.observe(id).session.status(), Status::Completed);
    without.suspend().expect("running → suspended");
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_like_any_other() {
    let test = "storage::a_limit_on_the_size_of_files_is_an_error_like_any_other";
    // A program that owns sessions ignores SIGXFSZ, as the supervisor does.
    let ignoring = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];
    if !alone(test, &ignoring) {
        return;
    }
    let project = Project::new();
    let agent = Agent::sleeping();
    let mut claim = project.running(agent.process());
    let before = project.stamp(&claim.session().id);
    let limit = getrlimit(Resource::Fsize);
    let little = Rlimit {
        current: Some(100),
        ..limit
    };
    setrlimit(Resource::Fsize, little).expect("less is always allowed");
    let refused = refusal(claim.suspend());
    setrlimit(Resource::Fsize, limit).expect("as it was");
    assert_eq!(refused, Errno::FBIG);
    assert_eq!(project.stamp(&claim.session().id), before);
    claim.suspend().expect("running → suspended");
    let id = claim.session().id.as_str();
    assert_eq!(project.names(&format!("run/{id}")), ["lease"]);
}

#[test]
fn a_read_only_project_can_be_looked_at() {
    let test = "storage::a_read_only_project_can_be_looked_at";
    if !alone_in_namespaces(test, &["--mount"], SMALL) {
        return;
    }
    let (manager, agent) = small_project();
    let running_session = |process| {
        let mut claim = manager.claim_new(NewSession::default()).expect("room");
        claim.start(process).expect("pending → running");
        claim
    };
    let orphan = running_session(agent.process()).session().id.clone();
    let lost = running_session(ended()).session().id.clone();
    let claim = manager.claim_new(NewSession::default()).expect("room");
    let unclaimed = claim.session().id.clone();
    claim.release().expect("nobody began");
    let mut claim = running_session(agent.process());
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    let completed = claim.session().id.clone();
    drop(claim);
    let remount = |how: &str| {
        let mut mount = Command::new("mount");
        let status = mount
            .args(["-o", &format!("remount,bind,{how}"), MOUNTED])
            .status();
        assert!(status.expect("mount").success());
    };
    until("nobody owns anything any more", || {
        let listing = manager.list().expect("a project");
        listing
            .sessions
            .iter()
            .all(|seen| seen.liveness != Liveness::Owned)
    });
    remount("ro");
    let listing = manager.list().expect("a project");
    assert_eq!((listing.sessions.len(), listing.damaged.len()), (4, 0));
    let liveness = |id| manager.get(id).expect("a record").liveness;
    assert_eq!(liveness(&orphan), Liveness::Orphan);
    assert_eq!(liveness(&unclaimed), Liveness::Unclaimed);
    assert_eq!(liveness(&completed), Liveness::Ended);
    assert!(matches!(liveness(&lost), Liveness::Lost(_)));
    assert_eq!(manager.living().expect("a project").sessions.len(), 2);
    assert_eq!(manager.resolve(lost.as_str()).expect("it is there"), lost);
    let mut loaded = manager.load(&orphan).expect("a session");
    let status = loaded.refresh_status().expect("a record");
    assert_eq!(status, Some(Status::Running));
    let mut feed = manager.feed().expect("a project");
    let changes: Vec<Change> = feed.next(Some(Duration::ZERO)).expect("poll");
    assert!(changes.is_empty());
    // What would have to write refuses, says why, and signals nobody.
    let refusals = [
        manager.claim(&orphan).expect_err("no lease").to_string(),
        manager.claim(&unclaimed).expect_err("no lease").to_string(),
        manager
            .claim_new(NewSession::default())
            .expect_err("no room")
            .to_string(),
        manager.settle(&lost).expect_err("no lease").to_string(),
    ];
    for refusal in refusals {
        assert!(
            refusal.starts_with("cannot ") && refusal.contains(MOUNTED),
            "{refusal}"
        );
    }
    assert!(manager.remove(&completed).is_err());
    assert!(manager.append_log(&orphan).is_err());
    assert!(loaded.terminate(Duration::ZERO, "cli").is_err());
    assert!(agent.lives());
    let report = manager.reconcile().expect("a project");
    assert!(report.settled.is_empty());
    let failed: Vec<_> = report.failed.iter().map(|(id, _)| id).collect();
    assert_eq!(failed, [&lost]);
    let (_, error) = &report.failed[0];
    let cause = std::error::Error::source(error).expect("the system's reason");
    let reason = io::Error::from(Errno::ROFS).to_string();
    assert_eq!(cause.to_string(), reason);
    remount("rw");
    let report = manager.reconcile().expect("a project");
    assert_eq!(report.settled.len(), 1);
}
