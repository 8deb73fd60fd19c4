//! A session is a file: made at once, changed with each status, read by anybody.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::Mode;
use session_core::{
    Claim, ClaimError, Liveness, LookError, LostCause, NewSession, Outcome, RuntimeError,
    SessionManager, Status, StoreError, Timestamp, WaitStatus, parse_record, record_to_json,
};

use crate::processes::{Agent, Other, alone, ended, hold, identify, until};
use crate::project::{Project, all, id};

/// The claim, the file, and a manager that was opened before the session was
/// made: all say the same.
fn check(project: &Project, claim: &Claim, status: Status) {
    let session = claim.session();
    assert_eq!(session.status(), status);
    let record = project.record(&session.id);
    assert!(
        record.contains(&format!("\n  \"status\": \"{status}\",\n")),
        "{record}"
    );
    assert_eq!(record.as_bytes(), record_to_json(session));
    assert_eq!(
        &parse_record(record.as_bytes()).expect("our own record"),
        session
    );
    assert_eq!(&project.observe(&session.id).session, session);
    let another = SessionManager::open(project.path()).expect("a project");
    assert_eq!(all(&another), std::slice::from_ref(session));
}

fn for_issue(issue: &str) -> NewSession {
    NewSession {
        issue_id: Some(issue.to_owned()),
        ..NewSession::default()
    }
}

#[test]
fn opening_creates_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let opened = SessionManager::open(dir.path());
    assert!(
        matches!(opened, Err(StoreError::NoProject(_))),
        "{opened:?}"
    );
    let made = fs::read_dir(dir.path()).expect("a directory").count();
    assert_eq!(made, 0);
}

#[test]
fn the_directories_are_made_on_first_use_and_git_ignores_them() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    SessionManager::create(dir.path()).expect("an empty project");
    for folder in ["sessions", "run", "logs"] {
        let ignore = dir.path().join(".monoco").join(folder).join(".gitignore");
        assert_eq!(fs::read_to_string(ignore).expect("a .gitignore"), "*\n");
    }
    // What a person writes there stays.
    let ignore = dir.path().join(".monoco/logs/.gitignore");
    fs::write(&ignore, "*.log\n").expect("a writable project");
    SessionManager::create(dir.path()).expect("a project");
    assert_eq!(fs::read_to_string(ignore).expect("a .gitignore"), "*.log\n");
    // What was removed is put back.
    fs::remove_dir_all(dir.path().join(".monoco/run")).expect("it is there");
    SessionManager::create(dir.path()).expect("a project");
    let ignore = dir.path().join(".monoco/run/.gitignore");
    assert_eq!(fs::read_to_string(ignore).expect("a .gitignore"), "*\n");
}

#[test]
fn everything_is_ours_alone_whatever_the_umask() {
    if !alone(
        "persistence::everything_is_ours_alone_whatever_the_umask",
        &[],
    ) {
        return;
    }
    for mask in [0, 0o022, 0o777] {
        // Not under the mask itself, which would be the temporary directory's too.
        let dir = tempfile::tempdir().expect("a temporary directory");
        rustix::process::umask(Mode::from_raw_mode(mask));
        let manager = SessionManager::create(dir.path()).expect("an empty project");
        let claim = manager.claim_new(NewSession::default());
        let mut claim = claim.expect("a new session");
        claim.keep_reserve().expect("room");
        let id = claim.session().id.clone();
        drop(manager.append_log(&id).expect("a log"));
        claim.start(ended()).expect("pending → running");
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let mut seen = 0;
        let mut folders = vec![dir.path().join(".monoco")];
        while let Some(folder) = folders.pop() {
            assert_mode(&folder, 0o700, mask);
            for entry in fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                seen += 1;
                if path.is_dir() {
                    folders.push(path);
                } else {
                    assert_mode(&path, 0o600, mask);
                }
            }
        }
        // Three folders with a .gitignore each, a record, a log, and a run
        // directory with a lease and a reserve.
        assert_eq!(seen, 3 + 3 + 2 + 3);
    }
}

fn assert_mode(path: &Path, expected: u32, mask: u32) {
    let mode = fs::symlink_metadata(path).expect("it is there");
    assert_eq!(
        mode.permissions().mode() & 0o7777,
        expected,
        "{} under umask {mask:o}",
        path.display()
    );
}

