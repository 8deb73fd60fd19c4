//! What the real programs printed (`cargo xtask agents` keeps it), read by the rules
//! that come with Monoco.

use std::fmt::Write;
use std::path::PathBuf;

use session_core::VerdictKind;

use super::*;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/agents/samples")
}

fn built_in(engine: &str) -> Engine {
    let built_in = vec![(Source::BuiltIn, BUILT_IN.to_owned())];
    let mut engines = merged(built_in).expect("valid");
    engines.remove(engine).expect("it is there")
}

fn reading(engine: &str) -> Reading {
    built_in(engine).reading
}

/// What each sample that is called so is to be read as; `None` where its program tells
/// no end.
fn expected(engine: &str, sample: &str) -> Option<&'static str> {
    match (engine, sample) {
        // A command that its sandbox stopped is to codex one that failed; gemini does not
        // tell its model of what it is not allowed.
        ("codex" | "gemini", "denied") => Some("succeeded"),
        // They wait until the limit ends, and say nothing meanwhile.
        ("qwen" | "opencode", "rate_limited") => None,
        (_, "success" | "resumed") => Some("succeeded"),
        (_, "denied") => Some("denied"),
        (_, "failed") => Some("failed"),
        (_, "rate_limited") => Some("rate_limited"),
        (_, "context_exhausted") => Some("context_exhausted"),
        ("claude", "unknown_conversation") => Some("failed"),
        _ => None,
    }
}

fn word(kind: VerdictKind) -> Option<&'static str> {
    match kind {
        VerdictKind::Succeeded => Some("succeeded"),
        VerdictKind::Failed => Some("failed"),
        VerdictKind::Denied => Some("denied"),
        VerdictKind::RateLimited { .. } => Some("rate_limited"),
        VerdictKind::ContextExhausted => Some("context_exhausted"),
        VerdictKind::Unknown => None,
    }
}

/// Engines of which there are samples, each with a name and what was printed.
fn all_samples() -> Vec<(String, String, Vec<u8>)> {
    let mut samples_of_all = Vec::new();
    for engine in std::fs::read_dir(samples()).expect("there are samples") {
        let engine = engine.expect("readable").path();
        for path in std::fs::read_dir(&engine).expect("readable") {
            let path = path.expect("readable").path();
            if path
                .extension()
                .is_some_and(|extension| extension == "jsonl")
            {
                let name = |name: Option<&std::ffi::OsStr>| {
                    name.and_then(|name| name.to_str())
                        .expect("a plain name")
                        .to_owned()
                };
                let log = std::fs::read(&path).expect("readable");
                samples_of_all.push((name(engine.file_name()), name(path.file_stem()), log));
            }
        }
    }
    samples_of_all
}

