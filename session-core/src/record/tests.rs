//! The parser by itself: what it reads, it writes the same way again; what
//! contradicts itself is no session.

use super::*;
use crate::outcome::{LostCause, WaitStatus};
use crate::process::ProcessIdentity;
use crate::session::{LastWords, NewSession};
use crate::verdict::VerdictKind;

fn at(second: u32) -> Timestamp {
    Timestamp::parse(&format!("2026-11-22T11:10:{second:02}.000001Z")).expect("a time")
}

fn process() -> Process {
    let identity = ProcessIdentity {
        host: "3d1219c7c4c5404aaa1f6d2a48adfda4".into(),
        boot_id: "7b1f0ad9-54ee-4ec0-8f3c-0c6dbd6f7a64".into(),
        pid_namespace: 4_026_531_836,
        start_ticks: 812_345,
    };
    Process {
        pid: Pid::new(4242).expect("a pid"),
        identity: Some(identity),
    }
}

/// A session with nothing but what every session has.
fn bare() -> Session {
    let new = NewSession {
        id: Some(SessionId::parse("36f675cc-81e7-4ef5-a8e2-5d940ed90475").expect("an id")),
        issue_id: Some("FEAT-0138".into()),
        ..NewSession::default()
    };
    new.into_session(at(0))
}

/// A session with everything that one can be made with.
fn full() -> Session {
    let new = NewSession {
        id: Some(SessionId::parse("full").expect("an id")),
        issue_id: Some("FEAT-0138 \"ü\" \u{1b}[2J".into()),
        role_name: Some("Engineer".into()),
        command: vec!["claude".into(), "-p".into(), "fix\nit\0 \u{1F600}".into()],
        cwd: Some("/home/u/\"project\"".into()),
        engine: Some("claude".into()),
        conversation_id: Some("0b1c:ses_A.7-x".into()),
        name: Some("fixer".into()),
        labels: [("", "empty"), ("team", "core")]
            .map(|(key, value)| (key.into(), value.into()))
            .into(),
        parent_id: Some(SessionId::parse("parent").expect("an id")),
        branch_name: None,
        resumes: Some(SessionId::parse("before").expect("an id")),
        timeout: Some(Duration::from_secs(900)),
    };
    new.into_session(at(0))
}

fn running(mut session: Session) -> Session {
    session.start(process(), at(1)).expect("pending → running");
    session
}

fn suspended(session: Session) -> Session {
    let mut session = running(session);
    session.suspend(at(2)).expect("running → suspended");
    session
}

fn resumed(session: Session) -> Session {
    let mut session = suspended(session);
    session.resume(at(4)).expect("suspended → running");
    session
}

fn ended(mut session: Session, outcome: Outcome) -> Session {
    session.finish(outcome, at(9)).expect("it may end so");
    session
}

/// Every kind of end there is, with and without what may be missing.
fn outcomes() -> Vec<Outcome> {
    let exited = WaitStatus::Exited { code: 255 };
    let killed = WaitStatus::Signaled {
        signal: 9,
        core_dumped: true,
    };
    let mut outcomes = vec![
        Outcome::Exited { code: 0 },
        Outcome::Exited { code: 7 },
        Outcome::from(killed),
        Outcome::SpawnFailed {
            error: "claude: not found".into(),
            reason: Some(crate::SpawnFailure::NotFound),
        },
        Outcome::Lost {
            cause: LostCause::Reboot,
        },
        Outcome::Lost {
            cause: LostCause::OwnerDied,
        },
    ];
    for wait_status in [None, Some(exited), Some(killed)] {
        outcomes.push(Outcome::TimedOut {
            after_seconds: 900,
            wait_status,
        });
        outcomes.push(Outcome::Stopped {
            by: "cli".into(),
            wait_status,
        });
    }
    outcomes
}

fn ended_saying(mut session: Session, verdict: Verdict) -> Session {
    let words = LastWords {
        conversation_id: Some("learned".into()),
        verdict: Some(verdict),
    };
    let exited = Outcome::Exited { code: 0 };
    let ended = session.finish_saying(exited, words, at(9));
    ended.expect("it may end so");
    session
}