#[test]
fn a_session_is_saved_when_it_is_made_and_with_each_status() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let mut claim = project.claim();
    check(&project, &claim, Status::Pending);
    claim.start(agent.process()).expect("pending → running");
    check(&project, &claim, Status::Running);
    claim.suspend().expect("running → suspended");
    check(&project, &claim, Status::Suspended);
    claim.resume().expect("suspended → running");
    check(&project, &claim, Status::Running);
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    check(&project, &claim, Status::Completed);
}

#[test]
fn every_end_is_saved() {
    let wait_status = Some(WaitStatus::Signaled {
        signal: 9,
        core_dumped: false,
    });
    let by = "cli".to_owned();
    let cases = [
        (Outcome::Exited { code: 7 }, Status::Failed),
        (
            Outcome::Signaled {
                signal: 11,
                core_dumped: true,
            },
            Status::Crashed,
        ),
        (
            Outcome::TimedOut {
                after_seconds: 900,
                wait_status,
            },
            Status::Timeout,
        ),
        (Outcome::Stopped { by, wait_status }, Status::Terminated),
        (
            Outcome::Lost {
                cause: LostCause::Reboot,
            },
            Status::Terminated,
        ),
    ];
    for (outcome, status) in cases {
        let project = Project::new();
        let mut claim = project.running(ended());
        claim.finish(outcome).expect("running → its end");
        check(&project, &claim, status);
    }
    let project = Project::new();
    let mut claim = project.claim();
    let error = "claude: not found".to_owned();
    claim
        .finish(Outcome::never_ran(error))
        .expect("pending → failed");
    check(&project, &claim, Status::Failed);
}

#[test]
fn a_launcher_that_announces_nothing_yet_writes_the_same_record() {
    let project = Project::new();
    let claim = project.manager.claim_unannounced(for_issue("FEAT-101"));
    check(&project, &claim.expect("a new session"), Status::Pending);
}

#[test]
fn what_is_loaded_is_an_observer() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let claim = project.running(agent.process());
    let id = claim.session().id.clone();
    let before = project.stamp(&id);
    let mut loaded = project.manager.load(&id).expect("a session");
    assert!(!loaded.is_owner());
    for (attempt, result) in [
        ("start", loaded.start()),
        ("suspend", loaded.suspend()),
        ("resume", loaded.resume()),
    ] {
        match result {
            Err(RuntimeError::ObserverMode { id: of, attempt: a }) => {
                assert_eq!((of, a), (id.clone(), attempt));
            }
            other => panic!("{attempt}: {other:?}"),
        }
    }
    let status = loaded.refresh_status().expect("a record");
    assert_eq!(status, Some(Status::Running));
    assert!(agent.lives());
    assert_eq!(project.stamp(&id), before, "an observer writes nothing");
    assert!(loaded.into_owner().is_err());
}

#[test]
fn an_observer_sees_what_its_owner_did_since() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let mut claim = project.claim();
    let mut loaded = project.manager.load(&claim.session().id).expect("pending");
    claim.start(agent.process()).expect("pending → running");
    assert_eq!(loaded.session().status(), Status::Pending);
    let status = loaded.refresh_status().expect("a record");
    assert_eq!(status, Some(Status::Running));
    assert_eq!(loaded.session(), claim.session());
    claim
        .finish(Outcome::Exited { code: 3 })
        .expect("running → failed");
    let status = loaded.refresh_status().expect("a record");
    assert_eq!(status, Some(Status::Failed));
}

#[test]
fn terminating_what_was_loaded_updates_the_file() {
    let project = Project::new();
    let mut agent = Agent::sleeping();
    let id = project.running(agent.process()).session().id.clone();
    let mut loaded = project.manager.load(&id).expect("a session");
    until("the owner is gone", || {
        project.liveness(&id) == Liveness::Orphan
    });
    let ended = loaded.terminate(Duration::from_secs(5), "a test");
    assert_eq!(ended.expect("an orphan").status(), Status::Terminated);
    assert!(!agent.lives());
    let record = project.record(&id);
    assert!(record.contains("\"status\": \"terminated\""), "{record}");
    assert!(record.contains("\"by\": \"a test\""), "{record}");
    // Once more changes nothing.
    let before = project.stamp(&id);
    let again = loaded.terminate(Duration::ZERO, "somebody else");
    assert_eq!(again.expect("ended").status(), Status::Terminated);
    assert_eq!(project.stamp(&id), before);
    agent.kill();
}

