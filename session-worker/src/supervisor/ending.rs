//! Ending an agent's tree, step by step between events: TERM and CONT to
//! everybody, KILL when the grace period is over, again until nothing is left.

use std::time::{Duration, Instant};

use session_core::process::{Tree, TreeError};
use session_core::{Outcome, WaitStatus};

use super::server::Ticket;
use crate::process_worker::ProcessWorker;

/// The pause between two KILLs; it doubles up to the longest.
const KILL_AGAIN: Duration = Duration::from_millis(20);
const KILL_PAUSE_MAX: Duration = Duration::from_secs(5);
/// The pause from which on those who wait are told that the tree cannot be looked through.
const REFUSE_AFTER: Duration = Duration::from_secs(1);
/// How often a tree whose deaths nobody reports is looked through.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Why a tree is being ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody asked for it.
    Stopped { by: String },
    /// The time was up.
    TimedOut { after: Duration },
    /// The agent ended by itself and left these running.
    Leftovers,
}

impl Cause {
    /// How a session ends for this cause, whose agent's process ended so.
    pub(super) fn outcome(&self, wait_status: Option<WaitStatus>) -> Option<Outcome> {
        match self {
            Self::Stopped { by } => Some(Outcome::Stopped {
                by: by.clone(),
                wait_status,
            }),
            Self::TimedOut { after } => Some(Outcome::TimedOut {
                after_seconds: after.as_secs(),
                wait_status,
            }),
            Self::Leftovers => None,
        }
    }
}

/// A tree on its way to its end.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) cause: Cause,
    /// Who wants to know when it is over.
    pub(super) askers: Vec<Ticket>,
    /// Whether somebody could not be looked for, and so was not asked.
    must_ask: bool,
    kill_at: Instant,
    pause: Duration,
    look_at: Option<Instant>,
    over: bool,
}

/// How far it has come.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing is left.
    Over,
    /// There is somebody left.
    Goes,
    /// There is somebody left whom we may not signal.
    Refused(TreeError),
}

impl Ending {
    /// Asks everybody to end. Who is given no time is not asked: a kill is KILL alone.
    pub(super) fn begin(cause: Cause, grace: Duration, worker: &ProcessWorker) -> Self {
        let now = Instant::now();
        let kill_at = now
            .checked_add(grace)
            .unwrap_or(now + Duration::from_secs(86_400 * 365));
        Self {
            cause,
            askers: Vec::new(),
            must_ask: !grace.is_zero() && could_not_ask(worker),
            kill_at,
            pause: KILL_AGAIN,
            look_at: None,
            over: false,
        }
    }

    /// No later than `grace` from now.
    pub(super) fn hurry(&mut self, grace: Duration) {
        if let Some(sooner) = Instant::now().checked_add(grace) {
            self.kill_at = self.kill_at.min(sooner);
        }
    }

    /// When [`turn`](Self::turn) is due even if nobody dies.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.over {
            true => None,
            false => Some(self.look_at.map_or(self.kill_at, |at| at.min(self.kill_at))),
        }
    }

    /// Looks at what is left, and kills it when its time has come.
    pub(super) fn turn(&mut self, worker: &mut ProcessWorker) -> Progress {
        let now = Instant::now();
        let ended = matches!(worker.ended(), Ok(Some(_)));
        let Ok(tree) = worker.tree() else {
            return Progress::Over;
        };
        let left = tree.pids();
        self.must_ask = self.must_ask && now < self.kill_at && could_not_ask(worker);
        let must_look = self.must_ask || left.is_err() || !worker.hears_of_deaths();
        self.look_at = must_look.then(|| now + LOOK_AGAIN);
        self.over = ended && matches!(&left, Ok(pids) if pids.is_empty());
        if self.over {
            return Progress::Over;
        }
        if now < self.kill_at {
            return Progress::Goes;
        }
        self.kill_at = now + self.pause;
        self.pause = (self.pause * 2).min(KILL_PAUSE_MAX);
        match tree.signal(libc::SIGKILL) {
            Err(error @ TreeError::Signal(_)) => Progress::Refused(error),
            Err(error) if self.pause >= REFUSE_AFTER => Progress::Refused(error),
            // What cannot be looked through now is tried again with the next KILL.
            Ok(_) | Err(_) => Progress::Goes,
        }
    }
}

/// Asks everybody to end; tells whether somebody could not be looked for. A refusal
/// shows again with KILL, and is reported then.
fn could_not_ask(worker: &ProcessWorker) -> bool {
    let asked = worker.tree().map(Tree::ask_to_end);
    matches!(asked, Ok(Err(TreeError::Look(_))))
}
