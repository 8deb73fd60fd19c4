//! A record is hostile input: projects get cloned. What cannot be read is listed
//! as damaged and left as it is; nothing of it is followed, executed or signalled.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode};
use session_core::{
    ClaimError, Damage, Liveness, LookError, NewSession, Outcome, Pid, RecordError, SessionId,
    SessionManager, StoreError, WaitStatus, parse_record, record_to_json,
};

use crate::processes::{Agent, identify, skipped, until};
use crate::project::{Project, all, id};

/// Nothing that is hostile may keep an observer longer than this.
const LIMIT: Duration = Duration::from_secs(1);

/// The record of `id`, whatever stands in its place, is damaged for `reason`: it
/// is listed beside the healthy one, and cannot be claimed, settled or created.
fn check(project: &Project, id: &SessionId, reason: &str) {
    for refusal in refusals(&project.manager, id) {
        assert!(
            refusal.contains(reason),
            "expected `{reason}`, got `{refusal}`"
        );
        assert!(!refusal.contains('\u{1b}') && refusal.len() < 1000);
    }
}

/// As [`check`], after a look that takes no longer than the limit.
fn check_at_once(project: &Project, id: &SessionId, reason: &str) {
    let (manager, looked_at) = (project.manager.clone(), id.clone());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let listed = manager.list().is_ok();
        let _ = sender.send(listed && manager.get(&looked_at).is_err());
    });
    let looked = receiver.recv_timeout(LIMIT);
    assert!(looked.expect("a look does not hang"));
    check(project, id, reason);
}

/// What every way to the record says.
fn refusals(manager: &SessionManager, id: &SessionId) -> Vec<String> {
    let listing = manager.list().expect("a project");
    assert_eq!(listing.sessions.len(), 1, "the healthy one: {listing:?}");
    let [damaged] = &listing.damaged[..] else {
        panic!("one is damaged: {listing:?}");
    };
    assert_eq!(damaged.id.as_ref(), Some(id));
    let got = match manager.get(id) {
        Err(LookError::Damaged { damage, .. }) => damage.to_string(),
        other => panic!("{other:?}"),
    };
    let claimed = match manager.claim(id) {
        Err(ClaimError::Damaged { damage, .. }) => damage.to_string(),
        other => panic!("{other:?}"),
    };
    let again = NewSession {
        id: Some(id.clone()),
        ..NewSession::default()
    };
    let created = manager.claim_new(again);
    assert!(matches!(created, Err(ClaimError::Exists(_))), "{created:?}");
    assert!(manager.load(id).is_err() && manager.settle(id).is_err());
    let report = manager.reconcile().expect("a project");
    assert!(report.settled.is_empty(), "{report:?}");
    vec![damaged.damage.to_string(), got, claimed]
}

/// A project with a healthy session, and the record of a running one that has
/// every field there is.
fn with_a_full_record() -> (Project, String) {
    let project = Project::new();
    let mut claim = project
        .manager
        .claim_new(NewSession {
            id: Some(id("full")),
            command: vec!["claude".into(), "-p".into()],
            cwd: Some("/home/u/project".into()),
            engine: Some("claude".into()),
            name: Some("fixer".into()),
            labels: [("team".into(), "core".into())].into(),
            parent_id: Some(id("parent")),
            timeout: Some(Duration::from_secs(900)),
            ..NewSession::default()
        })
        .expect("a new session");
    claim
        .start(identify(std::process::id()))
        .expect("pending → running");
    claim.suspend().expect("running → suspended");
    std::thread::sleep(Duration::from_millis(2));
    claim.resume().expect("suspended → running");
    claim
        .finish(Outcome::Stopped {
            by: "cli".into(),
            wait_status: Some(WaitStatus::Exited { code: 0 }),
        })
        .expect("running → terminated");
    let record = project.record(&id("full"));
    drop(claim);
    fs::remove_file(project.inside("sessions/full.json")).expect("it is there");
    let record = record.replace("\n}\n", ",\n  \"theirs\": {\"a\": [1, \"x\"]}\n}\n");
    parse_record(record.as_bytes()).expect("a full record");
    project.claim();
    (project, record)
}