#[test]
fn terminating_what_never_started_says_so() {
    let project = Project::new();
    let id = project.claim().session().id.clone();
    let mut loaded = project.manager.load(&id).expect("a session");
    let ended = loaded.terminate(Duration::ZERO, "cli").expect("unclaimed");
    let error = "stopped by cli before it was started".to_owned();
    assert_eq!(ended.outcome(), Some(&Outcome::never_ran(error)));
    assert_eq!(project.names("run"), [""; 0]);
}

#[test]
fn sessions_are_listed_all_together_and_by_issue() {
    let project = Project::new();
    let issues = ["FEAT-1", "FEAT-2", "FEAT-1", "feat-1", "FEAT-11"];
    let claims = issues.map(|issue| {
        let claim = project.manager.claim_new(for_issue(issue));
        claim.expect("a new session")
    });
    assert_eq!(all(&project.manager).len(), issues.len());
    let listing = project.manager.list_by_issue("FEAT-1").expect("a project");
    let mut listed: Vec<_> = listing.sessions.iter().map(|s| &s.session.id).collect();
    listed.sort();
    let mut expected = [&claims[0].session().id, &claims[2].session().id];
    expected.sort();
    assert_eq!(listed, expected);
    let listing = project.manager.list_by_issue("FEAT-3").expect("a project");
    assert!(listing.sessions.is_empty());
}

#[test]
fn as_many_sessions_are_listed_as_there_are() {
    let project = Project::new();
    let template = project.claim().session().id.clone();
    let record = project.record(&template);
    // Enough that a listing reads with more than one thread.
    for n in 0..1500 {
        let id = format!("copy-{n}");
        project.plant(&id, record.replace(template.as_str(), &id));
    }
    project.plant("damaged", "{");
    let listing = project.manager.list().expect("a project");
    assert_eq!((listing.sessions.len(), listing.damaged.len()), (1501, 1));
}

#[test]
fn several_managers_work_on_one_project() {
    let project = Project::new();
    let managers = [(); 4].map(|()| SessionManager::create(project.path()).expect("a project"));
    let claims: Vec<_> = managers
        .iter()
        .map(|manager| manager.claim_new(for_issue("FEAT-7")).expect("new"))
        .collect();
    let listed = all(&project.manager);
    assert_eq!(listed.len(), claims.len());
    for manager in &managers {
        assert_eq!(all(manager), listed);
    }
}

#[test]
fn a_session_of_another_process_is_listed_like_our_own() {
    let project = Project::new();
    let other = Other::start("create", project.path());
    until("the other process made its session", || {
        !project.names("sessions").is_empty()
    });
    let listing = project.manager.list().expect("a project");
    let [seen] = &listing.sessions[..] else {
        panic!("{listing:?}");
    };
    assert_eq!(seen.session.issue_id, "FEAT-ELSEWHERE");
    assert_eq!(seen.liveness, Liveness::Owned);
    other.finish();
}

/// The other process of the test above.
pub(crate) fn create(project: &Path) {
    let manager = SessionManager::create(project).expect("a project");
    let claim = manager.claim_new(for_issue("FEAT-ELSEWHERE"));
    let _claim = claim.expect("a new session");
    hold();
}

#[test]
fn the_pid_is_saved_and_loaded() {
    let project = Project::new();
    let own = identify(std::process::id());
    let claim = project.running(own.clone());
    let id = &claim.session().id;
    let loaded = project.manager.load(id).expect("a session");
    assert_eq!(loaded.session().process(), Some(&own));
    let record = project.record(id);
    let line = format!("\n  \"pid\": {},\n", std::process::id());
    assert!(record.contains(&line), "{record}");
}

