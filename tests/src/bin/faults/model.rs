//! What may be true of a session, from what was done to it. It knows nothing of
//! how Monoco works.

use session_core::{LostCause, Outcome, Session, SpawnFailure, Status, WaitStatus};

/// What the agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Sleep,
    Exit(i32),
    /// Answers TERM with this code.
    CatchTerm(i32),
}

impl Verb {
    pub(crate) fn words(self) -> Vec<String> {
        match self {
            Self::Sleep => vec!["sleep".to_owned()],
            Self::Exit(code) => vec!["exit".to_owned(), code.to_string()],
            Self::CatchTerm(code) => vec!["catch-term".to_owned(), code.to_string()],
        }
    }
}

/// All that was done to one session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deeds {
    pub(crate) verb: Verb,
    pub(crate) killed_launcher: bool,
    pub(crate) killed_supervisor: bool,
    pub(crate) killed_agent: bool,
    /// Whether `monoco stop` was asked for it, or `monoco kill`.
    pub(crate) stopped: bool,
}

const KILL: i32 = 9;
const TERM: i32 = 15;

impl Deeds {
    /// Whether the session, which has ended, may have ended so.
    pub(crate) fn allow(&self, session: &Session) -> Result<(), String> {
        let Some(outcome) = session.outcome() else {
            return Err(format!("it is {} without an outcome", session.status()));
        };
        let status = Status::of(outcome);
        if status != session.status() {
            return Err(format!("{} beside {outcome:?}", session.status()));
        }
        let allowed = match outcome {
            Outcome::Exited { code } => self.verb == Verb::Exit(*code),
            // A gate whose supervisor died kills itself.
            Outcome::Signaled { signal, .. } => {
                *signal == KILL && (self.killed_agent || self.killed_supervisor)
            }
            Outcome::Stopped { wait_status, .. } => {
                // How an orphan ended, the kernel may not tell.
                let allowed = wait_status.map(|status| self.allows_end(status));
                self.stopped && allowed.unwrap_or(self.killed_supervisor)
            }
            Outcome::Lost { cause } => *cause == LostCause::OwnerDied && self.killed_supervisor,
            Outcome::SpawnFailed { reason: None, .. } => {
                self.killed_launcher || self.killed_supervisor || self.killed_agent
            }
            _ => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(format!("{outcome:?} was invented: {self:?}"))
        }
    }

    /// How the agent's first process may have ended when it was stopped.
    fn allows_end(&self, status: WaitStatus) -> bool {
        match status {
            WaitStatus::Exited { code } => {
                self.verb == Verb::CatchTerm(code) || self.verb == Verb::Exit(code)
            }
            // Before it catches TERM, TERM ends it; what does not end is killed.
            WaitStatus::Signaled { signal, .. } => signal == TERM || signal == KILL,
        }
    }
}

/// The exit code that `wait` must tell of a session that has ended so.
pub(crate) fn exit_code(outcome: &Outcome) -> i32 {
    let of_wait = |status: &WaitStatus| match status {
        WaitStatus::Exited { code } => *code,
        WaitStatus::Signaled { signal, .. } => 128 + signal,
    };
    match outcome {
        Outcome::Exited { code } => *code,
        Outcome::Signaled { signal, .. } => 128 + signal,
        Outcome::TimedOut { .. } => 124,
        // Never 0 for what was stopped.
        Outcome::Stopped { wait_status, .. } => match wait_status.as_ref().map(of_wait) {
            None | Some(0) => 143,
            Some(code) => code,
        },
        Outcome::SpawnFailed { reason, .. } => match reason {
            Some(SpawnFailure::NotFound) => 127,
            Some(SpawnFailure::NotExecutable) => 126,
            None => 125,
        },
        Outcome::Lost { .. } => 125,
    }
}
