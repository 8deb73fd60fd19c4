//! The world around a session is short of something: of room, of descriptors, of
//! memory, of its own files. A start succeeds wholly or is refused in one line; what
//! was acknowledged is there, and its end is recorded as soon as it can be.

mod disk;
mod limits;
mod paths;
mod removed;

use std::time::{Duration, Instant};

use monoco_tests::{Project, Ran, Signal, finish, kill};
use session_core::{Liveness, Outcome, SessionId, WaitStatus};

pub(crate) use disk::run as disk;
pub(crate) use limits::run as limits;
pub(crate) use paths::run as paths;
pub(crate) use removed::run as removed;

use crate::chance::Chance;
use crate::promise::{check_deserted, check_none_torn, manager};

/// How soon an end is recorded once nothing is in its way, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// An agent that says so much, and answers TERM with a code.
#[derive(Debug, Clone, Copy)]
struct Agent {
    said: usize,
    code: i32,
}

/// With which an agent ends that cannot write.
const CANNOT_WRITE: i32 = 99;

impl Agent {
    /// One that says little.
    fn draw(chance: &mut Chance) -> Self {
        Self {
            said: 10,
            code: 1 + chance.below(90) as i32,
        }
    }

    fn steps(self) -> String {
        format!("be deaf out:{}x1 catch:{}", self.said, self.code)
    }
}

/// The id of a session that was started in one piece; `None` when it was refused
/// properly: in one clear line, by the code that stands for it.
fn started(ran: &Ran) -> Result<Option<String>, String> {
    match (ran.code, ran.out().trim_end()) {
        (0, id) if SessionId::parse(id).is_ok() => Ok(Some(id.to_owned())),
        (125, "") if is_one_line(ran) => Ok(None),
        _ => Err(format!("neither started nor refused in one line: {ran}")),
    }
}

fn is_one_line(ran: &Ran) -> bool {
    ran.err().starts_with("monoco: ") && ran.err().lines().count() == 1
}

/// Nothing is shown alive, and nobody runs, but the sessions `ids`.
fn check_alive(project: &Project, ids: &[String]) -> Result<(), String> {
    let Some(manager) = manager(project) else {
        return if ids.is_empty() {
            Ok(())
        } else {
            Err("the project is lost".to_owned())
        };
    };
    let listing = manager.list().map_err(|error| error.to_string())?;
    check_none_torn(&listing.damaged)?;
    let is_known = |id: &str| ids.iter().any(|known| known == id);
    let alive = |seen: &&session_core::Observation| {
        !seen.shown().status().is_terminal() && !is_known(seen.session.id.as_str())
    };
    if let Some(seen) = listing.sessions.iter().find(alive) {
        return Err(format!(
            "{} was refused, and is shown {}",
            seen.session.id,
            seen.shown().status()
        ));
    }
    match ids.iter().find(|id| {
        !listing
            .sessions
            .iter()
            .any(|seen| seen.session.id.as_str() == **id)
    }) {
        Some(lost) => Err(format!("{lost} was acknowledged, and is lost")),
        None if ids.is_empty() => check_deserted(project, None),
        None => Ok(()),
    }
}

/// Asks the agent of `id` to end, past Monoco.
fn ask_to_end(project: &Project, id: &str) {
    kill(project.agent(id), Signal::TERM);
}

/// How the session ended, as soon as that is recorded.
fn recorded_end(project: &Project, id: &str, within: Duration) -> Result<Option<Outcome>, String> {
    let begun = Instant::now();
    loop {
        // Its record may be gone for a moment.
        let outcome = project
            .session(id)
            .ok()
            .and_then(|session| session.outcome().cloned());
        if outcome.is_some() || begun.elapsed() > within {
            return Ok(outcome);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The end that is recorded is the one there was.
fn check_truth(project: &Project, id: &str, agent: Agent, stopped: bool) -> Result<(), String> {
    let outcome = recorded_end(project, id, SOON)?;
    let could_say_all = project.log(id).len() >= agent.said;
    let code = if could_say_all {
        agent.code
    } else {
        CANNOT_WRITE
    };
    let is_true = match &outcome {
        Some(Outcome::Exited { code: told }) => *told == code,
        Some(Outcome::Stopped { wait_status, .. }) => {
            // It may have been killed before it could answer.
            stopped
                && match wait_status {
                    Some(WaitStatus::Exited { code: told }) => *told == code,
                    Some(WaitStatus::Signaled { signal, .. }) => *signal == 15 || *signal == 9,
                    None => false,
                }
        }
        _ => false,
    };
    if is_true {
        Ok(())
    } else {
        Err(format!(
            "{id} ended with {code}, and {outcome:?} is recorded"
        ))
    }
}

/// The world is mended: the next session runs, and nothing is found amiss.
fn check_mended(project: &Project, words: &[&str]) -> Result<(), String> {
    let demand = |args: &[&str]| {
        let ran = project.run(&[words, args].concat());
        if ran.code == 0 {
            Ok(ran)
        } else {
            Err(format!("{args:?} when all is mended: {ran}"))
        }
    };
    let ran = demand(&["run", "--", "echo", "mended"])?;
    if ran.out() != "mended\n" {
        return Err(format!("the next session: {ran}"));
    }
    demand(&["reconcile"])?;
    demand(&["doctor"])?;
    check_deserted(project, None)
}

/// Whether the session has an owner.
fn is_owned(project: &Project, id: &str) -> bool {
    let id = SessionId::parse(id).expect("an id");
    let seen = manager(project).and_then(|manager| manager.get(&id).ok());
    seen.is_some_and(|seen| seen.liveness == Liveness::Owned)
}

/// Runs `monoco run -d` of `agent` by a shell: `before` it, and redirected by `after`.
fn start_by_shell(project: &Project, before: &str, agent: Agent, after: &str) -> Ran {
    let steps = agent.steps();
    let script = format!("{before} \"$monoco\" run -d -- \"$agent\" {steps} {after}");
    finish(project.shell(&script).spawn().expect("sh can be executed"))
}