#[test]
fn a_pid_without_a_process_is_seen() {
    let project = Project::new();
    let id = project.running(ended()).session().id.clone();
    let mut loaded = project.manager.load(&id).expect("a session");
    let mut status = None;
    until("the owner is gone", || {
        status = loaded.refresh_status().expect("a record");
        status != Some(Status::Running)
    });
    assert_eq!(status, Some(Status::Terminated));
    assert_eq!(project.liveness(&id), Liveness::Lost(LostCause::OwnerDied));
    assert_eq!(loaded.session().status(), Status::Running, "as recorded");
}

#[test]
fn times_are_rfc_3339_in_order_and_kept() {
    let project = Project::new();
    let mut claim = project.claim();
    let created = claim.session().clone();
    assert_eq!(created.created_at, created.updated_at);
    claim.start(ended()).expect("pending → running");
    claim.suspend().expect("running → suspended");
    claim.resume().expect("suspended → running");
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    let session = project.observe(&created.id).session;
    let end = session.end().expect("it has ended");
    let times = [
        Some(created.created_at),
        session.started_at(),
        end.ended_at,
        Some(session.updated_at),
    ];
    assert!(times.is_sorted() && times[0].is_some(), "{times:?}");
    assert_eq!(session.created_at, created.created_at);
    let json: serde_json::Value = serde_json::from_str(&project.record(&created.id)).expect("JSON");
    for field in ["created_at", "updated_at", "started_at", "ended_at"] {
        let text = json[field].as_str().expect("a text");
        assert!(text.ends_with("+00:00"), "{field}: {text}");
        assert_eq!(text.as_bytes()[10], b'T', "{field}: {text}");
        let read = Timestamp::parse(text).expect("a time");
        assert_eq!(read.to_string(), text, "{field}");
    }
}

#[test]
fn what_cannot_be_read_is_listed_beside_what_can() {
    let project = Project::new();
    let healthy = project.claim();
    let record = project.record(&healthy.session().id);
    let cases = [
        ("empty", String::new()),
        ("half", record[..record.len() / 2].to_owned()),
        ("no-status", record.replace("\"status\": \"pending\",", "")),
        ("not-json", "status: running".to_owned()),
    ];
    for (name, bytes) in &cases {
        project.plant(name, bytes);
    }
    let listing = project.manager.list().expect("a project");
    assert_eq!(listing.sessions.len(), 1);
    assert_eq!(listing.sessions[0].session, *healthy.session());
    let mut damaged: Vec<_> = listing
        .damaged
        .iter()
        .filter_map(|d| d.id.clone())
        .collect();
    damaged.sort();
    assert_eq!(damaged, cases.each_ref().map(|(name, _)| id(name)));
    for (name, bytes) in &cases {
        let found = project.manager.get(&id(name));
        assert!(matches!(found, Err(LookError::Damaged { .. })), "{found:?}");
        assert_eq!(&project.record(&id(name)), bytes);
    }
}

#[test]
fn the_branch_name_is_kept() {
    let project = Project::new();
    let given = project.manager.claim_new(NewSession {
        id: Some(id("36f675cc-81e7-4ef5-a8e2-5d940ed90475")),
        ..for_issue("FEAT-0138")
    });
    let given = given.expect("a new session");
    assert_eq!(given.session().branch_name, "agent/FEAT-0138/36f675cc");
    drop(given);
    // Another program may have named its branch otherwise.
    let id = id("36f675cc-81e7-4ef5-a8e2-5d940ed90475");
    project.edit(&id, "agent/FEAT-0138/36f675cc", "feature/ümläut \\\"x\\\"");
    let mut claim = project.manager.claim(&id).expect("unclaimed");
    claim.start(ended()).expect("pending → running");
    assert_eq!(
        project.observe(&id).session.branch_name,
        "feature/ümläut \"x\""
    );
}

