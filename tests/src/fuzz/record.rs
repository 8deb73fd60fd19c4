//! Any bytes in the place of a record.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use session_core::{
    LastWords, LostCause, MAX_RECORD_LEN, Outcome, RecordError, Session, State, Timestamp,
    VerdictKind, parse_record, record_to_json,
};

use super::json::Opinion;

/// The fields of the original format, whose readers must see what we see.
const ORIGINAL: [&str; 8] = [
    "id",
    "issue_id",
    "role_name",
    "status",
    "branch_name",
    "pid",
    "created_at",
    "updated_at",
];
/// The fields of ours.
const OURS: [&str; 17] = [
    "schema",
    "command",
    "cwd",
    "engine",
    "conversation_id",
    "name",
    "labels",
    "parent_id",
    "resumes",
    "process",
    "started_at",
    "suspended_at",
    "suspended_seconds",
    "ended_at",
    "timeout_seconds",
    "outcome",
    "verdict",
];
/// No reader of JSON need go deeper than serde_json does.
const MAX_DEPTH: usize = 127;
/// No reason is longer: it stands in a line of a listing.
const MAX_REASON: usize = 1000;

type Members = BTreeMap<String, Box<RawValue>>;

/// The bytes are damaged, and an independent look at them agrees why; or they are a
/// session that is the same after each rewrite, and whatever it may still become is.
///
/// # Panics
/// When that does not hold.
pub fn check_record(bytes: &[u8]) {
    match parse_record(bytes) {
        Ok(session) => check_session(bytes, &session),
        Err(error) => check_error(bytes, &error),
    }
}

/// Whether the bytes are a session.
#[must_use]
pub fn is_record(bytes: &[u8]) -> bool {
    parse_record(bytes).is_ok()
}

fn check_error(bytes: &[u8], error: &RecordError) {
    let reason = error.to_string();
    assert!(reason.len() <= MAX_REASON, "{reason}");
    assert!(!reason.chars().any(char::is_control), "{reason:?}");
    let text = std::str::from_utf8(bytes);
    match error {
        RecordError::Empty => assert!(bytes.is_empty()),
        RecordError::Zeroes => assert!(bytes.iter().all(|byte| *byte == 0)),
        RecordError::TooLarge => assert!(bytes.len() > MAX_RECORD_LEN),
        RecordError::NotUtf8(_) => assert!(text.is_err()),
        _ => {
            let opinion = Opinion::of(text.expect("else that is the reason"));
            // What is no JSON further on can have a key twice before.
            let Some(opinion) = opinion else { return };
            let is_twice = reason.starts_with("duplicate field");
            assert!(!is_twice || !opinion.duplicates.is_empty(), "{reason}");
        }
    }
}

fn check_session(bytes: &[u8], session: &Session) {
    assert!(bytes.len() <= MAX_RECORD_LEN);
    let text = std::str::from_utf8(bytes).expect("a record is UTF-8");
    let opinion = Opinion::of(text).expect("a record is JSON");
    assert!(opinion.depth <= MAX_DEPTH, "{}", opinion.depth);
    let twice = opinion.duplicates.iter().find(|path| is_ours(path));
    assert_eq!(twice, None, "a key that stands twice");
    let json = rewritten(session);
    check_fields(text, &json);
    check_unknown(text, &json);
    check_future(text, session);
}

/// Whether it matters that the key with this path stands twice: what another
/// version put into a field of its own is its affair.
fn is_ours(path: &[String]) -> bool {
    path.len() == 1 || ["labels", "process", "outcome", "verdict"].contains(&path[0].as_str())
}

/// The record as we write it; it reads the same.
fn rewritten(session: &Session) -> String {
    let json = record_to_json(session);
    let json = String::from_utf8(json).expect("what we write is UTF-8");
    assert!(json.ends_with("}\n"));
    // Spaces make a long record longer; such a one is not written.
    if json.len() <= MAX_RECORD_LEN {
        let again = parse_record(json.as_bytes()).expect("what we write can be read");
        assert_eq!(&again, session);
    }
    json
}

/// Whoever knows only the original format sees the same as before.
fn check_fields(text: &str, json: &str) {
    let (before, after) = (members(text), members(json));
    for field in ORIGINAL {
        let value = |members: &Members| {
            let raw = members.get(field).map_or("null", |raw| raw.get());
            serde_json::from_str::<serde_json::Value>(raw).expect("a value")
        };
        let (before, after) = (value(&before), value(&after));
        let time = |value: &serde_json::Value| Timestamp::parse(value.as_str()?).ok();
        if field.ends_with("_at") {
            assert!(time(&after).is_some(), "{field}: {after}");
            assert_eq!(time(&before), time(&after), "{field}");
        } else {
            assert_eq!(before, after, "{field}");
        }
    }
    let order: Vec<_> = ORIGINAL
        .iter()
        .map(|field| json.find(&format!("  \"{field}\":")))
        .collect();
    assert!(order.is_sorted() && order[0].is_some(), "{json}");
}

/// What this version does not know is there as it was, byte for byte.
fn check_unknown(text: &str, json: &str) {
    let is_unknown =
        |field: &String| !ORIGINAL.contains(&field.as_str()) && !OURS.contains(&field.as_str());
    let (before, after) = (members(text), members(json));
    for (field, value) in before.iter().filter(|(field, _)| is_unknown(field)) {
        let kept = after.get(field).map(|value| value.get());
        assert_eq!(kept, Some(value.get()), "{field}");
    }
    let count = |members: &Members| members.keys().filter(|field| is_unknown(field)).count();
    assert_eq!(count(&before), count(&after));
}

fn members(text: &str) -> Members {
    serde_json::from_str(text).expect("an object")
}

/// Whatever becomes of the session later can be read as well, and tells no
/// negative time.
fn check_future(text: &str, session: &Session) {
    let now = session.updated_at;
    let ends = [
        Outcome::never_ran("no"),
        Outcome::Exited { code: 0 },
        Outcome::Lost {
            cause: LostCause::OwnerDied,
        },
    ];
    for outcome in ends {
        let mut session = session.clone();
        let before = session.clone();
        let is_over = matches!(session.state(), State::Ended(_));
        // Each is refused where there is no such arrow.
        let _ = session.suspend(now);
        let _ = session.resume(now);
        let _ = session.learn_conversation("learned", now);
        let words = LastWords {
            conversation_id: Some("told at the end".to_owned()),
            verdict: Some(VerdictKind::RateLimited { until: Some(now) }.into()),
        };
        let ended = session.finish_saying(outcome, words, now);
        if is_over {
            assert!(ended.is_err());
            assert_eq!(session, before, "an end is an end");
        }
        assert!(session.updated_at >= before.updated_at);
        check_unknown(text, &rewritten(&session));
    }
}
