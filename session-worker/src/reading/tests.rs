use std::fs::File;
use std::io::Write;

use proptest::prelude::*;

use session_core::VerdictKind;

use super::*;

/// As engines are described, in JSON instead of TOML.
fn reading() -> Reading {
    let rules = r#"{
        "conversation": [{ "when": { "/type": "begun" }, "at": "/session/id" }],
        "verdicts": [
            { "when": { "/type": "result", "/text": { "contains": "Limit reached" } },
              "verdict": "rate_limited", "until": "/text", "turns": "/turns" },
            { "when": { "/error/code": { "one_of": [429, "busy"] } },
              "verdict": "rate_limited", "until": "/error/at" },
            { "when": { "/type": "result", "/ok": true, "/error": { "exists": false } },
              "verdict": "succeeded", "turns": "/turns", "cost_usd": "/cost" },
            { "when": { "/type": "result", "/text": { "starts_with": "it depends" } },
              "verdict": "unknown", "turns": "/turns" },
            { "when": { "/type": "refused" }, "verdict": "denied",
              "after": [{ "/type": "step", "/done": true }, { "/type": "usage" }] },
            { "when": { "/type": "result" }, "verdict": "failed" }
        ],
        "until": [{ "when": { "/type": "limit" }, "at": "/at" }],
        "text": [
            { "when": { "/type": "message" }, "at": "/content" },
            { "when": { "/type": "result" }, "at": "/text", "prefix": "= " }
        ]
    }"#;
    serde_json::from_str(rules).expect("rules")
}

/// The verdict as a record has it.
fn verdict(tail: &str) -> String {
    let verdict = reading().verdict_in(tail.as_bytes());
    serde_json::to_string(&verdict).expect("JSON")
}

const UNKNOWN: &str = r#"{"kind":"unknown"}"#;
const GOOD: &str = r#"{"type":"result","ok":true,"turns":3,"cost":0.5}"#;
const SUCCEEDED: &str = r#"{"kind":"succeeded","turns":3,"cost_usd":0.5}"#;

#[track_caller]
fn check(tail: &str, expected: &str) {
    assert_eq!(verdict(tail), expected, "{tail}");
}