#[test]
fn the_file_looks_like_this() {
    let project = Project::new();
    let mut claim = project
        .manager
        .claim_new(NewSession {
            id: Some(id("36f675cc-81e7-4ef5-a8e2-5d940ed90475")),
            issue_id: Some("FEAT-0138".into()),
            role_name: Some("Engineer".into()),
            command: ["claude", "-p", "fix \"it\"\n"].map(Into::into).into(),
            cwd: Some("/home/u/project".into()),
            engine: Some("claude".into()),
            conversation_id: Some("ses_7f".into()),
            name: Some("fixer".into()),
            labels: [("team".to_owned(), "core".to_owned())].into(),
            parent_id: Some(id("6513270e-269e-4d37-b2a7-4de452e6b438")),
            resumes: Some(id("0bda0dd8-7d6b-4d2c-9a3c-0d5e9d2f7f11")),
            branch_name: None,
            timeout: Some(Duration::from_secs(900)),
        })
        .expect("a new session");
    let mut process = identify(std::process::id());
    process.pid = session_core::Pid::new(4242).expect("a pid");
    let identity = process.identity.as_mut().expect("alive");
    identity.host = "3d1219c7c4c5404aaa1f6d2a48adfda4".into();
    identity.boot_id = "7b1f0ad9-54ee-4ec0-8f3c-0c6dbd6f7a64".into();
    (identity.pid_namespace, identity.start_ticks) = (4_026_531_836, 812_345);
    claim.start(process).expect("pending → running");
    claim
        .finish(Outcome::Stopped {
            by: "cli".into(),
            wait_status: Some(WaitStatus::Exited { code: 0 }),
        })
        .expect("running → terminated");
    let record = project.record(&claim.session().id);
    let redacted: Vec<_> = record.lines().map(without_time).collect();
    insta::assert_snapshot!(redacted.join("\n"), @r#"
    {
      "id": "36f675cc-81e7-4ef5-a8e2-5d940ed90475",
      "issue_id": "FEAT-0138",
      "role_name": "Engineer",
      "status": "terminated",
      "branch_name": "agent/FEAT-0138/36f675cc",
      "pid": 4242,
      "created_at": "[time]",
      "updated_at": "[time]",
      "schema": 1,
      "command": [
        "claude",
        "-p",
        "fix \"it\"\n"
      ],
      "cwd": "/home/u/project",
      "engine": "claude",
      "conversation_id": "ses_7f",
      "name": "fixer",
      "labels": {
        "team": "core"
      },
      "parent_id": "6513270e-269e-4d37-b2a7-4de452e6b438",
      "resumes": "0bda0dd8-7d6b-4d2c-9a3c-0d5e9d2f7f11",
      "process": {
        "host": "3d1219c7c4c5404aaa1f6d2a48adfda4",
        "boot_id": "7b1f0ad9-54ee-4ec0-8f3c-0c6dbd6f7a64",
        "pid_namespace": 4026531836,
        "start_ticks": 812345
      },
      "started_at": "[time]",
      "ended_at": "[time]",
      "timeout_seconds": 900,
      "outcome": {
        "kind": "stopped",
        "by": "cli",
        "wait_status": {
          "kind": "exited",
          "code": 0
        }
      }
    }
    "#);
    assert!(record.ends_with("}\n") && !record.contains('\t'));
}

/// `  "updated_at": "2026-11-22T11:10:24.600768+00:00",` without its time.
fn without_time(line: &str) -> String {
    match line.split_once("_at\": \"") {
        Some((name, rest)) => {
            let after = rest.split_once('"').expect("a closing quote").1;
            format!("{name}_at\": \"[time]\"{after}")
        }
        None => line.to_owned(),
    }
}

#[test]
fn the_eight_fields_of_the_original_come_first_in_their_order() {
    let project = Project::new();
    let claim = project.running(identify(std::process::id()));
    let record = project.record(&claim.session().id);
    let names: Vec<_> = record
        .lines()
        .filter_map(|line| line.strip_prefix("  \"")?.split_once('"'))
        .map(|(name, _)| name)
        .take(9)
        .collect();
    assert_eq!(
        names,
        [
            "id",
            "issue_id",
            "role_name",
            "status",
            "branch_name",
            "pid",
            "created_at",
            "updated_at",
            "schema"
        ]
    );
}

#[test]
fn fields_of_another_version_survive_every_rewrite_byte_for_byte() {
    let project = Project::new();
    let mut claim = project.claim();
    let id = claim.session().id.clone();
    // Numbers that no f64 holds, escapes, odd spacing, nesting, order.
    let theirs = concat!(
        "  \"z_budget\": 123456789012345678901234567890.50e+1,\n",
        "  \"mood\": {\"b\" :1,  \"a\":[ null,-0.0, \"\\u00e9\\/\\ud83d\\ude00\" ]},\n",
        "  \"Note\": \"ü\u{1F600}\\u0000\",\n",
        "  \"empty\": { }\n}",
    );
    drop(claim);
    project.edit(
        &id,
        "\"schema\": 1\n}",
        &format!("\"schema\": 1,\n{theirs}"),
    );
    claim = project.manager.claim(&id).expect("unclaimed");
    claim.start(ended()).expect("pending → running");
    claim.suspend().expect("running → suspended");
    claim.resume().expect("suspended → running");
    claim.rewrite().expect("room");
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    let record = project.record(&id);
    assert!(record.ends_with(&format!("{theirs}\n")), "{record}");
    assert!(record.contains("\"status\": \"completed\""), "{record}");
}

#[test]
fn a_newer_schema_is_shown_and_never_rewritten() {
    let project = Project::new();
    let agent = Agent::sleeping();
    for process in [agent.process(), ended()] {
        let id = project.running(process).session().id.clone();
        project.edit(&id, "\"schema\": 1", "\"schema\": 999");
        until("the owner is gone", || {
            project.liveness(&id) != Liveness::Owned
        });
        let before = project.stamp(&id);
        assert_eq!(project.observe(&id).session.schema, Some(999));
        let claimed = project.manager.claim(&id);
        assert!(
            matches!(claimed, Err(ClaimError::NewerSchema { schema: 999, .. })),
            "{claimed:?}"
        );
        let report = project.manager.reconcile().expect("a project");
        assert!(report.settled.is_empty(), "{report:?}");
        let mut loaded = project.manager.load(&id).expect("a session");
        // It may be refused or looked at; it may not be written or killed.
        let _ = loaded.terminate(Duration::ZERO, "cli");
        assert_eq!(project.stamp(&id), before);
        assert!(agent.lives());
    }
    assert_eq!(project.manager.list().expect("a project").sessions.len(), 2);
}

#[test]
fn a_session_that_has_ended_never_changes_again() {
    let project = Project::new();
    let mut claim = project.running(identify(std::process::id()));
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    let id = claim.session().id.clone();
    let before = project.stamp(&id);
    assert!(claim.suspend().is_err() && claim.resume().is_err());
    assert!(claim.start(ended()).is_err());
    assert!(claim.finish(Outcome::Exited { code: 1 }).is_err());
    drop(claim);
    assert_eq!(project.names("run"), [""; 0]);
    let claimed = project.manager.claim(&id);
    assert!(matches!(claimed, Err(ClaimError::Ended { .. })));
    project.manager.settle(&id).expect("nothing to settle");
    project.manager.reconcile().expect("a project");
    let mut loaded = project.manager.load(&id).expect("a session");
    loaded.refresh_status().expect("a record");
    loaded.terminate(Duration::ZERO, "cli").expect("ended");
    assert_eq!(project.stamp(&id), before);
    assert_eq!(project.names("run"), [""; 0]);
}

#[test]
fn a_refused_change_leaves_the_record_alone() {
    let project = Project::new();
    let mut claim = project.claim();
    let id = claim.session().id.clone();
    let before = project.stamp(&id);
    assert!(matches!(claim.suspend(), Err(ClaimError::Transition(_))));
    let refused = claim.finish(Outcome::Exited { code: 0 });
    assert!(matches!(refused, Err(ClaimError::Transition(_))));
    assert_eq!(project.stamp(&id), before);
}

#[test]
fn an_id_exists_once() {
    let project = Project::new();
    let new = || NewSession {
        id: Some(id("fixed")),
        ..NewSession::default()
    };
    let mut claim = project.manager.claim_new(new()).expect("a new session");
    let refused = project.manager.claim_new(new());
    assert!(refused.is_err(), "{refused:?}");
    claim.start(ended()).expect("pending → running");
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    drop(claim);
    let before = project.stamp(&id("fixed"));
    let refused = project.manager.claim_new(new());
    assert!(matches!(refused, Err(ClaimError::Exists(_))), "{refused:?}");
    project.plant("fixed", "damaged");
    let refused = project.manager.claim_new(new());
    assert!(matches!(refused, Err(ClaimError::Exists(_))), "{refused:?}");
    assert_eq!(project.record(&id("fixed")), "damaged");
    assert_ne!(project.stamp(&id("fixed")), before);
    assert_eq!(project.names("run"), [""; 0]);
}

#[test]
fn a_session_is_meant_by_id_by_name_or_by_prefix() {
    let project = Project::new();
    let named = |id_text: &str, name: Option<&str>| {
        let new = NewSession {
            id: Some(id(id_text)),
            name: name.map(Into::into),
            ..NewSession::default()
        };
        project.manager.claim_new(new).expect("a new session")
    };
    let mut claims = [
        named("abc-1", None),
        named("abc-2", Some("fixer")),
        named("abc", None),
        named("fix", None),
    ];
    let check = |text: &str, expected: &str| {
        let meant = project.manager.resolve(text);
        assert_eq!(meant.expect("one is meant"), id(expected), "{text}");
    };
    check("abc", "abc");
    check("abc-1", "abc-1");
    check("fixer", "abc-2");
    check("fi", "fix");
    let error = project.manager.resolve("ab").expect_err("three begin so");
    assert!(matches!(&error, LookError::Ambiguous { ids, .. } if ids.len() == 3));
    for nobody in ["", "x", "../abc", "ABC", "\u{1b}[2J", "abc/../abc"] {
        let error = project
            .manager
            .resolve(nobody)
            .expect_err("nobody is meant");
        assert!(matches!(error, LookError::NotFound(_)), "{error:?}");
        assert!(!error.to_string().contains('\u{1b}'));
    }
    claims[1].start(ended()).expect("pending → running");
    claims[1]
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    check("fixer", "abc-2");
    let newer = named("later", Some("fixer"));
    check("fixer", "later");
    drop(newer);
}

#[test]
fn a_record_that_nobody_could_read_is_not_written() {
    let project = Project::new();
    let new = NewSession {
        command: vec!["claude".into(), "x".repeat(2 << 20)],
        ..NewSession::default()
    };
    let refused = project.manager.claim_new(new);
    assert!(matches!(refused, Err(ClaimError::TooLong { .. })));
    assert_eq!(project.names("sessions"), [""; 0]);
    assert_eq!(project.names("run"), [""; 0]);
}

#[test]
fn what_nobody_owns_can_be_forgotten() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let claim = project.running(agent.process());
    let id = claim.session().id.clone();
    assert!(project.manager.forget(&id).is_err(), "it is owned");
    drop(claim);
    until("the owner is gone", || {
        project.liveness(&id) == Liveness::Orphan
    });
    project.plant(id.as_str(), "damaged");
    fs::write(project.inside(format!("logs/{id}.log")), "output").expect("a log");
    project.manager.forget(&id).expect("nobody owns it");
    for folder in ["sessions", "logs", "run"] {
        assert_eq!(project.names(folder), [""; 0], "{folder}");
    }
    assert!(agent.lives());
}

