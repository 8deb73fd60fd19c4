//! Who plays: an agent, its company, and what is done to it; and what may be told
//! of its end, by rules that know nothing of how Monoco works.

use session_core::{Outcome, WaitStatus};

use crate::chance::Chance;

const KILL: i32 = 9;
const TERM: i32 = 15;
/// A grace period that is long enough for any answer.
const AMPLE: u64 = 2000;

/// How the agent's first process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// When it is killed.
    Sleep,
    /// When it is killed; TERM does nothing to it.
    Deaf,
    /// On TERM, with this code.
    Catch(i32),
    /// By itself, after so many ms.
    Exit(i32, u64),
    /// By itself, by this signal.
    Raise(i32),
}

/// Whom it leaves behind, or has beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Companion {
    Daemon,
    DeafDaemon,
    Member,
    DeafMember,
    Tree,
    Hopper,
    Spinner,
}

impl Companion {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::DeafDaemon => "deaf-daemon",
            Self::Member => "member",
            Self::DeafMember => "deaf-member",
            Self::Tree => "tree",
            Self::Hopper => "hop",
            Self::Spinner => "spin",
        }
    }

    pub(super) fn is_deaf(self) -> bool {
        matches!(self, Self::DeafDaemon | Self::DeafMember)
    }

    /// Whether it does nothing at all once it is there.
    pub(super) fn is_quiet(self) -> bool {
        !matches!(self, Self::Hopper | Self::Spinner)
    }
}

/// What is done to the session, or to its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Nothing: the agent ends by itself.
    Nothing,
    /// `stop -t`, with so many ms.
    Stop(u64),
    /// `stop`, while the agent ends by itself.
    StopInFlight(u64),
    /// `stop -t 1h`, and `kill` while that waits.
    StopThenKill,
    Kill,
    /// `kill -s`, to an agent that does nothing about it.
    Signal(i32),
    /// KILL to its first process, past Monoco.
    KillPastMonoco,
    /// Its time is up.
    Timeout,
    /// INT to the launcher in the foreground.
    CtrlC,
}

/// Whether it is suspended before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frozen {
    Never,
    Thawed,
    Still,
}

#[derive(Debug)]
pub(super) struct Cast {
    pub(super) end: End,
    pub(super) companions: Vec<Companion>,
    /// The agent lets go of its output.
    pub(super) mute: bool,
    pub(super) deed: Deed,
    pub(super) frozen: Frozen,
    pub(super) foreground: bool,
    pub(super) leave_children: bool,
    /// Somebody follows its output.
    pub(super) followed: bool,
}

const COMPANIONS: [Companion; 7] = [
    Companion::Daemon,
    Companion::DeafDaemon,
    Companion::Member,
    Companion::DeafMember,
    Companion::Tree,
    Companion::Hopper,
    Companion::Spinner,
];

impl Cast {
    pub(super) fn draw(chance: &mut Chance) -> Self {
        let deed = deed(chance);
        let end = end(deed, chance);
        let mut companions = Vec::new();
        for _ in 0..chance.below(4) {
            let companion = *chance.pick(&COMPANIONS);
            if !companions.contains(&companion) {
                companions.push(companion);
            }
        }
        let frozen = match (end, deed, chance.below(4)) {
            // What ends by itself may have ended before, and who is stopped gets no signal.
            (End::Exit(..) | End::Raise(_), _, _) => Frozen::Never,
            (_, Deed::Signal(_) | Deed::Timeout, 0 | 1) | (_, _, 1) => Frozen::Thawed,
            (_, _, 0) => Frozen::Still,
            _ => Frozen::Never,
        };
        // Whoever hops is in no list long enough to be seen there, or to be ended by us.
        let can_be_left = !companions.contains(&Companion::Hopper);
        Self {
            end,
            companions,
            mute: chance.below(4) == 0,
            deed,
            frozen,
            foreground: deed == Deed::CtrlC || chance.below(3) == 0,
            // Which was first, the end or the stop, nobody knows who asks for the left.
            leave_children: !matches!(deed, Deed::StopInFlight(_))
                && can_be_left
                && chance.below(8) == 0,
            followed: chance.below(2) == 0,
        }
    }

    /// The agent's steps; with `ready` it tells that it has come so far.
    pub(super) fn steps(&self, ready: &str) -> Vec<String> {
        let mut steps: Vec<String> = vec!["out:100x1".to_owned()];
        if matches!(self.end, End::Deaf | End::Catch(_)) {
            steps.push("deaf".to_owned());
        }
        steps.extend(self.companions.iter().map(|it| it.word().to_owned()));
        if self.mute {
            steps.push("mute".to_owned());
        }
        steps.push(format!("ready:{ready}"));
        match self.end {
            End::Sleep | End::Deaf => steps.push("sleep".to_owned()),
            End::Catch(code) => steps.push(format!("catch:{code}")),
            End::Exit(code, ms) => steps.extend([format!("pause:{ms}"), format!("exit:{code}")]),
            End::Raise(signal) => steps.push(format!("raise:{signal}")),
        }
        steps
    }