#[test]
fn every_sample_has_its_verdict() {
    let mut wrong = String::new();
    let samples = all_samples();
    assert!(samples.len() >= 35, "only {} samples", samples.len());
    for (engine, name, log) in samples {
        let read = word(reading(&engine).verdict_in(&log).kind);
        let expected = expected(&engine, &name);
        if read != expected {
            writeln!(wrong, "{engine}/{name}: {read:?}, not {expected:?}").expect("it grows");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// How a program ended, as its `index.toml` has it.
#[derive(serde::Deserialize)]
struct Ended {
    exit: toml::Value,
    stderr: String,
}

#[test]
fn only_a_conversation_that_is_not_known_is_told_as_that() {
    for (engine, name, log) in all_samples() {
        let index = samples().join(&engine).join("index.toml");
        let index = std::fs::read_to_string(index).expect("it is there");
        // As Rust writes an escape, which is none to TOML.
        let index = index.replace("\\u{1b}", "\\u001b");
        let mut index: BTreeMap<String, Ended> = toml::from_str(&index).expect("valid");
        let ended = index.remove(&name).expect("each sample is in it");
        let Some(exit) = ended.exit.as_integer() else {
            continue;
        };
        let output = String::from_utf8_lossy(&log).into_owned() + &ended.stderr;
        let exit = i32::try_from(exit).expect("a code");
        let told = built_in(&engine).knows_no_conversation(exit, &output);
        assert_eq!(told, name == "unknown_conversation", "{engine}/{name}");
    }
}

fn sample(engine: &str, name: &str) -> Vec<u8> {
    let path = samples().join(engine).join(format!("{name}.jsonl"));
    std::fs::read(path).expect("the sample is there")
}

#[test]
fn claude_tells_turns_costs_and_when_a_limit_ends() {
    let claude = reading("claude");
    let verdict = claude.verdict_in(&sample("claude", "success"));
    assert_eq!(verdict.turns, Some(1));
    assert!(verdict.cost_usd.is_some_and(|cost| cost > 0.0));
    let limited = claude.verdict_in(&sample("claude", "rate_limited"));
    let VerdictKind::RateLimited { until } = limited.kind else {
        panic!("{limited:?}");
    };
    assert!(until.is_some(), "the event before the result tells it");
    assert_eq!(limited.turns, Some(1), "the result tells it");
}

/// What an engine's log is read as that begins with a sample, with `more` at its end.
#[track_caller]
fn check_more(engine: &str, name: &str, more: &str, expected: Option<&str>) {
    let mut log = sample(engine, name);
    log.extend(more.as_bytes());
    let kind = reading(engine).verdict_in(&log).kind;
    assert_eq!(word(kind), expected, "{engine}/{name}, then {more}");
}

const REJECTED: &str = r#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1795649694}}
"#;

#[test]
fn who_was_at_work_has_said_nothing_of_its_end() {
    // A limit that was waited for, before the agent crashed.
    let works = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"Going on"}]}}"#;
    let crashed = format!("{REJECTED}{works}\n");
    assert_eq!(
        reading("claude").verdict_in(crashed.as_bytes()),
        VerdictKind::Unknown.into()
    );
    check_more("claude", "success", REJECTED, None);
    check_more("claude", "success", works, None);
    // One that was stopped in the turn after the first.
    let begins = r#"{"type":"step_start","part":{"type":"step-start"}}"#;
    check_more("opencode", "success", begins, None);
    check_more("opencode", "denied", begins, None);
    let reads = r#"{"type":"tool_use","part":{"tool":"read","state":{"output":"x"}}}"#;
    check_more("opencode", "denied", reads, None);
    let answers = r#"{"type":"message","role":"assistant","content":"Going on"}"#;
    check_more("gemini", "success", answers, None);
    check_more("codex", "success", r#"{"type":"turn.started"}"#, None);
    check_more("qwen", "success", works, None);
    // It was writing when it died.
    check_more("claude", "success", r#"{"type":"assis"#, None);
    // What is no event says nothing.
    check_more("claude", "success", "Warning: {\n}\n", Some("succeeded"));
}

#[test]
fn an_answer_about_a_refusal_is_none() {
    let said = |text: &str| {
        let result = serde_json::json!({
            "type": "result", "subtype": "success", "is_error": false, "num_turns": 2,
            "result": text, "permission_denials": [],
        });
        let verdict = reading("qwen").verdict_in(result.to_string().as_bytes());
        assert_eq!(verdict.turns, Some(2));
        word(verdict.kind)
    };
    assert_eq!(said("It printed `[API Error: 429 busy]`."), None);
    assert_eq!(said("I begin[API Error: 429 busy]"), None);
    assert_eq!(said("[API Error: 429 busy]"), Some("rate_limited"));
    assert_eq!(said("[API Error: terminated]"), Some("failed"));
    assert_eq!(said("429 is the status of a limit."), Some("succeeded"));
    let gemini = |text: &str| {
        let error = serde_json::json!({ "message": text });
        let result = serde_json::json!({ "type": "result", "status": "error", "error": error });
        word(
            reading("gemini")
                .verdict_in(result.to_string().as_bytes())
                .kind,
        )
    };
    assert_eq!(gemini("EDQUOT: disk quota exceeded, write"), Some("failed"));
    let daily = "You have exhausted your daily quota on this model.";
    assert_eq!(gemini(daily), Some("rate_limited"));
}

#[test]
fn goose_tells_of_errors_and_not_of_what_they_are() {
    let said = |log: &str| word(reading("goose").verdict_in(log.as_bytes()).kind);
    let error = r#"{"type":"error","error":"context deadline exceeded"}"#;
    let complete = r#"{"type":"complete","total_tokens":7}"#;
    assert_eq!(said(error), Some("failed"));
    assert_eq!(said(&format!("{error}\n{complete}\n")), Some("failed"));
    assert_eq!(said(complete), None, "it says so after a failure, too");
}

#[test]
fn an_id_is_learned_from_those_that_make_it() {
    let id_in = |engine: &str| {
        let (reading, log) = (reading(engine), sample(engine, "success"));
        let mut lines = log.split(|b| *b == b'\n');
        lines.find_map(|line| reading.conversation_in(line))
    };
    assert_eq!(id_in("codex").expect("it tells it").len(), 36);
    assert!(id_in("opencode").is_some_and(|id| id.starts_with("ses_")));
    assert_eq!(id_in("claude"), None, "it was given");
}

#[track_caller]
fn shown(engine: &str, name: &str) -> String {
    let (reading, log) = (reading(engine), sample(engine, name));
    let lines = log.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let shown = lines.filter_map(|line| reading.shown(line)).flatten();
    let shown = shown.map(|shown| format!("{}{}\n", shown.prefix.unwrap_or_default(), shown.text));
    shown.collect()
}

#[test]
fn people_are_shown_what_was_said() {
    insta::assert_snapshot!(shown("claude", "denied"), @r#"
    model: claude-sonnet-5
    Bash {"command":"curl http://127.0.0.1:9/","description":"Runs a command"}
    This command requires approval
    You said: the prompt of denied
    "#);
    insta::assert_snapshot!(shown("claude", "unknown_conversation"), @"error: No conversation found with session ID: 00000000-0000-4000-8000-00000000000f");
    let codex = shown("codex", "success");
    assert!(
        codex.ends_with("\nYou said: the prompt of success\n"),
        "{codex}"
    );
    let limited = shown("codex", "rate_limited");
    assert!(
        limited.contains("\nerror: You’ve hit your usage limit."),
        "{limited}"
    );
}
