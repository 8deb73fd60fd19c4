use std::fs::File;
use std::io::Write;

use proptest::prelude::*;

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
            { "when": { "/type": "result" }, "verdict": "failed" }
        ],
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

#[test]
fn the_last_line_that_says_anything_decides() {
    let failed = r#"{"type":"result"}"#;
    let good = r#"{"type":"result","ok":true,"turns":3,"cost":0.5}"#;
    let limited = r#"{"type":"result","text":"usage LIMIT reached|1735689600","turns":1}"#;
    let again = r#"{"error":{"code":"busy"}}"#;
    let busy = r#"{"error":{"code":429.0,"at":1735689600000}}"#;
    for (tail, expected) in [
        ("", r#"{"kind":"unknown"}"#),
        ("not JSON\n[1]\n{\n", r#"{"kind":"unknown"}"#),
        (
            &format!("{failed}\n{good}\n"),
            r#"{"kind":"succeeded","turns":3,"cost_usd":0.5}"#,
        ),
        (&format!("{good}\n{failed}"), r#"{"kind":"failed"}"#),
        (
            &format!("{good}\nlater\n{{\"type\":1}}\n"),
            r#"{"kind":"succeeded","turns":3,"cost_usd":0.5}"#,
        ),
        (
            limited,
            r#"{"kind":"rate_limited","until":"2025-01-01T00:00:00+00:00","turns":1}"#,
        ),
        (
            &format!("{busy}\nbetween\n{again}\n"),
            r#"{"kind":"rate_limited","until":"2025-01-01T00:00:00+00:00"}"#,
        ),
        (
            &format!("{busy}\n{failed}\n{again}\n"),
            r#"{"kind":"rate_limited"}"#,
        ),
        (
            busy,
            r#"{"kind":"rate_limited","until":"2025-01-01T00:00:00+00:00"}"#,
        ),
        (
            r#"{"error":{"code":"busy","at":"2026-01-02T03:04:05Z"}}"#,
            r#"{"kind":"rate_limited","until":"2026-01-02T03:04:05+00:00"}"#,
        ),
        (
            r#"{"error":{"code":"busy","at":"soon"}}"#,
            r#"{"kind":"rate_limited"}"#,
        ),
        (
            r#"{"error":{"code":"busy","at":1e300}}"#,
            r#"{"kind":"rate_limited"}"#,
        ),
        (
            r#"{"type":"result","ok":true,"error":null,"turns":-1,"cost":-1}"#,
            r#"{"kind":"succeeded"}"#,
        ),
        (
            r#"{"type":"result","ok":true,"error":0}"#,
            r#"{"kind":"failed"}"#,
        ),
    ] {
        assert_eq!(verdict(tail), expected, "{tail}");
    }
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

proptest! {
    #[test]
    fn whatever_an_agent_prints_is_put_up_with(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        text in r#"[{}\[\]":,a-z0-9/|. -]{0,80}"#,
    ) {
        let line = format!(r#"{{"type":"result","text":"{text}","content":[{text}]}}"#);
        for line in [&bytes[..], text.as_bytes(), line.as_bytes()] {
            let reading = reading();
            reading.shown(line);
            reading.verdict_in(line);
            if let Some(id) = reading.conversation_in(line) {
                prop_assert!(check_conversation_id(&id).is_ok());
            }
        }
    }
}