#[test]
fn only_what_has_ended_is_removed() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let mut claim = project.running(agent.process());
    let id = claim.session().id.clone();
    fs::write(project.inside(format!("logs/{id}.log")), "output").expect("a log");
    assert!(project.manager.remove(&id).is_err(), "it is owned");
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    assert!(
        project.manager.remove(&id).is_err(),
        "its owner still lives"
    );
    drop(claim);
    project.manager.remove(&id).expect("it has ended");
    let gone = project.manager.get(&id);
    assert!(matches!(gone, Err(LookError::NotFound(_))), "{gone:?}");
    for folder in ["sessions", "logs", "run"] {
        assert_eq!(project.names(folder), [""; 0], "{folder}");
    }
    // An orphan is not removed, what is lost is.
    let orphan = project.running(agent.process()).session().id.clone();
    until("the owner is gone", || {
        project.liveness(&orphan) == Liveness::Orphan
    });
    assert!(project.manager.remove(&orphan).is_err());
    let lost = project.running(ended()).session().id.clone();
    until("the owner is gone", || !project.observe(&lost).may_live());
    project.manager.remove(&lost).expect("it is lost");
    let unclaimed = project.claim().session().id.clone();
    project.manager.remove(&unclaimed).expect("nobody began");
    assert_eq!(project.names("run"), [orphan.as_str()]);
}
