//! The original Python program's records load, list and show; ours load there.

use std::fs;
use std::process::Command;
use std::time::Duration;

use session_core::{
    Liveness, LostCause, NewSession, Outcome, RuntimeError, SessionId, Status, Timestamp,
    record_to_json,
};

use crate::processes::{Agent, identify, skipped};
use crate::project::{Project, id};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/original-format");

const LOST: Liveness = Liveness::Lost(LostCause::OwnerDied);
/// What each record says, and what is true of it: nobody runs any of them.
const RECORDS: [(&str, Status, Liveness, Status); 8] = [
    (
        "6513270e-269e-4d37-b2a7-4de452e6b438",
        Status::Pending,
        Liveness::Unclaimed,
        Status::Pending,
    ),
    (
        "d23f0824-128b-4f33-8c5c-7fd0a6a3a450",
        Status::Running,
        LOST,
        Status::Terminated,
    ),
    (
        "9531985d-5d9d-49f8-9818-e811892f902b",
        Status::Suspended,
        LOST,
        Status::Terminated,
    ),
    (
        "36f675cc-81e7-4ef5-a8e2-5d940ed90475",
        Status::Completed,
        Liveness::Ended,
        Status::Completed,
    ),
    (
        "6b0d549b-6f03-475a-9600-a35a099950d8",
        Status::Failed,
        Liveness::Ended,
        Status::Failed,
    ),
    (
        "8d116ece-1738-47d9-bd9c-172411e20b8f",
        Status::Timeout,
        Liveness::Ended,
        Status::Timeout,
    ),
    (
        "90c192cf-d3ac-44af-8f21-ddb66cad4a26",
        Status::Terminated,
        Liveness::Ended,
        Status::Terminated,
    ),
    (
        "a170b338-3926-4059-b28c-105d1fb17c23",
        Status::Crashed,
        Liveness::Ended,
        Status::Crashed,
    ),
];

/// A project of the original program: its records, and nothing of ours.
fn original() -> Project {
    let project = Project::new();
    for folder in ["sessions/.gitignore", "run", "logs"] {
        let path = project.inside(folder);
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        };
        removed.expect("it was made");
    }
    for (id, ..) in RECORDS {
        let record = fs::read(format!("{FOLDER}/{id}.json")).expect("a golden file");
        project.plant(id, record);
    }
    project
}

/// `id` reads as it was written.
fn check(project: &Project, id: &SessionId) {
    let record = fs::read(format!("{FOLDER}/{id}.json")).expect("a golden file");
    let json: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    let session = project.observe(id).session;
    let text = |field: &str| json[field].as_str().expect("a text").to_owned();
    assert_eq!(session.id.as_str(), text("id"));
    assert_eq!(session.issue_id, text("issue_id"));
    assert_eq!(session.role_name, text("role_name"));
    assert_eq!(session.status().as_str(), text("status"));
    assert_eq!(session.branch_name, text("branch_name"));
    assert_eq!(
        session.pid().map(|pid| i64::from(pid.get())),
        json["pid"].as_i64()
    );
    let time = |field| Timestamp::parse(&text(field)).expect("a local time");
    assert_eq!(session.created_at, time("created_at"));
    assert_eq!(session.updated_at, time("updated_at"));
    assert_eq!((session.schema, session.outcome()), (None, None));
}

#[test]
fn every_record_of_the_original_loads_lists_and_shows() {
    let project = original();
    let listing = project.manager.list().expect("a project");
    assert_eq!((listing.sessions.len(), listing.damaged.len()), (8, 0));
    for (name, recorded, liveness, shown) in RECORDS {
        let id = id(name);
        check(&project, &id);
        let seen = project.observe(&id);
        assert_eq!(seen.session.status(), recorded);
        assert_eq!(seen.liveness, liveness, "{name}");
        assert_eq!(seen.status(), Some(shown), "{name}");
        assert_eq!(seen.shown().status(), shown, "{name}");
        let mut loaded = project.manager.load(&id).expect("a session");
        assert_eq!(loaded.refresh_status().expect("a record"), Some(shown));
    }
    let listing = project
        .manager
        .list_by_issue("FEAT-0101")
        .expect("a project");
    assert_eq!(listing.sessions.len(), 2);
}

#[test]
fn every_record_of_schema_1_is_read_and_written_the_same() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schema-1");
    let project = Project::new();
    let mut n_records = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        n_records += 1;
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let id = id(name.expect("an id"));
        let record = fs::read(&path).expect("a golden file");
        project.plant(id.as_str(), &record);
        let session = project.observe(&id).session;
        let status = match id.as_str() {
            "spawn-failed" => "failed",
            "lost" => "terminated",
            "rate-limited" => "completed",
            status => status,
        };
        assert_eq!(session.status().as_str(), status);
        assert_eq!(record_to_json(&session), record, "{id}");
    }
    assert_eq!(n_records, 11);
}

#[test]
fn reading_changes_no_file_and_makes_none() {
    let project = original();
    let ids = RECORDS.map(|(name, ..)| id(name));
    let before = ids.each_ref().map(|id| project.stamp(id));
    for id in &ids {
        project.observe(id);
        let mut loaded = project.manager.load(id).expect("a session");
        loaded.refresh_status().expect("a record");
        assert!(loaded.start().is_err());
        let log = project.manager.open_log(id).expect("no log is no error");
        assert!(log.is_none());
    }
    project.manager.list().expect("a project");
    project.manager.living().expect("a project");
    project.manager.resolve("36f675cc").expect("one");
    project.manager.feed().expect("a project");
    assert_eq!(ids.each_ref().map(|id| project.stamp(id)), before);
    assert_eq!(project.names(""), ["sessions"]);
    assert_eq!(project.names("sessions").len(), 8);
}