/// As [`check`], for these bytes; they stay.
fn check_bytes(project: &Project, bytes: impl AsRef<[u8]>, reason: &str) {
    let id = project.plant("full", &bytes);
    let before = project.stamp(&id);
    check(project, &id, reason);
    assert_eq!(project.stamp(&id), before, "the bytes are untouched");
}

#[test]
fn a_record_cut_anywhere_is_damaged() {
    let (project, record) = with_a_full_record();
    let whole = record.trim_end().len();
    for length in 0..whole {
        let reason = if length == 0 { "empty" } else { "EOF" };
        check_bytes(&project, &record[..length], reason);
    }
    parse_record(&record.as_bytes()[..whole]).expect("only its newline is missing");
}

#[test]
fn what_is_not_one_json_object_is_damaged() {
    let (project, record) = with_a_full_record();
    let check = |bytes: &[u8], reason: &str| check_bytes(&project, bytes, reason);
    check(b"", "empty");
    check(&[0], "NUL");
    check(&[0; 4096], "NUL");
    check(b"\n", "EOF");
    check(
        &[&record.as_bytes()[..100], &[0; 100]].concat(),
        "control character",
    );
    check(
        &[record.as_bytes(), &[0; 100]].concat(),
        "trailing characters",
    );
    check(format!("\u{feff}{record}").as_bytes(), "expected value");
    check(format!("{record}x").as_bytes(), "trailing characters");
    check(
        format!("{record}{record}").as_bytes(),
        "trailing characters",
    );
    check(b"[]", "expected a session record");
    check(b"null", "expected a session record");
    check(b"\"full\"", "expected a session record");
    check(b"{}", "missing field `status`");
    check(
        record.replace("\"full\"", "null").as_bytes(),
        "invalid type: null",
    );
}

#[test]
fn a_key_that_stands_twice_is_damage() {
    let (project, record) = with_a_full_record();
    let json: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    let keys = json.as_object().expect("an object").keys();
    let mut n_keys = 0;
    for key in keys {
        n_keys += 1;
        let value = &json[key];
        for twice in [value, &serde_json::Value::Null] {
            let twice = record.replace("\n}\n", &format!(",\n  \"{key}\": {twice}\n}}\n"));
            check_bytes(&project, twice, &format!("duplicate field `{key}`"));
        }
        // The same key, spelled otherwise.
        let escaped = format!("\\u{:04x}{}", key.as_bytes()[0], &key[1..]);
        let twice = record.replace("\n}\n", &format!(",\n  \"{escaped}\": {value}\n}}\n"));
        check_bytes(&project, twice, &format!("duplicate field `{key}`"));
    }
    assert_eq!(
        n_keys,
        8 + 13 + 1,
        "the full record has every field but one"
    );
    let suspended = record
        .replace("\"terminated\"", "\"suspended\"")
        .replace("\"outcome\"", "\"their_outcome\"");
    let at = "\n  \"suspended_at\": \"2026-11-22T11:10:24Z\"";
    let twice = suspended.replace("\n}\n", &format!(",{at},{at}\n}}\n"));
    check_bytes(&project, twice, "duplicate field `suspended_at`");
}

#[test]
fn a_nested_key_that_stands_twice_is_damage() {
    let (project, record) = with_a_full_record();
    for (key, value) in [
        ("host", "\"elsewhere\""),
        ("boot_id", "\"x\""),
        ("pid_namespace", "7"),
        ("start_ticks", "7"),
        ("team", "\"x\""),
        ("by", "\"x\""),
        ("kind", "\"exited\""),
        ("wait_status", "null"),
        ("code", "1"),
    ] {
        let first = format!("\"{key}\": ");
        assert!(record.contains(&first), "{record}");
        let twice = record.replace(&first, &format!("\"{key}\": {value}, {first}"));
        check_bytes(&project, twice, "duplicate");
    }
}