/// Every kind of verdict there is, with and without what may be missing.
fn verdicts() -> Vec<Verdict> {
    let mut verdicts: Vec<_> = [
        VerdictKind::Succeeded,
        VerdictKind::Failed,
        VerdictKind::Denied,
        VerdictKind::RateLimited { until: None },
        VerdictKind::ContextExhausted,
        VerdictKind::Unknown,
    ]
    .map(Verdict::from)
    .into();
    verdicts.push(Verdict {
        kind: VerdictKind::RateLimited { until: Some(at(7)) },
        turns: Some(3),
        cost_usd: Some(0.0123),
    });
    verdicts
}

/// A session in every state, with little and with much in it.
fn sessions() -> Vec<Session> {
    let mut sessions = Vec::new();
    for new in [bare(), full()] {
        let alive = [
            running(new.clone()),
            suspended(new.clone()),
            resumed(new.clone()),
        ];
        for outcome in outcomes() {
            for session in &alive {
                sessions.push(ended(session.clone(), outcome.clone()));
            }
        }
        for verdict in verdicts() {
            sessions.push(ended_saying(alive[0].clone(), verdict));
        }
        let error = "no".to_owned();
        sessions.push(ended(new.clone(), Outcome::never_ran(error)));
        sessions.push(new);
        sessions.extend(alive);
    }
    sessions
}

fn text(session: &Session) -> String {
    String::from_utf8(to_json(session)).expect("JSON is UTF-8")
}

/// A record that says `text` cannot be read, for `reason`.
fn check_damaged(text: &str, reason: &str) {
    let error = parse(text.as_bytes())
        .expect_err("it is damaged")
        .to_string();
    assert!(error.contains(reason), "expected `{reason}`, got `{error}`");
}

/// As [`check_damaged`], with `from` in the record of `session` changed into `to`.
fn check_changed(session: &Session, from: &str, to: &str, reason: &str) {
    let text = text(session);
    assert!(text.contains(from), "{text} has no {from}");
    check_damaged(&text.replace(from, to), reason);
}

#[test]
fn what_is_written_reads_the_same() {
    for session in sessions() {
        let json = to_json(&session);
        let read = parse(&json).expect("our own record");
        assert_eq!(read, session);
        assert_eq!(to_json(&read), json, "and is written the same again");
    }
}

#[test]
fn a_suspension_of_years_reads_as_it_was_written() {
    let time = |text| Timestamp::parse(text).expect("a time");
    let mut session = running(bare());
    let suspended = session.suspend(time("2026-11-22T11:00:00Z"));
    suspended.expect("running → suspended");
    let resumed = session.resume(time("2029-02-01T00:00:00.000001Z"));
    resumed.expect("suspended → running");
    let again = parse(&to_json(&session)).expect("a record");
    assert_eq!(again.suspended_for, session.suspended_for);
}

#[test]
fn every_status_and_every_outcome_is_among_what_is_tried() {
    let sessions = sessions();
    for status in Status::ALL {
        assert!(sessions.iter().any(|s| s.status() == status), "{status}");
    }
    for session in &sessions {
        if let Some(outcome) = session.outcome() {
            assert_eq!(Status::of(outcome), session.status());
        }
    }
}

#[test]
fn a_changed_byte_is_damage_or_another_whole_record_and_never_a_panic() {
    let session = ended(resumed(full()), outcomes().remove(2));
    let json = text(&session).replace("\n}\n", ",\n  \"theirs\": [1.50, {\"x\": \"\"}]\n}\n");
    parse(json.as_bytes()).expect("a record with a field of another version");
    let mut n_read = 0;
    for at in 0..json.len() {
        for byte in *b"\0\"\\{}[],:-09eE tnu\x7f\x80\xff" {
            let mut changed = json.clone().into_bytes();
            changed[at] = byte;
            if let Ok(read) = parse(&changed) {
                n_read += 1;
                let again = parse(&to_json(&read)).expect("what was read can be written");
                assert_eq!(again, read);
            }
        }
    }
    assert!(n_read > 1000, "many a change is harmless: {n_read}");
}