#[test]
fn the_final_event_decides() {
    let failed = r#"{"type":"result"}"#;
    check("", UNKNOWN);
    check("not JSON\n[1]\n{\n", UNKNOWN);
    check(&format!("{failed}\n{GOOD}\n"), SUCCEEDED);
    check(&format!("{GOOD}\n{failed}"), r#"{"kind":"failed"}"#);
    check(
        r#"{"type":"result","ok":true,"error":null,"turns":-1,"cost":-1}"#,
        r#"{"kind":"succeeded"}"#,
    );
    check(
        r#"{"type":"result","ok":true,"error":0}"#,
        r#"{"kind":"failed"}"#,
    );
    check(
        r#"{"type":"result","text":"It depends","turns":1}"#,
        r#"{"kind":"unknown","turns":1}"#,
    );
}

#[test]
fn what_was_said_before_another_event_is_no_verdict() {
    // Lines that are no events may follow it.
    for noise in ["later", "{ code: 'EPIPE' }", "{", "[1]", ""] {
        check(&format!("{GOOD}\n{noise}\n"), SUCCEEDED);
    }
    let too_long = format!(r#"{{"type":"step","x":"{}"}}"#, "x".repeat(MAX_LINE_LEN));
    let too_deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    for later in [
        r#"{"type":1}"#,
        "{}",
        r#"{"type":"limit","at":1893456000}"#,
        r#"{"type":"ste"#,
        r#"{ "type": "step", warning: mixed"#,
        &too_long,
        &too_deep,
    ] {
        check(&format!("{GOOD}\n{later}\n"), UNKNOWN);
        check(&format!("{GOOD}\n{later}"), UNKNOWN);
    }
}

#[test]
fn after_what_decides_only_that_may_follow_which_its_rule_says() {
    let refused = r#"{"type":"refused"}"#;
    let denied = r#"{"kind":"denied"}"#;
    let step = r#"{"type":"step","done":true}"#;
    let usage = r#"{"type":"usage"}"#;
    check(refused, denied);
    check(&format!("{refused}\n{step}\nnoise\n{usage}\n"), denied);
    check(&format!("{refused}\n{{\"type\":\"step\"}}"), UNKNOWN);
    check(&format!("{refused}\n{{}}\n{step}"), UNKNOWN);
    check(step, UNKNOWN);
    // It is what may follow another rule's line.
    check(&format!("{GOOD}\n{usage}"), UNKNOWN);
}

#[test]
fn when_a_limit_ends_is_told_by_the_verdict_or_before_it() {
    let until = |time: &str| format!(r#"{{"kind":"rate_limited","until":"{time}+00:00"}}"#);
    let new_year = until("2025-01-01T00:00:00");
    let open = r#"{"kind":"rate_limited"}"#;
    check(
        r#"{"type":"result","text":"usage LIMIT reached|1735689600","turns":1}"#,
        r#"{"kind":"rate_limited","until":"2025-01-01T00:00:00+00:00","turns":1}"#,
    );
    for at in [
        "1735689600",
        "1735689600000",
        "1735689600.5",
        r#""2025-01-01T01:00:00+01:00""#,
        r#""a|b| 1735689600 ""#,
    ] {
        let busy = format!(r#"{{"error":{{"code":429.0,"at":{at}}}}}"#);
        check(&busy, &new_year);
    }
    for at in [
        r#""soon""#,
        r#""429""#,
        r#""1735689600""#,
        r#""20250101""#,
        r#""2025-01-01T00:00:00""#,
        r#""limit|429""#,
        r#""limit|inf""#,
        r#""2019-12-31T23:59:59Z""#,
        "429",
        "-1735689600",
        "1e300",
        "true",
    ] {
        let busy = format!(r#"{{"error":{{"code":"busy","at":{at}}}}}"#);
        check(&busy, open);
    }
    let (busy, hint) = (
        r#"{"error":{"code":"busy"}}"#,
        r#"{"type":"limit","at":1735689600}"#,
    );
    let later = r#"{"type":"limit","at":1767225600}"#;
    check(&format!("{hint}\nx\n{{}}\n{busy}\n"), &new_year);
    check(
        &format!("{hint}\n{later}\n{busy}\n"),
        &until("2026-01-01T00:00:00"),
    );
    check(
        &format!("{later}\n{{\"type\":\"result\"}}"),
        r#"{"kind":"failed"}"#,
    );
    check(hint, UNKNOWN);
    check(&format!("{busy}\n{hint}"), UNKNOWN);
}

#[test]
fn a_conversation_is_only_what_can_be_an_argument() {
    let in_line = |line: &str| reading().conversation_in(line.as_bytes());
    let found = in_line(r#"  {"type":"begun","session":{"id":"ses_1"}}  "#);
    assert_eq!(found.as_deref(), Some("ses_1"));
    for line in [
        r#"{"type":"other","session":{"id":"ses_1"}}"#,
        r#"{"type":"begun","session":{"id":7}}"#,
        r#"{"type":"begun","session":{"id":"--yes"}}"#,
        r#"{"type":"begun","session":{"id":"a b"}}"#,
        r#"text {"type":"begun","session":{"id":"ses_1"}}"#,
        "",
    ] {
        assert_eq!(in_line(line), None, "{line}");
    }
}

#[test]
fn a_line_that_is_too_long_is_not_looked_at() {
    let padding = "x".repeat(MAX_LINE_LEN);
    let line = format!(r#"{{"type":"begun","session":{{"id":"a"}},"x":"{padding}"}}"#);
    assert_eq!(reading().conversation_in(line.as_bytes()), None);
}

#[test]
fn blocks_are_shown_as_people_would_read_them() {
    let shown = |line: &str| {
        let shown = reading().shown(line.as_bytes())?;
        let lines = shown.iter().map(|shown| {
            let prefix = shown.prefix.as_deref().unwrap_or_default();
            format!("{prefix}{}", shown.text)
        });
        Some(lines.collect::<Vec<_>>().join("\n"))
    };
    let blocks = r#"{"type":"message","content":[
        {"type":"text","text":"Look:"},
        {"type":"tool_use","name":"Bash","input":{"command":"ls"}},
        {"type":"tool_result","content":[{"type":"text","text":"a b"}]},
        {"type":"thinking","thinking":"hm"}, "bare", 7, null]}"#;
    let text = "Look:\nBash {\"command\":\"ls\"}\na b\nbare\n7";
    assert_eq!(shown(&blocks.replace('\n', "")).as_deref(), Some(text));
    assert_eq!(
        shown(r#"{"type":"result","text":"Done."}"#).as_deref(),
        Some("= Done.")
    );
    assert_eq!(shown(r#"{"type":"noise"}"#).as_deref(), Some(""));
    assert_eq!(shown("warning: { is no object"), None);
    assert_eq!(shown("{ nor is this"), None);
}

#[test]
fn rules_are_written_strictly_and_read_again_the_same() {
    let rules = reading();
    let json = serde_json::to_string(&rules).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Reading>(&json).expect("rules"),
        rules
    );
    for (wrong, why) in [
        (r#"{"verdict":[]}"#, "unknown field `verdict`"),
        (
            r#"{"conversation":[{"at":"id"}]}"#,
            "`id` is not a JSON pointer",
        ),
        (
            r#"{"text":[{"at":"/a","when":{"b":1}}]}"#,
            "`b` is not a JSON pointer",
        ),
        (
            r#"{"text":[{"at":"/a","when":{"/b":{"contain":"x"}}}]}"#,
            "expected a string",
        ),
        (
            r#"{"text":[{"at":"/a","when":{"/b":{"contains":"x","exists":true}}}]}"#,
            "expected",
        ),
        (
            r#"{"verdicts":[{"verdict":"lost"}]}"#,
            "unknown variant `lost`",
        ),
        (
            r#"{"verdicts":[{"verdict":"failed","turns":"n"}]}"#,
            "`n` is not a JSON pointer",
        ),
        (
            r#"{"verdicts":[{"verdict":"succeeded","after":[{"/a":1}]}]}"#,
            "nothing may follow what says `succeeded`",
        ),
    ] {
        let error = serde_json::from_str::<Reading>(wrong)
            .expect_err(wrong)
            .to_string();
        assert!(error.contains(why), "{wrong}: {error}");
    }
}

#[test]
fn the_end_of_a_long_log_is_found_from_behind() {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let kind = |file: &File| reading().verdict_of(file).expect("a readable log").kind;
    assert_eq!(kind(&file), VerdictKind::Unknown);
    let good = r#"{"type":"result","ok":true}"#;
    writeln!(file, "{good}").expect("room");
    assert_eq!(kind(&file), VerdictKind::Succeeded);
    let noise = format!("{}\n", "x".repeat(999)).repeat(1000);
    // In the first step's window, in later ones', and beyond all.
    for n in 1..=9 {
        file.write_all(noise.as_bytes()).expect("room");
        let expected = match n {
            ..=8 => VerdictKind::Succeeded,
            _ => VerdictKind::Unknown,
        };
        assert_eq!(kind(&file), expected, "{n} MB later");
    }
    // In whose midst the window begins is no line: this could be a quote.
    let mut quote = vec![b'\n'];
    quote.extend(vec![b'x'; 9 << 20]);
    quote.extend(good.as_bytes());
    file.write_all(&quote).expect("room");
    assert_eq!(kind(&file), VerdictKind::Unknown);
}

#[test]
fn when_a_limit_ends_may_have_been_told_long_before() {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let noise = format!("{}\n", "x".repeat(999)).repeat(1000);
    writeln!(file, r#"{{"type":"limit","at":1735689600}}"#).expect("room");
    file.write_all(noise.as_bytes()).expect("room");
    writeln!(file, r#"{{"error":{{"code":"busy"}}}}"#).expect("room");
    let limited = |file: &File| reading().verdict_of(file).expect("a readable log").kind;
    let until = session_core::Timestamp::from_second(1_735_689_600);
    assert_eq!(limited(&file), VerdictKind::RateLimited { until });
}

proptest! {
    #[test]
    fn whatever_an_agent_prints_is_put_up_with(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        text in r#"[{}\[\]":,a-z0-9/|. -]{0,80}"#,
    ) {
        let line = format!(r#"{{"type":"result","text":"{text}","content":[{text}]}}"#);
        for line in [&bytes[..], text.as_bytes(), line.as_bytes()] {
            let reading = reading();
            let _ = reading.shown(line);
            let _ = reading.verdict_in(line);
            if let Some(id) = reading.conversation_in(line) {
                prop_assert!(check_conversation_id(&id).is_ok());
            }
        }
    }
}