#[test]
fn invalid_utf_8_is_damage_wherever_it_stands() {
    let (project, record) = with_a_full_record();
    for place in ["fixer", "team", "core", "theirs", "[1, \"x\"]", "claude"] {
        let at = record.find(place).expect("it is there") + place.len() - 1;
        for bad in [&[0xff][..], &[0xc3], &[0xed, 0xa0, 0x80], &[0xc0, 0xaf]] {
            let mut bytes = record.as_bytes().to_vec();
            bytes.splice(at..at, bad.iter().copied());
            check_bytes(&project, bytes, "invalid UTF-8 at byte");
        }
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    let (project, record) = with_a_full_record();
    let nested = |depth: usize, open: &str, close: &str| {
        format!("{}1{}", open.repeat(depth), close.repeat(depth))
    };
    let check = |bytes: String, reason: &str| check_bytes(&project, bytes, reason);
    check(nested(1_000_000, "[", "]"), "larger than");
    check(nested(400_000, "[", "]"), "expected a session record");
    check("[".repeat(1_000_000), "expected a session record");
    check("{\"a\":".repeat(170_000), "EOF");
    for field in ["labels", "outcome", "theirs", "process", "command"] {
        let value = record.find(&format!("\"{field}\":")).expect("it is there");
        let head = format!("{}\"{field}\": ", &record[..value]);
        check(head.clone() + &"[".repeat(900_000), " at line ");
        check(head.clone() + &"{\"a\":".repeat(170_000), " at line ");
        check(head.clone() + &nested(400_000, "[", "]") + "}", " at line ");
        check(head + &nested(100_000, "{\"a\":", "}") + "}", " at line ");
    }
}

#[test]
fn a_field_of_another_version_may_be_nested_as_deep_as_any_reader_goes() {
    let (_, record) = with_a_full_record();
    let with = |depth: usize| {
        let value = format!("{}\"[{{\\\"[\"{}", "[".repeat(depth), "]".repeat(depth));
        parse_record(record.replace("{\"a\": [1, \"x\"]}", &value).as_bytes())
    };
    with(126).expect("no deeper than serde_json itself goes");
    let deeper = with(127).expect_err("deeper").to_string();
    assert!(deeper.contains("recursion limit"), "{deeper}");
    let plain = |depth| {
        let record = format!("{{\"theirs\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        serde_json::from_str::<serde_json::Value>(&record)
    };
    assert!(plain(126).is_ok() && plain(127).is_err());
}

#[test]
fn values_that_mean_nothing_are_damage() {
    let (project, record) = with_a_full_record();
    let pid = format!("\"pid\": {}", std::process::id());
    let check = |from: &str, to: &str, reason: &str| {
        assert!(record.contains(from), "{record} has no {from}");
        check_bytes(&project, record.replace(from, to), reason);
    };
    for forged in [
        "0",
        "1",
        "-1",
        "-2147483648",
        "2147483648",
        "9223372036854775807",
    ] {
        check(
            &pid,
            &format!("\"pid\": {forged}"),
            "not the pid of an agent",
        );
    }
    check(&pid, "\"pid\": 18446744073709551616", "invalid type");
    check(&pid, "\"pid\": 4242.0", "invalid type");
    check(&pid, "\"pid\": \"4242\"", "invalid type");
    check(&pid, "\"pid\": null", "no pid");
    check("\"full\"", "\"other\"", "its id is other");
    check("\"full\"", "\"FULL\"", "not a session id");
    check("\"full\"", "\"../full\"", "not a session id");
    check("\"full\"", "\"full\\u0000\"", "not a session id");
    check("\"full\"", "\"\\u001b[2J\"", "not a session id");
    check("\"parent\"", "\"../../parent\"", "not a session id");
    check("\"terminated\"", "\"done\"", "unknown variant");
    check("\"terminated\"", "\"\\u001b[2J\"", "unknown variant");
    check("\"terminated\"", "\"completed\"", "but the outcome is");
    check("\"terminated\"", "\"running\"", "but the outcome is");
    check(
        "\"kind\": \"stopped\"",
        "\"kind\": \"won\"",
        "unknown variant",
    );
    check(
        "\"timeout_seconds\": 900",
        "\"timeout_seconds\": -1",
        "invalid value",
    );
    for seconds in ["-1", "1.1e12", "18446744073709549568", "1e99"] {
        let forged = format!("\"suspended_seconds\": {seconds}, \"x\": 0");
        check("\"suspended_seconds\": 0", &forged, "not a duration");
    }
    check("\"schema\": 1", "\"schema\": 4294967296", "invalid value");
    check("\"team\": \"core\"", "\"team\": {}", "invalid type");
    let endless = format!("\"{}\\u001b[2J\"", "x".repeat(500_000));
    check("\"terminated\"", &endless, "unknown variant `xxx");
    for field in [
        "id",
        "issue_id",
        "role_name",
        "status",
        "created_at",
        "updated_at",
    ] {
        let missing = record.replace(&format!("\"{field}\""), "\"theirs_too\"");
        check_bytes(&project, missing, &format!("missing field `{field}`"));
    }
}

#[test]
fn figures_at_the_end_of_their_range_do_no_harm() {
    let (project, record) = with_a_full_record();
    let longest = "\"suspended_seconds\": 1e12, \"x\": 0";
    let record = record
        .replace("\"suspended_seconds\": 0", longest)
        .replace("\"terminated\"", "\"suspended\"")
        .replace("\"outcome\"", "\"their_outcome\"")
        .replace(
            "\"timeout_seconds\": 900",
            "\"timeout_seconds\": 18446744073709551615",
        )
        .replace(
            "\"started_at\": \"2",
            "\"started_at\": \"9999-12-30T00:00:00Z\", \"y\": \"2",
        )
        .replace("\"boot_id\": \"", "\"boot_id\": \"not-")
        .replace(
            "\n}\n",
            ",\n  \"suspended_at\": \"0001-01-02T00:00:00Z\"\n}\n",
        );
    let full = project.plant("full", record);
    let seen = project.observe(&full);
    assert_eq!(seen.shown().status().as_str(), "terminated");
    let now = seen.session.updated_at;
    assert_eq!(seen.shown().active_for(now), Duration::ZERO);
    project.manager.settle(&full).expect("it is lost");
    assert_eq!(project.liveness(&full), Liveness::Ended);
}

#[test]
fn a_huge_file_is_not_read_to_its_end() {
    let (project, record) = with_a_full_record();
    let path = project.inside("sessions/full.json");
    let file = File::create(&path).expect("a writable project");
    file.set_len(10 << 30).expect("a sparse file");
    check_at_once(&project, &id("full"), "larger than 1048576 bytes");
    assert_eq!(file.metadata().expect("a file").len(), 10 << 30);
    // To the byte.
    let padded = |length: usize| record.clone() + &" ".repeat(length - record.len());
    check_bytes(&project, padded((1 << 20) + 1), "larger than");
    parse_record(padded(1 << 20).as_bytes()).expect("as large as allowed");
}

#[test]
fn what_is_not_a_file_is_refused_at_once() {
    let (project, record) = with_a_full_record();
    let path = project.inside("sessions/full.json");
    let full = id("full");
    rustix::fs::mkfifoat(CWD, &path, Mode::RWXU).expect("a FIFO");
    check_at_once(&project, &full, "a FIFO, not a file");
    fs::remove_file(&path).expect("the FIFO");
    fs::create_dir(&path).expect("a directory");
    check_at_once(&project, &full, "a directory, not a file");
    fs::remove_dir(&path).expect("the directory");
    drop(UnixListener::bind(&path).expect("a socket"));
    check_at_once(&project, &full, "a socket, not a file");
    fs::remove_file(&path).expect("the socket");
    let zero = rustix::fs::makedev(1, 5);
    let made = rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::RWXU, zero);
    match made {
        Ok(()) => {
            check_at_once(&project, &full, "a device or socket, not a file");
            fs::remove_file(&path).expect("the device");
        }
        Err(error) => skipped("a device in a record's place", &error.to_string()),
    }
    let elsewhere = project.path().join("elsewhere");
    for target in [
        &*elsewhere,
        Path::new("/dev/zero"),
        Path::new("missing"),
        &path,
    ] {
        fs::write(&elsewhere, &record).expect("a writable project");
        symlink(target, &path).expect("a link");
        check_at_once(&project, &full, "a symbolic link");
        fs::remove_file(&path).expect("the link");
    }
    assert_eq!(fs::read_to_string(elsewhere).expect("untouched"), record);
}

#[test]
fn a_record_of_another_user_is_not_believed() {
    let (project, record) = with_a_full_record();
    if !rustix::process::geteuid().is_root() {
        skipped("a_record_of_another_user_is_not_believed", "not root");
        return;
    }
    let full = project.plant("full", record);
    let nobody = (Some(65534), Some(65534));
    let path = project.inside("sessions/full.json");
    std::os::unix::fs::chown(&path, nobody.0, nobody.1).expect("root may");
    check(&project, &full, "belongs to uid 65534");
    // Nor is a folder of theirs.
    for folder in ["logs", "run", "sessions", ""] {
        std::os::unix::fs::chown(project.inside(folder), nobody.0, nobody.1).expect("root may");
        let refused = SessionManager::create(project.path());
        assert!(
            matches!(&refused, Err(StoreError::Untrusted { what, .. }) if what.contains("uid 65534")),
            "{refused:?}"
        );
        if folder != "logs" {
            assert!(project.manager.list().is_err());
        }
    }
}

#[test]
fn no_folder_is_followed_out_of_the_project() {
    for folder in ["", "sessions", "run", "logs"] {
        let project = Project::new();
        let id = project.claim().session().id.clone();
        fs::write(project.inside(format!("logs/{id}.log")), "old").expect("a log");
        let elsewhere = project.path().join("elsewhere");
        let path = project.inside(folder);
        let path = path.components().as_path();
        fs::rename(path, &elsewhere).expect("a folder");
        for target in [&*elsewhere, Path::new("/nowhere")] {
            symlink(target, path).expect("a link");
            let refused = SessionManager::create(project.path());
            assert!(
                matches!(refused, Err(StoreError::Untrusted { .. })),
                "{folder}: {refused:?}"
            );
            let manager = &project.manager;
            assert!(manager.open_log(&id).is_err(), "{folder}");
            assert!(manager.append_log(&id).is_err(), "{folder}");
            assert!(manager.claim(&id).is_err(), "{folder}");
            assert!(
                manager.claim_new(NewSession::default()).is_err(),
                "{folder}"
            );
            if folder != "logs" {
                assert!(matches!(manager.list(), Err(StoreError::Untrusted { .. })));
                assert!(manager.get(&id).is_err() && manager.living().is_err());
                assert!(manager.reconcile().is_err() && manager.remove(&id).is_err());
            }
            fs::remove_file(path).expect("the link");
        }
    }
}

#[test]
fn no_log_is_followed_out_of_the_project() {
    let project = Project::new();
    let id = project.claim().session().id.clone();
    let log = project.inside(format!("logs/{id}.log"));
    let victim = project.path().join("victim");
    fs::write(&victim, "precious").expect("a writable project");
    symlink(&victim, &log).expect("a link");
    assert!(project.manager.open_log(&id).is_err());
    assert!(project.manager.append_log(&id).is_err());
    fs::remove_file(&log).expect("the link");
    rustix::fs::mkfifoat(CWD, &log, Mode::RWXU).expect("a FIFO");
    assert!(project.manager.open_log(&id).is_err());
    assert!(project.manager.append_log(&id).is_err());
    fs::remove_file(&log).expect("the FIFO");
    fs::create_dir(&log).expect("a directory");
    assert!(project.manager.open_log(&id).is_err());
    assert!(project.manager.append_log(&id).is_err());
    assert_eq!(fs::read_to_string(&victim).expect("a file"), "precious");
    let mode = fs::metadata(&victim).expect("a file").permissions().mode();
    assert_ne!(mode & 0o7777, 0o600, "nor is its mode changed");
}

#[test]
fn a_run_directory_is_not_followed_out_of_the_project() {
    let project = Project::new();
    let id = project.claim().session().id.clone();
    let agent = Agent::sleeping();
    let other = Project::new();
    let held = other.running(agent.process());
    let theirs = other.inside("run").join(held.session().id.as_str());
    // Somebody else's held lease does not make this session owned.
    symlink(&theirs, project.inside("run").join(id.as_str())).expect("a link");
    assert!(!matches!(project.liveness(&id), Liveness::Owned));
    assert!(project.manager.claim(&id).is_err());
    assert!(project.manager.control(&id).is_err());
    project.manager.reconcile().expect("a project");
    assert!(theirs.join("lease").exists());
}

#[test]
fn a_file_name_that_is_no_id_is_listed_and_left_alone() {
    let (project, record) = with_a_full_record();
    let long = "x".repeat(65) + ".json";
    let longest = "x".repeat(250) + ".json";
    let strange = [
        &b"FULL.json"[..],
        b"-a.json",
        b"_a.json",
        b"a b.json",
        b"a.b.json",
        b"%2e%2e%2fa.json",
        b"\xff\xfe.json",
        b"\x1b[2J.json",
        b"line\nbreak.json",
        "ä.json".as_bytes(),
        long.as_bytes(),
        longest.as_bytes(),
    ];
    // What no record is called is not ours to judge.
    let others = [
        "full.json.tmp",
        "README",
        ".hidden.json",
        ".json",
        "a.jsonl",
    ];
    let sessions = project.inside("sessions");
    for name in strange.into_iter().chain(others.map(str::as_bytes)) {
        fs::write(sessions.join(OsStr::from_bytes(name)), &record).expect("a writable project");
    }
    let listing = project.manager.list().expect("a project");
    assert_eq!(listing.sessions.len(), 1);
    assert_eq!(listing.damaged.len(), strange.len(), "{listing:?}");
    for damaged in &listing.damaged {
        assert!(matches!(damaged.damage, Damage::Name), "{damaged:?}");
        assert_eq!(damaged.id, None);
    }
    project.manager.reconcile().expect("a project");
    let left = project.names("sessions").len();
    assert_eq!(left, 1 + strange.len() + others.len());
}

#[test]
fn a_twin_by_case_is_nobody_elses_session() {
    let project = Project::new();
    let id = project.claim().session().id.clone();
    let upper = id.as_str().to_uppercase();
    fs::write(
        project.inside(format!("sessions/{upper}.json")),
        project.record(&id),
    )
    .expect("a writable project");
    let listing = project.manager.list().expect("a project");
    assert_eq!((listing.sessions.len(), listing.damaged.len()), (1, 1));
    assert!(project.manager.resolve(&upper).is_err());
}

#[test]
fn a_record_of_the_future_is_read_as_far_as_it_can_be() {
    let (project, record) = with_a_full_record();
    let record = record.replace("\"schema\": 1", "\"schema\": 2");
    let full = project.plant("full", &record);
    let seen = project.observe(&full);
    assert_eq!(seen.session.schema, Some(2));
    assert_eq!(record_to_json(&seen.session), record.as_bytes());
}

#[test]
fn a_victim_whose_pid_stands_in_a_forged_record_survives() {
    let project = Project::new();
    let victim = Agent::sleeping();
    let identity = victim.process().identity.expect("alive");
    let forgeries = [
        (
            "start_ticks",
            identity.start_ticks.to_string(),
            "12".to_owned(),
        ),
        ("boot_id", identity.boot_id.clone(), "another-boot".into()),
        ("host", identity.host.clone(), "another-host".into()),
        (
            "pid_namespace",
            identity.pid_namespace.to_string(),
            "7".into(),
        ),
    ];
    for (field, truth, lie) in forgeries {
        let id = project.running(victim.process()).session().id.clone();
        let quote = if field.contains("_id") || field == "host" {
            "\""
        } else {
            ""
        };
        project.edit(
            &id,
            &format!("\"{field}\": {quote}{truth}{quote}"),
            &format!("\"{field}\": {quote}{lie}{quote}"),
        );
        until("the owner is gone", || {
            project.liveness(&id) != Liveness::Owned
        });
        let mut loaded = project.manager.load(&id).expect("a session");
        // Refused or settled as lost; never signalled.
        let _ = loaded.terminate(Duration::ZERO, "cli");
        project.manager.reconcile().expect("a project");
        assert!(victim.lives(), "{field}");
    }
    // A bare pid is no process at all.
    let id = project.running(victim.process()).session().id.clone();
    let record = project.record(&id);
    let start = record.find("\"process\"").expect("it is there");
    let end = start + record[start..].find('}').expect("its end");
    let bare = format!("{}\"x\": 0{}", &record[..start], &record[end + 1..]);
    project.plant(id.as_str(), bare);
    until("the owner is gone", || {
        project.liveness(&id) == Liveness::Unverified
    });
    let mut loaded = project.manager.load(&id).expect("a session");
    assert!(loaded.terminate(Duration::ZERO, "cli").is_err());
    assert!(victim.lives());
}

/// Reads all the time while `write` runs; every reading must satisfy `whole`.
fn check_while(write: impl FnOnce(), whole: impl Fn() + Sync) -> usize {
    let (over, n_readings) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    whole();
                    n_readings.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        write();
        over.store(true, Ordering::Relaxed);
    });
    n_readings.into_inner()
}