    /// Whether somebody may live on for long who does not heed TERM.
    pub(super) fn leaves_the_deaf(&self) -> bool {
        self.companions.iter().any(|companion| companion.is_deaf())
    }

    /// Whether what the agent leaves is not to be touched.
    pub(super) fn leaves_children(&self) -> bool {
        let is_stopped = !matches!(
            self.deed,
            Deed::Nothing | Deed::Signal(_) | Deed::KillPastMonoco
        );
        self.leave_children && !is_stopped
    }

    /// Whether the session may have ended so.
    pub(super) fn allows(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Exited { .. } | Outcome::Signaled { .. } => {
                let is_its_own = matches!(
                    self.deed,
                    Deed::Nothing | Deed::StopInFlight(_) | Deed::KillPastMonoco
                );
                is_its_own && status(outcome).is_some_and(|status| self.allows_own(status))
            }
            Outcome::Stopped { by, wait_status } => {
                let is_stopped = !matches!(
                    self.deed,
                    Deed::Nothing | Deed::KillPastMonoco | Deed::Timeout
                );
                is_stopped && by == "cli" && wait_status.is_some_and(|it| self.allows_forced(it))
            }
            Outcome::TimedOut {
                after_seconds: 1,
                wait_status,
            } => self.deed == Deed::Timeout && wait_status.is_some_and(|it| self.allows_forced(it)),
            _ => false,
        }
    }

    /// How it may end without Monoco.
    fn allows_own(&self, status: WaitStatus) -> bool {
        match (self.deed, self.end, status) {
            (Deed::KillPastMonoco, _, WaitStatus::Signaled { signal, .. }) => signal == KILL,
            (_, End::Exit(code, _), WaitStatus::Exited { code: told }) => code == told,
            (_, End::Raise(raised), WaitStatus::Signaled { signal, .. }) => raised == signal,
            _ => false,
        }
    }

    /// How its first process may end when it is stopped.
    fn allows_forced(&self, status: WaitStatus) -> bool {
        let killed = match self.deed {
            Deed::Stop(grace) | Deed::StopInFlight(grace) => grace < AMPLE,
            Deed::Kill | Deed::StopThenKill | Deed::CtrlC | Deed::Timeout => true,
            _ => false,
        };
        match (status, self.deed) {
            (WaitStatus::Signaled { signal: KILL, .. }, _) if killed => true,
            (WaitStatus::Signaled { signal: KILL, .. }, _) => self.end == End::Deaf,
            // KILL alone, and nothing else before it.
            (_, Deed::Kill | Deed::Stop(0)) => false,
            (WaitStatus::Signaled { signal, .. }, Deed::Signal(sent)) => signal == sent,
            (WaitStatus::Signaled { signal, .. }, _) => {
                signal == TERM && matches!(self.end, End::Sleep | End::Exit(..))
            }
            (WaitStatus::Exited { code }, _) => match self.end {
                End::Catch(own) | End::Exit(own, _) => code == own,
                _ => false,
            },
        }
    }
}

fn deed(chance: &mut Chance) -> Deed {
    match chance.below(24) {
        0..5 => Deed::Nothing,
        5..10 => Deed::Stop(*chance.pick(&[0, 50, 300, 5000])),
        10..13 => Deed::StopInFlight(chance.below(8)),
        13 | 14 => Deed::StopThenKill,
        15 | 16 => Deed::Kill,
        // HUP, INT, USR1, USR2, ALRM, TERM.
        17 | 18 => Deed::Signal(*chance.pick(&[1, 2, 10, 12, 14, 15])),
        19 | 20 => Deed::KillPastMonoco,
        21 => Deed::Timeout,
        _ => Deed::CtrlC,
    }
}

fn end(deed: Deed, chance: &mut Chance) -> End {
    let code = match chance.below(4) {
        0 => 0,
        1 => *chance.pick(&[1, 2, 124, 125, 126, 127, 143]),
        _ => i32::try_from(chance.below(256)).expect("a byte"),
    };
    match (deed, chance.below(3)) {
        (Deed::Nothing, 0) => End::Raise(*chance.pick(&[1, 2, 3, 6, 8, 9, 10, 11, 13, 14, 15])),
        (Deed::Nothing, _) => End::Exit(code, chance.below(20)),
        (Deed::StopInFlight(_), _) => End::Exit(code, chance.below(8)),
        // One that does nothing about it.
        (Deed::Signal(_), _) | (_, 0) => End::Sleep,
        (_, 1) => End::Deaf,
        _ => End::Catch(code),
    }
}

/// How the first process ended, where nobody forced it.
fn status(outcome: &Outcome) -> Option<WaitStatus> {
    match *outcome {
        Outcome::Exited { code } => Some(WaitStatus::Exited { code }),
        Outcome::Signaled {
            signal,
            core_dumped,
        } => Some(WaitStatus::Signaled {
            signal,
            core_dumped,
        }),
        _ => None,
    }
}
