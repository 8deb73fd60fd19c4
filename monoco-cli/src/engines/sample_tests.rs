//! What the real programs printed (`cargo xtask agents` keeps it), read by the rules
//! that come with Monoco.

use std::fmt::Write;
use std::path::PathBuf;

use session_core::VerdictKind;

use super::*;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/agents/samples")
}

fn reading(engine: &str) -> Reading {
    let built_in = vec![(Source::BuiltIn, BUILT_IN.to_owned())];
    let engines = merged(built_in).expect("valid");
    engines[engine].reading.clone()
}

/// What each sample that is called so is to be read as; `None` where its program tells
/// no end.
fn expected(engine: &str, sample: &str) -> Option<&'static str> {
    match (engine, sample) {
        // A command that its sandbox stopped is to codex one that failed; gemini and
        // qwen tell their model, and nobody else.
        ("codex" | "gemini", "denied") => Some("succeeded"),
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

#[test]
fn every_sample_has_its_verdict() {
    let mut wrong = String::new();
    let mut n_samples = 0;
    for engine in std::fs::read_dir(samples()).expect("there are samples") {
        let engine = engine.expect("readable").path();
        let name = engine.file_name().and_then(|name| name.to_str());
        let name = name.expect("a plain name").to_owned();
        let reading = reading(&name);
        for sample in std::fs::read_dir(&engine).expect("readable") {
            let path = sample.expect("readable").path();
            if path
                .extension()
                .is_none_or(|extension| extension != "jsonl")
            {
                continue;
            }
            n_samples += 1;
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let log = std::fs::read(&path).expect("readable");
            let read = word(reading.verdict_in(&log).kind);
            let expected = expected(&name, stem.expect("a plain name"));
            if read != expected {
                writeln!(wrong, "{}: {read:?}, not {expected:?}", path.display())
                    .expect("a string grows");
            }
        }
    }
    assert!(n_samples >= 15, "only {n_samples} samples");
    assert!(wrong.is_empty(), "{wrong}");
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

#[test]
fn an_id_is_learned_from_those_that_make_it() {
    let id_in = |engine: &str| {
        let (reading, log) = (reading(engine), sample(engine, "success"));
        let mut lines = log.split(|b| *b == b'\n');
        lines.find_map(|line| reading.conversation_in(line))
    };
    assert_eq!(id_in("codex").expect("it tells it").len(), 36);
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
