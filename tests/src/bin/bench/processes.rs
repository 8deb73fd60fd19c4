//! The processes that are measured, and the commands that make them.

use std::process::{Command, Stdio};
use std::sync::LazyLock;
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

/// The same program in one static file, where it could be built.
pub(crate) fn linked() -> Option<&'static str> {
    static PATH: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("MONOCO_STATIC").ok());
    PATH.as_deref()
}

/// All processes that execute `program`.
pub(crate) fn executing(program: &str) -> Vec<i32> {
    everybody(|pid| executes(pid, program))
}

/// Ends all agents, whoever started them, and waits until nobody watches any.
pub(crate) fn end_agents() {
    let owners = [Some(monoco()), linked(), Some(Floor::Supervise.path())];
    wait_until("no agent is left", || {
        // Where they are queued, the next begins when one ends.
        let agents = executing(Floor::Agent.path());
        for pid in &agents {
            kill(*pid, Signal::TERM);
        }
        agents.is_empty()
            && owners
                .iter()
                .flatten()
                .all(|program| executing(program).is_empty())
    });
}

/// A detached start of an agent with these arguments, by `program`.
pub(crate) fn start_by(program: &str, project: &Project, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["run", "-d", "--", Floor::Agent.path()]);
    command.args(arguments);
    project.at_home(command)
}

/// Starts as many sessions, with an agent that sleeps.
pub(crate) fn start_sessions(project: &Project, n: usize) {
    start_sessions_by(monoco(), project, n);
}

pub(crate) fn start_sessions_by(program: &str, project: &Project, n: usize) {
    for _ in 0..n {
        time(start_by(program, project, &[]));
    }
}
