//! What is promised, one function each; who does not keep it panics.

use std::time::Instant;

use session_core::Timestamp;

use super::{Model, Stage, n_heard};
use crate::ran::finish;
use crate::wait::{PATIENCE, wait_until};

/// What a verb that continues a session is given before the session's id: like `run`,
/// it returns once the agent runs.
const RESUME: [&str; 2] = ["resume", "-d"];
/// After how many sessions `recover` is killed.
const KILLED_AFTER: usize = 3;
/// When a limit ends, in seconds from now.
const LIMIT: i64 = 2 * 60 * 60;

/// How sessions are recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// By one `recover`, which is let alone.
    Once,
    /// By one that is killed in its midst, and one more.
    KilledAndAgain,
    /// By two at the same time.
    TwoAtOnce,
}

/// A headless run ends well, and its conversation goes on in another session.
///
/// # Panics
/// When it is not so.
pub fn completes_and_is_resumed(stage: &Stage, model: &dyn Model, engine: &str) {
    let (first, second) = (format!("first of {engine}"), format!("second of {engine}"));
    model.be("answers");
    let id = stage.start(engine, &first);
    let ended = stage.ended_as("succeeded", &id);
    assert_eq!(ended["engine"], engine, "{ended}");
    let conversation = stage.conversation(&id);
    let text = stage.run(&["logs", &id]).ok().out();
    assert!(text.contains("You said: "), "{text}");
    assert!(!text.contains("\"type\":\""), "not readable: {text}");
    let raw = stage.run(&["logs", "--raw", &id]).ok().out();
    assert!(raw.contains("\"type\":\""), "not the bytes: {raw}");
    stage.run(&[&RESUME[..], &[&id, &second]].concat()).ok();
    let next = stage.continuation(&id);
    let ended = stage.ended_as("succeeded", &next);
    assert_eq!(ended["conversation_id"], conversation, "{ended}");
    assert!(
        n_heard(model, &[&first, &second]) > 0,
        "not one conversation"
    );
    for request in model.heard() {
        let replayed = request.iter().filter(|prompt| prompt.contains(&first));
        assert!(replayed.count() <= 1, "replayed: {request:?}");
    }
}

/// A limit is told, though the exit code may be that of a success.
///
/// # Panics
/// When it is not; or, of an engine that `tells` when the limit ends, not that.
pub fn is_rate_limited(stage: &Stage, model: &dyn Model, engine: &str, tells: bool) {
    let until = Timestamp::now().as_second() + LIMIT;
    model.be(&format!("rate-limited {until}"));
    let id = stage.start(engine, &format!("limited of {engine}"));
    let verdict = stage.ended_as("rate_limited", &id)["verdict"].clone();
    let told = verdict["until"].as_str().map(|told| {
        let told = Timestamp::parse(told).expect("a time");
        told.as_second()
    });
    assert!(!tells || told == Some(until), "{verdict}");
}

/// Of two that continue one conversation at once, one does, and the other says who.
///
/// # Panics
/// When it is not so.
pub fn is_resumed_by_one(stage: &Stage, model: &dyn Model, engine: &str) {
    model.be("answers");
    let id = stage.start(engine, &format!("contested of {engine}"));
    stage.ended_as("succeeded", &id);
    model.be("hangs");
    let both = ["one", "two"].map(|prompt| {
        let words = [&RESUME[..], &[&id, prompt]].concat();
        stage.spawn(&words)
    });
    let (mut started, mut refused): (Vec<_>, Vec<_>) =
        both.map(finish).into_iter().partition(|ran| ran.code == 0);
    let (Some(_), Some(refused)) = (started.pop(), refused.pop()) else {
        panic!(
            "both were {}",
            if started.is_empty() {
                "refused"
            } else {
                "started"
            }
        );
    };
    let living = stage.project().ids(&["--status", "running"]);
    assert_eq!(living.len(), 1, "one lives: {living:?}");
    let holder = stage.continuations().remove(&id).unwrap_or_default();
    assert!(holder.contains(&living[0]), "it lives: {holder:?}");
    assert!(
        refused.err().contains(&living[0]),
        "it is not told who holds it: {refused}"
    );
    stage.run(&["kill", &living[0]]).ok();
}

/// Sessions of `engines` that were in the midst of an answer when the power went all go
/// on, each once.
///
/// # Panics
/// When it is not so.
pub fn recovers(stage: &Stage, model: &dyn Model, engines: &[&str], how: Recovery) {
    model.be("hangs");
    let prompt = |n: usize| format!("work {n} of {how:?};");
    // One after the other: a real agent wants a second of a processor until it asks.
    let begin = |(n, engine): (usize, &&str)| {
        let id = stage.start(engine, &prompt(n));
        wait_until("the model is asked", || n_heard(model, &[&prompt(n)]) > 0);
        let conversation = stage.conversation(&id);
        wait_until("the agent writes it down", || {
            stage.is_written_down(engine, &conversation)
        });
        id
    };
    let begun: Vec<String> = engines.iter().enumerate().map(begin).collect();
    let conversations: Vec<String> = begun.iter().map(|id| stage.conversation(id)).collect();
    stage.lose_power();
    model.be("answers");
    let before = model.heard().len();
    check_planned(stage, &begun);
    recover(stage, how);
    for (id, conversation) in begun.iter().zip(&conversations) {
        let next = stage.continuation(id);
        let ended = stage.ended_as("succeeded", &next);
        assert_eq!(ended["conversation_id"], conversation.as_str(), "{ended}");
    }
    check_heard_once(&model.heard()[before..], engines.len(), &prompt);
    let settled = stage.run(&["recover", "--yes"]).ok();
    assert_eq!(
        stage.continuations().len(),
        begun.len(),
        "there was more: {settled}"
    );
}

/// What is planned is shown, and not done.
fn check_planned(stage: &Stage, begun: &[String]) {
    let planned = stage.run(&["recover"]).ok();
    let shown = planned.out() + &planned.err();
    for id in begun {
        assert!(
            shown.contains(id.as_str()),
            "{id} is not planned: {planned}"
        );
    }
    assert!(stage.continuations().is_empty(), "it was done: {planned}");
}

fn recover(stage: &Stage, how: Recovery) {
    let words = ["recover", "--yes"];
    match how {
        Recovery::Once => drop(stage.run(&words).ok()),
        Recovery::KilledAndAgain => {
            let mut first = stage.spawn(&words);
            let begun = Instant::now();
            while stage.continuations().len() < KILLED_AFTER {
                assert!(begun.elapsed() < PATIENCE, "three are not continued");
            }
            first.kill().expect("it is ours");
            first.wait().expect("it is ours");
            stage.run(&words).ok();
        }
        Recovery::TwoAtOnce => {
            let both = [stage.spawn(&words), stage.spawn(&words)];
            for ran in both.map(finish) {
                drop(ran.ok());
            }
        }
    }
}

/// A conversation that is continued is one request, whose first prompt is the first.
fn check_heard_once(heard: &[Vec<String>], n: usize, prompt: &dyn Fn(usize) -> String) {
    for n in 0..n {
        let first = prompt(n);
        let said = |request: &&Vec<String>| {
            let times = request.iter().filter(|text| text.contains(&first)).count();
            assert!(times <= 1, "replayed: {request:?}");
            times == 1
        };
        let times = heard.iter().filter(said).count();
        assert_eq!(times, 1, "`{first}` was continued {times} times");
    }
}
