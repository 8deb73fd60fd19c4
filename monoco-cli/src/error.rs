//! What can go wrong in a command. Each error says what was attempted; the chain
//! of its sources is printed at the edge, each link once.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use session_core::{ActError, ClaimError, ControlError, LookError, SessionId, StoreError};
use session_worker::LaunchError;

use crate::commands::run::PromptError;
use crate::commands::service::ServiceError;
use crate::config::ConfigError;
use crate::continuation::NotContinued;
use crate::engines::EnginesError;
use crate::issues::TreeError;

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// No `.monoco` from here upwards.
    #[error("no monoco project in {} or above it; `monoco run` makes one", .0.display())]
    NoProject(PathBuf),
    /// The project that was named cannot be used.
    #[error("cannot use the project {}", path.display())]
    Project { path: PathBuf, source: io::Error },
    /// The working directory vanished.
    #[error("cannot tell the working directory (it may have been removed); go to another one")]
    WorkingDirectory(#[source] io::Error),
    /// There is no such session.
    #[error("no such session: `{0}` (`monoco ps -a` lists all)")]
    NoSuchSession(String),
    /// A record that nobody asked to remove cannot be read.
    #[error("the record {} is damaged: {damage}; `monoco rm -f {id}` removes it", path.display())]
    DamagedRecord {
        id: SessionId,
        path: PathBuf,
        damage: session_core::Damage,
    },
    /// It could not be looked at.
    #[error(transparent)]
    Look(LookError),
    /// The project cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not be taken or written.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The owner did not do it.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Something could not be done to it.
    #[error(transparent)]
    Act(ActError),
    /// It could not be started or adopted.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// It lives, and nobody said to kill it.
    #[error("session {id} is {what}; `monoco stop {id}` stops it, or use -f to kill and remove it")]
    Living { id: SessionId, what: String },
    /// Whether it lives cannot be told, and nobody said to remove its record.
    #[error("session {id} is {what}; -f removes its record, and touches no process")]
    Untold { id: SessionId, what: String },
    /// Its owner still ends what the agent left running.
    #[error(
        "session {0} has ended, but its owner still ends what its agent left running; try again"
    )]
    Ending(SessionId),
    /// There is nothing to act on any more.
    #[error("session {id} has ended ({status}){so}")]
    Ended {
        id: SessionId,
        status: session_core::Status,
        so: &'static str,
    },
    /// Its agent runs, but nobody who could do it owns it.
    #[error("session {0} has lost its owner; `monoco adopt {0}` gives it a new one")]
    Orphan(SessionId),
    /// Nothing is known that would allow to touch it.
    #[error("session {id} cannot be told from here: {why}")]
    HandsOff { id: SessionId, why: String },
    /// Time was up before a session ended.
    #[error("session {id} has not ended within {after}; it goes on")]
    TimedOut { id: SessionId, after: String },
    /// The owner of the session in the foreground died.
    #[error(
        "the supervisor of session {id} died; its agent may still run: `monoco ps` tells, \
         `monoco adopt {id}` gives it a new owner"
    )]
    SupervisorDied { id: SessionId },
    /// The engines could not be told, or not the one that was asked for.
    #[error(transparent)]
    Engines(#[from] EnginesError),
    /// A conversation is not continued.
    #[error(transparent)]
    NotContinued(#[from] NotContinued),
    /// The agent was asked to go on with what it does not know.
    #[error(
        "{engine} does not know the conversation {conversation} any more; nothing was continued \
         (`monoco logs {id}` shows what it says)"
    )]
    Forgotten {
        id: SessionId,
        engine: String,
        conversation: String,
    },
    /// It lives, and was to be given what only a new session can be.
    #[error(
        "session `{name}` is {status}: it goes on as it is, without a prompt or options, which \
         are for the conversation of one that has ended"
    )]
    NotEnded { name: String, status: String },
    /// Sessions were to be thawed with what only a new one can be given.
    #[error(
        "-d, -t, -p and arguments are for the conversation of one session that has ended: name \
         it alone, and give a prompt that could be another's id or name with -p"
    )]
    OnlyGoesOn,
    /// There is nothing to recover of it.
    #[error(
        "session {0} was not lost, or has no known conversation; `monoco resume {0}` goes on \
         with one that has ended"
    )]
    NotLost(SessionId),
    /// Nothing says who is to be told the prompt.
    #[error(
        "nothing says what to run: give a command, or an engine (-e); `monoco engines` lists them"
    )]
    NoEngine,
    /// An engine cannot be told this.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The service could not be dealt with.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The daemon could not do its work.
    #[error(transparent)]
    Serve(#[from] session_daemon::ServeError),
    /// The issues of a project cannot be looked through.
    #[error(transparent)]
    Issues(#[from] TreeError),
    /// The project has no issues.
    #[error("there is no folder {} to lint; name files, or another --project", .0.display())]
    NoIssues(PathBuf),
    /// What was named is no issue.
    #[error("no such issue: `{0}` is neither a file nor the id of one in the project's Issues")]
    NoSuchIssue(String),
    /// There is no place for the daemon's token.
    #[error(
        "cannot tell where the token belongs: neither XDG_STATE_HOME nor HOME is an absolute \
         path; name a file with --token-file"
    )]
    NoTokenFile,
    /// What is configured cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no such role.
    #[error("no such role: `{name}`{instead} (`monoco roles` lists all)")]
    NoSuchRole { name: String, instead: String },
    /// The system refused.
    #[error("cannot {attempt}")]
    Io { attempt: String, source: io::Error },
    /// Standard output cannot be written to.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl CliError {
    /// For `map_err`: what was attempted, with the system's reason.
    pub(crate) fn io(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::Io { attempt, source }
    }

    /// What could not be done to a session, with what may be done instead. `so`
    /// says what follows for one that has ended.
    pub(crate) fn act(error: ActError, so: &'static str) -> Self {
        match error {
            ActError::Look(error) => error.into(),
            ActError::Ended { id, status } => Self::Ended { id, status, so },
            ActError::Orphan(id) => Self::Orphan(id),
            ActError::Living { id, what } => Self::Living { id, what },
            ActError::Untold { id, what } => Self::Untold { id, what },
            ActError::Ending(id) => Self::Ending(id),
            error => Self::Act(error),
        }
    }

    /// Whether the reader of our output has gone, which is no failure.
    pub(crate) fn is_reader_gone(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether the system let us look, but not write: a project that is only read.
    pub(crate) fn is_read_only(error: &(dyn Error + 'static)) -> bool {
        let mut link = Some(error);
        while let Some(error) = link {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
                if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) {
                    return true;
                }
            }
            link = error.source();
        }
        false
    }
}

impl From<LookError> for CliError {
    fn from(error: LookError) -> Self {
        match error {
            LookError::NotFound(text) => Self::NoSuchSession(text),
            LookError::Store(error) => Self::Store(error),
            error => Self::Look(error),
        }
    }
}

impl From<ActError> for CliError {
    fn from(error: ActError) -> Self {
        Self::act(error, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use session_core::error_chain;

    #[test]
    fn a_chain_names_each_link_once() {
        let source = io::Error::from_raw_os_error(2);
        let error = CliError::Store(StoreError::Io {
            attempt: "open",
            path: "/p".into(),
            source,
        });
        assert_eq!(
            error_chain(&error),
            "cannot open /p: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_read_only_project_is_recognised_behind_wrappers() {
        let refused = |errno| {
            CliError::Claim(ClaimError::Store(StoreError::Io {
                attempt: "create",
                path: "/p".into(),
                source: io::Error::from_raw_os_error(errno),
            }))
        };
        assert!(CliError::is_read_only(&refused(30)) && CliError::is_read_only(&refused(13)));
        assert!(!CliError::is_read_only(&refused(28)));
    }
}