#[test]
fn reconciling_settles_what_claims_to_run_and_leaves_the_rest() {
    let project = original();
    let ids = RECORDS.map(|(name, ..)| id(name));
    let before = ids.each_ref().map(|id| project.stamp(id));
    let report = project.manager.reconcile().expect("a project");
    assert!(report.failed.is_empty(), "{report:?}");
    assert_eq!(report.settled.len(), 2);
    for ((id, before), (.., liveness, shown)) in ids.iter().zip(before).zip(RECORDS) {
        if liveness == LOST {
            let ended = project.observe(id);
            assert_eq!(ended.liveness, Liveness::Ended);
            assert_eq!(ended.session.status(), shown);
            let cause = LostCause::OwnerDied;
            assert_eq!(ended.session.outcome(), Some(&Outcome::Lost { cause }));
            let end = ended.session.end().expect("it has ended");
            assert_eq!((end.started_at, end.ended_at), (None, None));
            assert!(end.process.is_some(), "the pid is kept as history");
        } else {
            assert_eq!(project.stamp(id), before, "{id}");
        }
    }
    let report = project.manager.reconcile().expect("a project");
    assert!(report.settled.is_empty(), "{report:?}");
}

#[test]
fn a_living_pid_of_the_original_is_shown_and_never_signalled() {
    let agent = Agent::sleeping();
    for (name, status) in [
        ("d23f0824-128b-4f33-8c5c-7fd0a6a3a450", Status::Running),
        ("9531985d-5d9d-49f8-9818-e811892f902b", Status::Suspended),
    ] {
        let (project, id) = (original(), id(name));
        let pid = project.observe(&id).session.pid().expect("a pid");
        let living = format!("\"pid\": {}", agent.process().pid);
        project.edit(&id, &format!("\"pid\": {pid}"), &living);
        let before = project.stamp(&id);
        let seen = project.observe(&id);
        assert_eq!(seen.liveness, Liveness::Unverified);
        assert_eq!(seen.status(), Some(status));
        let mut loaded = project.manager.load(&id).expect("a session");
        let refused = loaded.terminate(Duration::ZERO, "cli");
        assert!(matches!(refused, Err(RuntimeError::HandsOff { .. })));
        let report = project.manager.reconcile().expect("a project");
        assert!(report.settled.iter().all(|(settled, _)| *settled != id));
        assert!(project.manager.remove(&id).is_err());
        assert!(agent.lives());
        assert_eq!(project.stamp(&id), before);
    }
}

/// What the original program does with a record when it loads it.
const ORIGINAL_READER: &str = r#"
import datetime, json, sys
for path in sys.argv[1:]:
    record = json.load(open(path, encoding="utf-8"))
    for field in ("id", "issue_id", "role_name", "branch_name"):
        assert isinstance(record[field], str), field
    assert record["status"] in ("pending", "running", "suspended", "completed",
                                "failed", "timeout", "terminated", "crashed")
    assert record["pid"] is None or type(record["pid"]) is int
    for field in ("created_at", "updated_at"):
        datetime.datetime.fromisoformat(record[field])
"#;

#[test]
fn our_records_load_in_the_original() {
    let project = original();
    let pending = project.claim();
    let running = project.running(identify(std::process::id()));
    let mut ended = project.running(identify(std::process::id()));
    ended
        .finish(Outcome::Stopped {
            by: "cli".into(),
            wait_status: None,
        })
        .expect("running → terminated");
    // A time that falls on a whole second has no fraction.
    project.plant(
        "whole-second",
        project
            .record(&pending.session().id)
            .replace(pending.session().id.as_str(), "whole-second")
            .replace(
                &pending.session().created_at.to_string(),
                "2026-11-22T11:10:24+00:00",
            ),
    );
    let mut claim = project.manager.claim(&id("whole-second")).expect("free");
    claim
        .start(running.session().process().expect("alive").clone())
        .expect("pending → running");
    // Their own, gone through our hands.
    project.manager.reconcile().expect("a project");
    let mut python = Command::new("python3");
    python.args(["-c", ORIGINAL_READER]);
    for name in project.names("sessions") {
        python.arg(project.inside("sessions").join(name));
    }
    match python.output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => skipped(
            "our_records_load_in_the_original",
            &format!("python3: {error}"),
        ),
    }
}

#[test]
fn a_pending_session_of_the_original_can_be_run() {
    let project = original();
    let id = id("6513270e-269e-4d37-b2a7-4de452e6b438");
    let mut claim = project.manager.claim(&id).expect("nobody began");
    let created_at = claim.session().created_at;
    claim
        .start(identify(std::process::id()))
        .expect("pending → running");
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    let session = project.observe(&id).session;
    assert_eq!(session.status(), Status::Completed);
    assert_eq!(session.branch_name, "agent/FEAT-0101/6513270e");
    assert_eq!(session.created_at, created_at);
    assert!(session.updated_at >= created_at);
}

#[test]
fn new_sessions_carry_the_defaults_of_the_original() {
    let project = Project::new();
    let claim = project.manager.claim_new(NewSession::default());
    let claim = claim.expect("a new session");
    let session = claim.session();
    assert_eq!(
        (session.issue_id.as_str(), session.role_name.as_str()),
        ("NEW_TASK", "Default")
    );
    let branch = format!("agent/NEW_TASK/{}", session.id.short());
    assert_eq!(session.branch_name, branch);
}