#[test]
fn a_reader_who_races_a_writer_sees_the_old_record_or_the_new_one() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let mut claim = project.running(agent.process());
    let id = claim.session().id.clone();
    let writing = || {
        let end = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < end {
            claim.suspend().expect("running → suspended");
            claim.resume().expect("suspended → running");
        }
    };
    let n_readings = check_while(writing, || {
        let sessions = all(&project.manager);
        assert_eq!(sessions.len(), 1);
        let seen = project.observe(&id);
        assert_eq!(seen.liveness, Liveness::Owned);
        assert_eq!(seen.session.process(), Some(&agent.process()));
        assert!(matches!(
            seen.session.status().as_str(),
            "running" | "suspended"
        ));
    });
    assert!(n_readings > 100, "{n_readings}");
}

#[test]
fn a_record_that_vanishes_was_removed_and_is_no_error() {
    let project = Project::new();
    let kept = project.claim();
    let writing = || {
        let end = Instant::now() + Duration::from_millis(700);
        while Instant::now() < end {
            let id = project.claim().session().id.clone();
            let mut claim = project.manager.claim(&id).expect("unclaimed");
            claim
                .finish(Outcome::never_ran("no"))
                .expect("pending → failed");
            drop(claim);
            project.manager.remove(&id).expect("it has ended");
        }
    };
    check_while(writing, || {
        let sessions = all(&project.manager);
        assert!(sessions.contains(kept.session()));
        assert!(sessions.len() <= 2);
        project.manager.living().expect("a project");
    });
    assert_eq!(project.names("run"), [kept.session().id.as_str()]);
}

#[test]
fn damage_says_what_it_is() {
    let zeroes = parse_record(&[0; 10]).expect_err("no record");
    assert!(matches!(zeroes, RecordError::Zeroes));
    let empty = parse_record(b"").expect_err("no record");
    assert!(matches!(empty, RecordError::Empty));
    assert_eq!(Pid::new(1), None);
}