#[test]
fn every_field_of_ours_may_be_missing_or_null() {
    for session in [
        running(full()),
        suspended(full()),
        ended(resumed(full()), outcomes().remove(0)),
    ] {
        let json: serde_json::Value = serde_json::from_str(&text(&session)).expect("JSON");
        let fields = json.as_object().expect("an object");
        for ours in fields.keys().filter(|key| !is_original(key)) {
            let (mut missing, mut null) = (fields.clone(), fields.clone());
            missing.remove(ours);
            null.insert(ours.clone(), serde_json::Value::Null);
            let read = |fields| {
                let json = serde_json::to_vec(&serde_json::Value::Object(fields));
                parse(&json.expect("JSON")).expect("nothing that must be there is missing")
            };
            let (missing, null) = (read(missing), read(null));
            assert_eq!(missing, null, "{ours}");
            assert_ne!(missing, session, "{ours} was there");
            assert_eq!(missing.status(), session.status());
        }
    }
}

fn is_original(key: &str) -> bool {
    matches!(
        key,
        "id" | "issue_id"
            | "role_name"
            | "status"
            | "branch_name"
            | "pid"
            | "created_at"
            | "updated_at"
    )
}

#[test]
fn what_the_original_has_must_be_there() {
    let session = running(full());
    for field in [
        "id",
        "issue_id",
        "role_name",
        "status",
        "branch_name",
        "created_at",
        "updated_at",
    ] {
        let (from, to) = (format!("\"{field}\""), "\"theirs\"".to_owned());
        check_changed(&session, &from, &to, &format!("missing field `{field}`"));
    }
    check_changed(
        &session,
        "\"role_name\": \"Engineer\"",
        "\"role_name\": null",
        "null",
    );
    // A record without a pid is one of a session without an agent.
    check_changed(&session, "\"pid\": 4242", "\"theirs\": 4242", "no pid");
}

#[test]
fn what_contradicts_itself_is_no_session() {
    let alive = running(bare());
    check_changed(&alive, "\"pid\": 4242", "\"pid\": null", "no pid");
    check_changed(&alive, "\"running\"", "\"pending\"", "but there is a pid");
    let dead = ended(alive.clone(), Outcome::Exited { code: 0 });
    check_changed(&dead, "\"pid\": 4242", "\"pid\": null", "no pid");
    for word in Status::ALL
        .iter()
        .filter(|status| **status != Status::Completed)
    {
        let status = format!("\"status\": \"{word}\"");
        check_changed(
            &dead,
            "\"status\": \"completed\"",
            &status,
            "but the outcome is",
        );
    }
    check_changed(&dead, "\"code\": 0", "\"code\": 1", "but the outcome is");
    check_changed(&dead, "\"code\": 0", "\"code\": null", "invalid type");
    check_changed(&dead, "\"code\": 0", "\"code\": \"0\"", "invalid type");
    check_changed(
        &dead,
        "\"exited\"",
        "\"signaled\"",
        "missing field `signal`",
    );
    let identity = "\"process\": {\"host\": \"h\", \"boot_id\": \"b\", \"pid_namespace\": 1}";
    let text = text(&bare()).replace("\"schema\": 1", identity);
    check_damaged(&text, "missing field `start_ticks`");
}

#[test]
fn what_others_could_not_read_as_json_is_damaged() {
    let alive = running(bare());
    let with = |field: &str| format!("\"schema\": 1,\n  {field}");
    let schema = "\"schema\": 1";
    check_changed(&alive, schema, &with("\"x\": 1e999"), "out of range");
    check_changed(&alive, schema, &with("\"x\": 1, \"x\": 1"), "duplicate");
    let twice = "\"process\": {\"x\": 1, \"x\": 1, ";
    check_changed(&alive, "\"process\": {", twice, "duplicate");
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!("\"process\": {{\"x\": {open}{close}, ")
    };
    let deepest = text(&alive).replace("\"process\": {", &deep(125));
    parse(deepest.as_bytes()).expect("no deeper than others go");
    serde_json::from_str::<serde_json::Value>(&deepest).expect("they do");
    check_changed(&alive, "\"process\": {", &deep(126), "recursion limit");
    let dead = ended(alive, Outcome::Exited { code: 0 });
    let twice = "\"outcome\": {\"x\": 1, \"x\": 1, ";
    check_changed(&dead, "\"outcome\": {", twice, "duplicate");
}

