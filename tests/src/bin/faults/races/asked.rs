//! What may become of a session that several people drive at once, from what its
//! agent does and what was asked. It knows nothing of how Monoco works.

use monoco_tests::Ran;
use session_core::{Outcome, Session, Status, WaitStatus};

use crate::chance::Chance;

/// What the agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    Sleep,
    /// Exits by itself after so many milliseconds.
    ExitAfter(u64, i32),
    /// Answers TERM with this code.
    CatchTerm(i32),
    IgnoreTerm,
    /// Has children, in sessions of their own as well.
    Tree,
}

impl Behaviour {
    pub(super) fn draw(chance: &mut Chance) -> Self {
        let code = i32::try_from(chance.below(100)).expect("two digits");
        match chance.below(8) {
            0 => Self::Sleep,
            1 => Self::CatchTerm(code),
            2 => Self::IgnoreTerm,
            3 => Self::Tree,
            _ => Self::ExitAfter(chance.below(60), code),
        }
    }

    /// In seconds: longer than it takes to answer TERM, if it ever does.
    pub(super) fn grace(self) -> u64 {
        match self {
            Self::IgnoreTerm => 1,
            _ => 8,
        }
    }

    pub(super) fn words(self) -> Vec<String> {
        let words = match self {
            Self::Sleep => "sleep".to_owned(),
            Self::ExitAfter(pause, code) => format!("exit-after {pause} {code}"),
            Self::CatchTerm(code) => format!("catch-term {code}"),
            Self::IgnoreTerm => "ignore-term".to_owned(),
            Self::Tree => "fork-tree 1 2".to_owned(),
        };
        words.split(' ').map(str::to_owned).collect()
    }
}

/// What somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// With a grace period of so many seconds.
    Stop(u64),
    Kill,
    Signal(i32),
    Suspend,
    Resume,
}

const TERM: i32 = 15;
const KILL: i32 = 9;
/// Those that end an agent that does not care for them.
const DEADLY: [i32; 5] = [1, 2, 10, 12, TERM];

impl Act {
    pub(super) fn draw(chance: &mut Chance, behaviour: Behaviour) -> Self {
        match chance.below(12) {
            0 => Self::Stop(0),
            1 => Self::Stop(behaviour.grace()),
            2 => Self::Kill,
            3..=5 => Self::Signal(*chance.pick(&DEADLY)),
            6..=8 => Self::Suspend,
            _ => Self::Resume,
        }
    }

    pub(super) fn draw_harmless(chance: &mut Chance) -> Self {
        *chance.pick(&[Self::Suspend, Self::Resume])
    }

    pub(super) fn words(self, id: &str) -> Vec<String> {
        let words = match self {
            Self::Stop(grace) => format!("stop -t {grace} {id}"),
            Self::Kill => format!("kill {id}"),
            Self::Signal(signal) => format!("kill -s {signal} {id}"),
            Self::Suspend => format!("suspend {id}"),
            Self::Resume => format!("resume {id}"),
        };
        words.split(' ').map(str::to_owned).collect()
    }

    fn ends(self) -> bool {
        matches!(self, Self::Stop(_) | Self::Kill | Self::Signal(_))
    }
}

/// What somebody was told who asked.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) act: Act,
    pub(super) ran: Ran,
    /// What the record said right after it.
    pub(super) status: Status,
}

/// All that was done to one session.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) behaviour: Behaviour,
    pub(super) acts: Vec<Act>,
    /// Whether its owner slept for longer than anybody waits.
    pub(super) slept_long: bool,
}

impl Asked {
    /// Whether the session can have ended by now.
    pub(super) fn can_have_ended(&self) -> bool {
        let by_itself = matches!(self.behaviour, Behaviour::ExitAfter(..));
        by_itself || self.acts.iter().any(|act| act.ends())
    }

    /// Whether somebody may have been told that.
    pub(super) fn allow_answer(&self, answer: &Answer) -> Result<(), String> {
        let Answer { act, ran, status } = answer;
        let err = ran.err();
        let wrong = |why: &str| {
            Err(format!(
                "{act:?} {why}: exit {} {}",
                ran.code,
                err.trim_end()
            ))
        };
        if self.slept_long && ran.code == 125 && err.contains("does not answer") {
            return Ok(());
        }
        match (ran.code, act) {
            (0, Act::Stop(_) | Act::Kill) if !status.is_terminal() => {
                wrong("was done, and the session has not ended")
            }
            (0, _) => Ok(()),
            (_, Act::Stop(_)) => wrong("was refused, which it never is"),
            (125, _) if !self.can_have_ended() => {
                wrong("was refused, and nothing could have ended it")
            }
            (125, _) if err.contains("has ended") && !status.is_terminal() => {
                wrong("was told of an end that no record knew")
            }
            (125, _) => Ok(()),
            _ => wrong("failed oddly"),
        }
    }

    /// Whether the session, which was stopped at last, may have ended so.
    pub(super) fn allow_end(&self, session: &Session) -> Result<(), String> {
        let outcome = session.outcome().ok_or("it ended without an outcome")?;
        let allowed = session.status() == Status::of(outcome)
            && match outcome {
                Outcome::Exited { code } => self.exits_with(*code),
                Outcome::Stopped { by, wait_status } => {
                    by == "cli" && wait_status.is_some_and(|status| self.allows_stop(status))
                }
                // Every signal came through monoco, and the owner lived.
                _ => false,
            };
        if allowed {
            Ok(())
        } else {
            Err(format!(
                "{} {outcome:?} was made up: {self:?}",
                session.status()
            ))
        }
    }

    fn exits_with(&self, code: i32) -> bool {
        matches!(self.behaviour, Behaviour::ExitAfter(_, own) if own == code)
    }

    /// How the agent's first process may have ended when it was asked to, or made to.
    fn allows_stop(&self, status: WaitStatus) -> bool {
        match status {
            WaitStatus::Exited { code } => {
                self.exits_with(code) || self.behaviour == Behaviour::CatchTerm(code)
            }
            // Whoever is given no time is killed, also who would not listen.
            WaitStatus::Signaled { signal: KILL, .. } => {
                let impatient = |act: &Act| matches!(act, Act::Stop(0) | Act::Kill);
                self.behaviour == Behaviour::IgnoreTerm || self.acts.iter().any(impatient)
            }
            WaitStatus::Signaled { signal: TERM, .. } => !matches!(
                self.behaviour,
                Behaviour::CatchTerm(_) | Behaviour::IgnoreTerm
            ),
            WaitStatus::Signaled { signal, .. } => self.acts.contains(&Act::Signal(signal)),
        }
    }
}
