//! Going on with the conversation of a session that has ended, in a new session.
//!
//! The first prompt is never said again, and no conversation is ever held by two
//! living sessions: its lease is taken before anything else, and goes to the new
//! session's supervisor. Nothing of the old command is executed: what is run is what
//! the engine's own file says of continuing.

mod plan;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use session_core::{
    ConversationError, ConversationLease, Liveness, NewSession, Observation, Pid, Session,
    SessionId, SessionManager, Status, StoreError,
};
use session_worker::Launch;

pub(crate) use plan::{lost, successor};

use crate::commands::run::hooks;
use crate::config::Config;
use crate::engines::{Added, Conversation, Engine, Engines, EnginesError, NoResume};
use crate::error::CliError;
use crate::{describe, output, xdg};

/// A conversation is not continued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotContinued {
    /// Its agent was no engine's.
    #[error(
        "session {id} has ended ({status}) and has no conversation to continue: it ran a \
         command, and not an engine (`run -e`)"
    )]
    NoEngine { id: SessionId, status: Status },
    /// The engine tells its conversations, and this one it did not.
    #[error("session {id} has ended before {engine} told which conversation it holds")]
    NoConversation { id: SessionId, engine: String },
    /// The engine has none.
    #[error("{0} has no conversations to continue (`conversation = \"none\"`)")]
    NoConversations(String),
    /// There is no such engine any more, or its file cannot be read.
    #[error(transparent)]
    Engine(#[from] EnginesError),
    /// The engine does not do that.
    #[error(transparent)]
    NoResume(#[from] NoResume),
    /// Somebody else goes on with it, or has its lease.
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    /// What it left behind may be the agent itself, where the first process was a wrapper.
    #[error(
        "session {id} has left processes running ({}); `monoco stop {id}` ends them",
        in_words(.pids)
    )]
    LeftRunning { id: SessionId, pids: Vec<Pid> },
    /// Arguments that limit an agent do not hold where they are not said again, and
    /// nothing of a record is executed.
    #[error(
        "session {id} was also given `{words}`, which is not repeated by itself; \
         `monoco resume {id} -- ARGS` goes on with what you give it"
    )]
    Typed { id: SessionId, words: String },
    /// Where it was is not there any more.
    #[error("session {id} was in {}, which is not there", path.display())]
    NoDirectory { id: SessionId, path: PathBuf },
    /// The system does not let us look.
    #[error("cannot look for what session {id} left running")]
    Look { id: SessionId, source: io::Error },
    /// It was continued meanwhile.
    #[error("session {id} is continued already, by {by}")]
    Already { id: SessionId, by: SessionId },
    /// There is no place for leases.
    #[error(
        "cannot tell where the leases on conversations belong: neither XDG_STATE_HOME nor HOME \
         is an absolute path"
    )]
    NoPlace,
    /// The sessions cannot be looked through.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn in_words(pids: &[Pid]) -> String {
    let pids: Vec<_> = pids.iter().map(Pid::to_string).collect();
    pids.join(", ")
}

impl NotContinued {
    /// Whether somebody else goes on with the conversation, so that nothing is lost.
    pub(crate) fn goes_on_elsewhere(&self) -> bool {
        matches!(
            self,
            Self::Already { .. } | Self::Conversation(ConversationError::Held { .. })
        )
    }
}

/// What is needed to go on with the conversations of a project's sessions.
pub(crate) struct Continuation<'a> {
    manager: &'a SessionManager,
    config: Config,
    engines: Engines,
    leases: PathBuf,
}

impl<'a> Continuation<'a> {
    pub(crate) fn of(manager: &'a SessionManager) -> Result<Self, CliError> {
        let config = Config::load(Some(manager.project()))?;
        let engines = Engines::load(Some(manager.project()), &config)?;
        Ok(Self {
            manager,
            config,
            engines,
            leases: xdg::conversations().ok_or(NotContinued::NoPlace)?,
        })
    }

    /// Says what was configured and does not count.
    pub(crate) fn tell_warnings(&self) {
        self.engines.tell_warnings();
    }