#[test]
fn an_end_without_an_outcome_is_that_of_another_program() {
    let session = ended(running(bare()), Outcome::Exited { code: 0 });
    let text = text(&session).replace("\"outcome\"", "\"their_outcome\"");
    let read = parse(text.as_bytes()).expect("a record");
    assert_eq!((read.status(), read.outcome()), (Status::Completed, None));
    // And one that is none of its own making is not invented when it is written.
    assert!(!self::text(&read).contains("\"outcome\""));
}

#[test]
fn every_offset_is_read_and_utc_is_written() {
    let session = bare();
    for (offset, time) in [
        ("Z", "2026-11-22T11:10:00.000001Z"),
        ("hours", "2026-11-22T13:10:00.000001+02:00"),
        ("minutes", "2026-11-22T16:40:00.000001+05:30"),
        ("west", "2026-11-22T03:10:00.000001-08:00"),
    ] {
        let text = text(&session).replace("2026-11-22T11:10:00.000001+00:00", time);
        assert_eq!(parse(text.as_bytes()).expect(offset), session, "{offset}");
    }
    for no_time in ["", "now", "2026-11-22T25:00:00Z", "0"] {
        let time = "2026-11-22T11:10:00.000001+00:00";
        check_changed(&session, time, no_time, "is not a time");
    }
}

#[test]
fn unknown_fields_keep_their_order_and_their_spelling() {
    let theirs =
        "  \"b\": 1e2,\n  \"a\": {\"y\":1,   \"x\":[]},\n  \"\u{fc}\\n\": \"\\u00fc\"\n}\n";
    let with = text(&bare()).replace("\n}\n", &format!(",\n{theirs}"));
    let mut session = parse(with.as_bytes()).expect("a record");
    assert_eq!(text(&session), with);
    session = ended(suspended(session), Outcome::Exited { code: 1 });
    assert!(text(&session).ends_with(theirs), "{}", text(&session));
}

#[test]
fn unknown_fields_of_a_process_survive_whatever_becomes_of_it() {
    let theirs = ",\n    \"cgroup\": { \"b\":1e2, \"a\":[] },\n    \"Name\": \"\\u00fc\"\n  }";
    let alive = text(&running(full()));
    let with = alive.replace("812345\n  }", &format!("812345{theirs}"));
    assert_ne!(with, alive);
    let mut session = parse(with.as_bytes()).expect("a record");
    assert_eq!(text(&session), with);
    session.suspend(at(2)).expect("running → suspended");
    let never_ran = ended(session.clone(), Outcome::never_ran("no"));
    let again = parse(&to_json(&never_ran)).expect("a record");
    assert_eq!(again, never_ran, "what is gone with the process is gone");
    session = ended(session, Outcome::Exited { code: 1 });
    assert!(text(&session).contains(theirs), "{}", text(&session));
}

#[test]
fn the_words_of_an_error_are_short_and_harmless() {
    let long = format!("\"status\": \"{}\\u001b[2J\\u202e\"", "ä".repeat(10_000));
    let text = text(&bare()).replace("\"status\": \"pending\"", &long);
    let error = parse(text.as_bytes()).expect_err("no status").to_string();
    assert!(error.chars().count() <= 301, "{error}");
    let short = text.replace(&"ä".repeat(10_000), "ä");
    let error = parse(short.as_bytes()).expect_err("no status").to_string();
    assert!(error.contains("`ä\\u{1b}[2J\\u{202e}`"), "{error}");
}

#[test]
fn a_timeout_is_in_whole_seconds_and_never_shorter_than_asked_for() {
    for (asked, recorded) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (90_500, 91)] {
        let new = NewSession {
            timeout: Some(Duration::from_millis(asked)),
            ..NewSession::default()
        };
        let session = new.into_session(at(0));
        assert_eq!(session.timeout, Some(Duration::from_secs(recorded)));
        assert_eq!(parse(&to_json(&session)).expect("our own record"), session);
    }
}

