//! The processes that are measured, and the commands that make them.

use std::process::{Command, Stdio};
use std::time::Duration;

use monoco_tests::{Project, Signal, everybody, executes, kill, monoco, wait_until};

use crate::floors::Floor;
use crate::measure::timed;

/// How long `command` takes from its start to its end, with nothing to read or to show.
///
/// # Panics
/// When it fails: what did nothing is fast.
#[track_caller]
pub(crate) fn time(mut command: Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut status = None;
    let time = timed(|| status = command.status().ok());
    assert!(
        status.is_some_and(|status| status.success()),
        "it did nothing: {command:?}"
    );
    time
}

/// All processes that execute `program`.
pub(crate) fn executing(program: &str) -> Vec<i32> {
    everybody(|pid| executes(pid, program))
}

/// Ends all agents, whoever started them, and waits until nobody watches any.
pub(crate) fn end_agents() {
    let owners = [monoco(), Floor::Supervise.path()];
    wait_until("no agent is left", || {
        // Where they are queued, the next begins when one ends.
        let agents = executing(Floor::Agent.path());
        for pid in &agents {
            kill(*pid, Signal::TERM);
        }
        agents.is_empty() && owners.iter().all(|program| executing(program).is_empty())
    });
}

/// Starts as many sessions, with an agent that sleeps.
pub(crate) fn start_sessions(project: &Project, n: usize) {
    for _ in 0..n {
        time(project.monoco(&["run", "-d", "--", Floor::Agent.path()]));
    }
}
