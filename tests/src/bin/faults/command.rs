//! Commands that are given to a session while things go wrong, and what an answer to
//! each promises.

use monoco_tests::{Project, Ran, is_stopped};
use session_core::{Liveness, SessionId, Status};

use crate::chance::Chance;
use crate::promise::{known, manager};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Stop,
    StopAtOnce,
    Kill,
    Suspend,
    Resume,
    Adopt,
    Remove,
    Wait,
}

const COMMANDS: [Command; 8] = [
    Command::Stop,
    Command::StopAtOnce,
    Command::Kill,
    Command::Suspend,
    Command::Resume,
    Command::Adopt,
    Command::Remove,
    Command::Wait,
];

impl Command {
    /// An orphan is adopted as often as all else is done to it.
    pub(crate) fn draw(is_orphan: bool, chance: &mut Chance) -> Self {
        match is_orphan && chance.one_in(2) {
            true => Self::Adopt,
            false => *chance.pick(&COMMANDS),
        }
    }

    pub(crate) fn words(self, id: &SessionId) -> Vec<&str> {
        let id = id.as_str();
        match self {
            Self::Stop => vec!["stop", "-t", "5", id],
            Self::StopAtOnce => vec!["stop", "-t", "0", id],
            Self::Kill => vec!["kill", id],
            Self::Suspend => vec!["suspend", id],
            Self::Resume => vec!["resume", id],
            Self::Adopt => vec!["adopt", id],
            Self::Remove => vec!["rm", "-f", id],
            Self::Wait => vec!["wait", id],
        }
    }

    /// Whether it ends the session.
    pub(crate) fn ends(self) -> bool {
        matches!(
            self,
            Self::Stop | Self::StopAtOnce | Self::Kill | Self::Remove
        )
    }

    /// Whether what it says may be undone by whoever was asked before, and died.
    fn is_final(self) -> bool {
        self.ends() || self == Self::Wait
    }

    /// What its answer says is so. `alone`: nobody else gives commands.
    pub(crate) fn check(
        self,
        project: &Project,
        id: &SessionId,
        ran: &Ran,
        alone: bool,
    ) -> Result<(), String> {
        if ran.code == 125 && ran.err().lines().count() != 1 {
            return Err(format!("{self:?} is not refused in one line: {ran}"));
        }
        // Done, refused, or killed from outside; it never gives up by itself.
        let is_loaded = !ran.err().contains("error while loading shared libraries");
        if self != Self::Wait && is_loaded && !matches!(ran.code, 0 | 125 | 137) {
            return Err(format!("{self:?} ended as none may: {ran}"));
        }
        // A wait ends with the agent's code.
        let acknowledged = match self {
            Self::Wait => !ran.stdout.is_empty(),
            _ => ran.code == 0,
        };
        if !acknowledged || !(alone || self.is_final()) {
            return Ok(());
        }
        if self == Self::Remove {
            let is_there = known(project).contains(id) || project.log_path(id.as_str()).exists();
            return match is_there {
                true => Err(format!("{id} was removed, and is there")),
                false => Ok(()),
            };
        }
        let manager = manager(project).ok_or("the project is lost")?;
        let seen = manager.get(id).map_err(|error| error.to_string())?;
        let status = seen.session.status();
        // Whoever was not asked to end may have done so all the same.
        let ended = seen.shown().status().is_terminal();
        let frozen = || {
            let agent = seen.session.pid().map(|pid| pid.get());
            agent.is_some_and(is_stopped)
        };
        let is_so = match self {
            Self::Suspend => ended || (status == Status::Suspended && frozen()),
            Self::Resume => ended || (status == Status::Running && !frozen()),
            Self::Adopt => ended || seen.liveness == Liveness::Owned,
            _ => status.is_terminal(),
        };
        match is_so {
            true => Ok(()),
            false => Err(format!("{self:?} of {id} was done, and it is {status}")),
        }
    }
}