#[test]
fn a_pending_record_looks_like_this() {
    insta::assert_snapshot!(text(&bare()), @r#"
    {
      "id": "36f675cc-81e7-4ef5-a8e2-5d940ed90475",
      "issue_id": "FEAT-0138",
      "role_name": "Default",
      "status": "pending",
      "branch_name": "agent/FEAT-0138/36f675cc",
      "pid": null,
      "created_at": "2026-11-22T11:10:00.000001+00:00",
      "updated_at": "2026-11-22T11:10:00.000001+00:00",
      "schema": 1
    }
    "#);
}

#[test]
fn a_running_record_looks_like_this() {
    insta::assert_snapshot!(text(&running(bare())), @r#"
    {
      "id": "36f675cc-81e7-4ef5-a8e2-5d940ed90475",
      "issue_id": "FEAT-0138",
      "role_name": "Default",
      "status": "running",
      "branch_name": "agent/FEAT-0138/36f675cc",
      "pid": 4242,
      "created_at": "2026-11-22T11:10:00.000001+00:00",
      "updated_at": "2026-11-22T11:10:01.000001+00:00",
      "schema": 1,
      "process": {
        "host": "3d1219c7c4c5404aaa1f6d2a48adfda4",
        "boot_id": "7b1f0ad9-54ee-4ec0-8f3c-0c6dbd6f7a64",
        "pid_namespace": 4026531836,
        "start_ticks": 812345
      },
      "started_at": "2026-11-22T11:10:01.000001+00:00"
    }
    "#);
}

#[test]
fn a_suspended_record_looks_like_this() {
    insta::assert_snapshot!(text(&suspended(bare())), @r#"
    {
      "id": "36f675cc-81e7-4ef5-a8e2-5d940ed90475",
      "issue_id": "FEAT-0138",
      "role_name": "Default",
      "status": "suspended",
      "branch_name": "agent/FEAT-0138/36f675cc",
      "pid": 4242,
      "created_at": "2026-11-22T11:10:00.000001+00:00",
      "updated_at": "2026-11-22T11:10:02.000001+00:00",
      "schema": 1,
      "process": {
        "host": "3d1219c7c4c5404aaa1f6d2a48adfda4",
        "boot_id": "7b1f0ad9-54ee-4ec0-8f3c-0c6dbd6f7a64",
        "pid_namespace": 4026531836,
        "start_ticks": 812345
      },
      "started_at": "2026-11-22T11:10:01.000001+00:00",
      "suspended_at": "2026-11-22T11:10:02.000001+00:00"
    }
    "#);
}

#[test]
fn a_completed_record_looks_like_this() {
    let session = ended(resumed(bare()), Outcome::Exited { code: 0 });
    insta::assert_snapshot!(text(&session), @r#"
    {
      "id": "36f675cc-81e7-4ef5-a8e2-5d940ed90475",
      "issue_id": "FEAT-0138",
      "role_name": "Default",
      "status": "completed",
      "branch_name": "agent/FEAT-0138/36f675cc",
      "pid": 4242,
      "created_at": "2026-11-22T11:10:00.000001+00:00",
      "updated_at": "2026-11-22T11:10:09.000001+00:00",
      "schema": 1,
      "process": {
        "host": "3d1219c7c4c5404aaa1f6d2a48adfda4",
        "boot_id": "7b1f0ad9-54ee-4ec0-8f3c-0c6dbd6f7a64",
        "pid_namespace": 4026531836,
        "start_ticks": 812345
      },
      "started_at": "2026-11-22T11:10:01.000001+00:00",
      "suspended_seconds": 2.0,
      "ended_at": "2026-11-22T11:10:09.000001+00:00",
      "outcome": {
        "kind": "exited",
        "code": 0
      }
    }
    "#);
}

/// The outcome as it stands in the record.
fn written(outcome: &Outcome) -> String {
    serde_json::to_string(outcome).expect("JSON")
}

#[test]
fn what_a_kind_does_not_need_may_be_anything() {
    let read = |json: &str| serde_json::from_str::<Outcome>(json).map_err(|e| e.to_string());
    let exited = Ok(Outcome::Exited { code: 0 });
    for json in [
        r#"{"kind":"exited","code":0,"signal":null,"by":7,"reason":"oom","x":{"y":[1.5]}}"#,
        r#"{"wait_status":{"kind":"continued"},"code":0,"cause":{"of":"it"},"kind":"exited"}"#,
    ] {
        assert_eq!(read(json), exited, "{json}");
    }
    for (json, why) in [
        (r#"{"code":0}"#, "missing field `kind`"),
        (r#"{"kind":""}"#, "unknown variant ``"),
        (r#"{"kind":"exited"}"#, "missing field `code`"),
        (
            r#"{"kind":"exited","code":"0"}"#,
            "`code` is not a whole number",
        ),
        (r#"{"kind":"exited","code":3000000000}"#, "out of range"),
        (
            r#"{"kind":"lost","cause":"boredom"}"#,
            "unknown variant `boredom`",
        ),
        (r#"{"kind":"exited","code":0,"x":1,"x":1}"#, "duplicate"),
        (
            r#"{"kind":"exited","code":0,"by":{"x":1,"x":1}}"#,
            "duplicate",
        ),
        (r#"{"kind":"exited","code":0,"code":0}"#, "duplicate"),
        (
            r#"{"kind":"stopped","by":"cli","wait_status":{"kind":"continued"}}"#,
            "unknown variant `continued`",
        ),
    ] {
        let error = read(json).expect_err(json);
        assert!(error.contains(why), "{json}: {error}");
    }
}

#[test]
fn the_verdicts_look_like_this() {
    let written = |verdict| serde_json::to_string(&verdict).expect("JSON");
    let all: Vec<_> = verdicts().into_iter().map(written).collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    {"kind":"succeeded"}
    {"kind":"failed"}
    {"kind":"denied"}
    {"kind":"rate_limited"}
    {"kind":"context_exhausted"}
    {"kind":"unknown"}
    {"kind":"rate_limited","until":"2026-11-22T11:10:07.000001+00:00","turns":3,"cost_usd":0.0123}
    "#);
}

#[test]
fn what_is_not_understood_of_a_verdict_is_not_told_and_a_torn_one_is_damage() {
    let read = |json: &str| serde_json::from_str::<Verdict>(json).map_err(|e| e.to_string());
    let newer = r#"{"kind":"bored","until":{"x":[1]},"of":"it","turns":2,"cost_usd":null}"#;
    let unknown = Verdict {
        turns: Some(2),
        ..VerdictKind::Unknown.into()
    };
    assert_eq!(read(newer), Ok(unknown));
    let open = VerdictKind::RateLimited { until: None };
    for (json, kind) in [
        (r#"{"kind":"failed","until":7}"#, VerdictKind::Failed),
        (r#"{"kind":"failed","turns":-1}"#, VerdictKind::Failed),
        (r#"{"kind":"failed","turns":1.5}"#, VerdictKind::Failed),
        (r#"{"kind":"failed","turns":[1]}"#, VerdictKind::Failed),
        (r#"{"kind":"failed","cost_usd":"0.1"}"#, VerdictKind::Failed),
        (r#"{"kind":"failed","cost_usd":-0.1}"#, VerdictKind::Failed),
        (r#"{"kind":"rate_limited","until":1795000000}"#, open),
        (r#"{"kind":"rate_limited","until":"soon"}"#, open),
        (r#"{"kind":"rate_limited","until":null}"#, open),
    ] {
        assert_eq!(read(json), Ok(kind.into()), "{json}");
    }
    let whole = read(r#"{"kind":"failed","cost_usd":2}"#).map(|read| read.cost_usd);
    assert_eq!(whole, Ok(Some(2.0)));
    for (json, why) in [
        (r#"{"turns":1}"#, "missing field `kind`"),
        (r#"{"kind":1}"#, "invalid type"),
        (r#"{"kind":"failed","kind":"failed"}"#, "duplicate"),
        (r#"{"kind":"failed","turns":1,"turns":1}"#, "duplicate"),
        (r#"{"kind":"failed","x":1,"x":1}"#, "duplicate"),
    ] {
        let error = read(json).expect_err(json);
        assert!(error.contains(why), "{json}: {error}");
    }
    let session = ended_saying(
        running(bare()),
        VerdictKind::RateLimited { until: None }.into(),
    );
    let json = text(&session).replace("rate_limited\"", "rate_limited\", \"until\": 1795000000");
    assert!(json.contains("1795000000"), "{json}");
    assert_eq!(parse(json.as_bytes()).expect("a record"), session);
    let verdict = "\"schema\": 1,\n  \"verdict\": {\"kind\": \"failed\"}";
    check_changed(&bare(), "\"schema\": 1", verdict, "but there is a verdict");
}

#[test]
fn a_conversation_is_learned_once_and_by_the_living() {
    let mut session = bare();
    assert!(session.learn_conversation("a", at(0)).is_err());
    session = running(session);
    session.learn_conversation("a", at(3)).expect("alive");
    session.learn_conversation("a", at(4)).expect("the same");
    assert!(session.learn_conversation("b", at(4)).is_err());
    assert_eq!(session.updated_at, at(3));
    session = ended_saying(session, VerdictKind::Failed.into());
    assert!(session.learn_conversation("a", at(9)).is_err());
    assert_eq!(session.conversation_id.as_deref(), Some("a"));
}

#[test]
fn who_never_ran_or_was_lost_said_nothing() {
    let lost = Outcome::Lost {
        cause: LostCause::OwnerDied,
    };
    for outcome in [Outcome::never_ran("no"), lost] {
        let mut session = running(bare());
        let words = LastWords {
            conversation_id: None,
            verdict: Some(VerdictKind::Succeeded.into()),
        };
        let ended = session.finish_saying(outcome, words, at(9));
        ended.expect("it may end so");
        assert_eq!(session.verdict(), None);
    }
}

#[test]
fn no_limit_ended_before_the_agent_was_started() {
    let until = |until| {
        let limited = VerdictKind::RateLimited { until: Some(until) };
        let session = ended_saying(running(bare()), limited.into());
        session.verdict().map(|verdict| verdict.kind)
    };
    let started_at = running(bare()).started_at().expect("it was noted");
    let told = |until| Some(VerdictKind::RateLimited { until });
    assert_eq!(until(started_at), told(Some(started_at)));
    let before = started_at.minus(Duration::from_secs(1));
    assert_eq!(until(before), told(None));
}

#[test]
fn the_outcomes_look_like_this() {
    let all: Vec<_> = outcomes().iter().map(written).collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    {"kind":"exited","code":0}
    {"kind":"exited","code":7}
    {"kind":"signaled","signal":9,"core_dumped":true}
    {"kind":"spawn_failed","error":"claude: not found","reason":"not_found"}
    {"kind":"lost","cause":"reboot"}
    {"kind":"lost","cause":"owner_died"}
    {"kind":"timed_out","after_seconds":900}
    {"kind":"stopped","by":"cli"}
    {"kind":"timed_out","after_seconds":900,"wait_status":{"kind":"exited","code":255}}
    {"kind":"stopped","by":"cli","wait_status":{"kind":"exited","code":255}}
    {"kind":"timed_out","after_seconds":900,"wait_status":{"kind":"signaled","signal":9,"core_dumped":true}}
    {"kind":"stopped","by":"cli","wait_status":{"kind":"signaled","signal":9,"core_dumped":true}}
    "#);
}

#[test]
fn each_end_has_its_status() {
    let all: Vec<_> = outcomes()
        .into_iter()
        .map(|outcome| {
            let json = written(&outcome);
            let kind = json.split('"').nth(3).expect("a kind").to_owned();
            format!("{kind}: {}", ended(running(bare()), outcome).status())
        })
        .collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    exited: completed
    exited: failed
    signaled: crashed
    spawn_failed: failed
    lost: terminated
    lost: terminated
    timed_out: timeout
    stopped: terminated
    timed_out: timeout
    stopped: terminated
    timed_out: timeout
    stopped: terminated
    "#);
}
