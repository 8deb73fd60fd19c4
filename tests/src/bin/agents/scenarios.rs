//! What is promised of sessions of engines, with the real agents that are in `PATH`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use monoco_tests::continued::{
    Recovery, Stage, completes_and_is_resumed, is_rate_limited, is_resumed_by_one, recovers,
};
use tempfile::TempDir;

use crate::real::{REAL, set_up};
use crate::stand_in::{Mood, StandIn};

/// How many agents at least are to do a headless run each.
const AT_LEAST: usize = 3;
/// Those that keep a conversation from its first prompt on, so that it is there after a
/// loss of power in the midst of their first answer. Gemini (0.61) does not; qwen does,
/// but asks the model twice for each prompt.
const KEEP: [&str; 3] = ["claude", "codex", "opencode"];
/// How many sessions are in the midst of an answer then.
const MANY: usize = 10;
/// Those that end at a limit, and whether they tell when it ends. The others wait.
const LIMITED: [(&str, bool); 3] = [("claude", true), ("codex", false), ("gemini", false)];

type Scenario<'a> = Box<dyn Fn(&Stage, &StandIn) + 'a>;

/// Runs all scenarios of `wanted` agents (none: all).
pub(crate) fn run(wanted: &[String]) -> Result<(), String> {
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    let (here, absent): (Vec<_>, Vec<_>) = REAL
        .iter()
        .filter(|real| is_wanted(real.name))
        .partition(|real| real.program().is_some());
    for real in &absent {
        println!("SKIPPED: {} is not in PATH", real.name);
    }
    let here: Vec<&str> = here.iter().map(|real| real.name).collect();
    if wanted.is_empty() && here.len() < AT_LEAST {
        return Err(format!("{AT_LEAST} agents are needed; here are {here:?}"));
    }
    let mut failed = Vec::new();
    for (name, scenario) in scenarios(&here) {
        let kept = play(&*scenario);
        println!("{name} ... {}", if kept { "ok" } else { "FAILED" });
        if !kept {
            failed.push(name);
        }
    }
    match failed.as_slice() {
        [] => Ok(()),
        failed => Err(format!("{} failed: {}", failed.len(), failed.join("; "))),
    }
}

fn scenarios<'a>(here: &[&'a str]) -> Vec<(String, Scenario<'a>)> {
    let mut all = Vec::<(String, Scenario<'a>)>::new();
    for name in here.iter().copied() {
        all.push((
            format!("{name} completes a run and is resumed"),
            Box::new(move |stage, model| completes_and_is_resumed(stage, model, name)),
        ));
    }
    for (name, tells) in LIMITED.into_iter().filter(|(name, _)| here.contains(name)) {
        all.push((
            format!("{name} is rate limited"),
            Box::new(move |stage, model| is_rate_limited(stage, model, name, tells)),
        ));
    }
    let keep: Vec<&str> = KEEP
        .into_iter()
        .filter(|name| here.contains(name))
        .collect();
    for name in keep.clone() {
        all.push((
            format!("{name} is resumed by one of two"),
            Box::new(move |stage, model| is_resumed_by_one(stage, model, name)),
        ));
    }
    if !keep.is_empty() {
        let many: Vec<&str> = keep.iter().copied().cycle().take(MANY).collect();
        for how in [
            Recovery::Once,
            Recovery::KilledAndAgain,
            Recovery::TwoAtOnce,
        ] {
            let many = many.clone();
            all.push((
                format!("{MANY} of {} recover, {how:?}", keep.join(" and ")),
                Box::new(move |stage, model| recovers(stage, model, &many, how)),
            ));
        }
    }
    all
}

/// Whether a scenario holds, in a home and a project of its own.
fn play(scenario: &dyn Fn(&Stage, &StandIn)) -> bool {
    let home = TempDir::new().expect("a temporary directory");
    let stand_in = StandIn::start(Mood::Answers).expect("a free port");
    let env = set_up(home.path(), &stand_in.url()).expect("room for settings");
    let env = env
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let stage = Stage::new(env.collect());
    catch_unwind(AssertUnwindSafe(|| scenario(&stage, &stand_in))).is_ok()
}