    /// The engine of a session, and the conversation that it held.
    pub(crate) fn held<'s>(
        &self,
        session: &'s Session,
    ) -> Result<(&Engine, &'s str), NotContinued> {
        let engine = session.engine.as_deref();
        let engine = engine.ok_or_else(|| NotContinued::NoEngine {
            id: session.id.clone(),
            status: session.status(),
        })?;
        let engine = self.engines.get(engine)?;
        let conversation = session.conversation_id.as_deref();
        let conversation = conversation.ok_or_else(|| match engine.conversation {
            Conversation::None => NotContinued::NoConversations(engine.name.clone()),
            _ => NotContinued::NoConversation {
                id: session.id.clone(),
                engine: engine.name.clone(),
            },
        })?;
        Ok((engine, conversation))
    }

    /// Why a lost session cannot go on by itself, as far as can be told before it is tried.
    pub(crate) fn check(&self, old: &Session) -> Result<(), NotContinued> {
        self.check_command(old)?;
        self.check_place(old)
    }

    /// Whether its engine can be told to go on with it, as it was told to begin.
    fn check_command(&self, old: &Session) -> Result<(), NotContinued> {
        let (engine, conversation) = self.held(old)?;
        engine.resume_command(conversation, self.config.resume_prompt(), &[])?;
        let words = self.typed(old);
        if !words.is_empty() {
            let id = old.id.clone();
            return Err(NotContinued::Typed { id, words });
        }
        Ok(())
    }

    /// What was typed for the agent of `old` and is not said again by itself.
    pub(crate) fn typed(&self, old: &Session) -> String {
        let typed = self.held(old).map(|(engine, _)| {
            let words = engine.typed_in(&old.command, old.resumes.is_some());
            describe::command(words)
        });
        typed.unwrap_or_default()
    }

    /// Whether the place of `old` is there, and nobody is left in it.
    fn check_place(&self, old: &Session) -> Result<(), NotContinued> {
        if let Some(path) = old.cwd.as_ref().filter(|path| !path.is_dir()) {
            return Err(NotContinued::NoDirectory {
                id: old.id.clone(),
                path: path.clone(),
            });
        }
        let ended = Observation {
            session: old.clone(),
            liveness: Liveness::Ended,
        };
        let left = self.manager.left_running(&[ended]);
        let mut left = left.map_err(|source| NotContinued::Look {
            id: old.id.clone(),
            source,
        })?;
        match left.remove(&old.id) {
            Some(pids) => Err(NotContinued::LeftRunning {
                id: old.id.clone(),
                pids,
            }),
            None => Ok(()),
        }
    }

    /// The name of `old`, where no living session has it by now.
    fn free_name(&self, old: &Session) -> Result<Option<String>, StoreError> {
        let Some(name) = &old.name else {
            return Ok(None);
        };
        let living = self.manager.living()?.sessions;
        let is_other =
            |seen: &&Observation| seen.session.id != old.id && seen.shown().end().is_none();
        let mut others = living.iter().filter(is_other);
        let taken = others.any(|seen| seen.session.name == old.name);
        if taken {
            output::words(&format!("the name {name} is another session's by now"));
        }
        Ok((!taken).then(|| name.clone()))
    }

    /// How `old` goes on: in the same directory, on the same branch, with `words` as
    /// the next prompt, else the configured one. The lease on the conversation is in it.
    pub(crate) fn launch(
        &self,
        old: &Session,
        words: Option<&str>,
        extra: &[OsString],
    ) -> Result<(Launch, Vec<Added>), NotContinued> {
        let (engine, conversation) = self.held(old)?;
        self.check_place(old)?;
        let words = words.unwrap_or(self.config.resume_prompt());
        let composed = engine.resume_command(conversation, words, extra)?;
        let id = SessionId::random();
        let project = self.manager.project();
        let lease =
            ConversationLease::take(&self.leases, &engine.name, conversation, project, &id)?;
        let launch = Launch {
            session: NewSession {
                id: Some(id),
                issue_id: Some(old.issue_id.clone()),
                role_name: Some(old.role_name.clone()),
                branch_name: Some(old.branch_name.clone()),
                engine: Some(engine.name.clone()),
                conversation_id: Some(conversation.to_owned()),
                resumes: Some(old.id.clone()),
                name: self.free_name(old)?,
                labels: old.labels.clone(),
                timeout: old.timeout,
                ..NewSession::default()
            },
            argv: composed.argv,
            cwd: old.cwd.clone(),
            env: composed.env,
            grace: self.config.run_grace(),
            leave_children: self.config.run_leave_children(),
            reading: Some(engine.reading.clone()),
            hooks: hooks(&self.config),
            conversations: Some(self.leases.clone()),
            conversation: Some(lease),
            ..Launch::default()
        };
        Ok((launch, engine.all_added(extra)))
    }

    /// The same, once: not where another session has gone on with it already, however
    /// often this is done, and by however many. Whoever comes second waits for the lease
    /// here, or is refused, and finds the record of the first.
    pub(crate) fn launch_once(&self, old: &Session) -> Result<(Launch, Vec<Added>), NotContinued> {
        self.check_command(old)?;
        let launch = self.launch(old, None, &[])?;
        match successor(&self.manager.list()?.sessions, old) {
            Some(by) => Err(NotContinued::Already {
                id: old.id.clone(),
                by: by.clone(),
            }),
            None => Ok(launch),
        }
    }
}
