//! What an owner does beside its session: it listens to the agent, holds its conversation
//! and runs hooks. None of it stands in the way of the session's end.

use session_core::{ClaimError, ConversationError, ConversationLease, Hold, LastWords, WriteError};

use super::Supervisor;
use crate::hooks::Hook;
use crate::supervisor::clock::Again;
use crate::supervisor::hooks::Moment;
use crate::supervisor::listener::Listener;

/// What became of a try to hold a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// It is this session's, or nobody keeps conversations apart.
    Ours,
    /// Another session that lives, or may live, holds it.
    Anothers,
    /// Somebody is just taking it.
    BeingTaken,
    /// It cannot be told now.
    Untold,
}

impl Supervisor {
    /// Records the conversation that the agent has told, and holds it from then on. What
    /// cannot be done now is tried again for as long as the session lives.
    pub(super) fn listen(&mut self) {
        let is_known = self.session.session().conversation_id.is_some();
        if self.end.is_some() || is_known || self.is_anothers {
            self.learn_again = None;
            return;
        }
        if self.learn_again.is_some_and(|again| !again.is_due()) {
            return;
        }
        let told = self.listener.as_mut().and_then(Listener::conversation);
        let Some(id) = told.map(str::to_owned) else {
            return;
        };
        self.learn_again = match self.hold(&id) {
            Held::Ours => match self.claim().note_conversation(&id) {
                // Written, only not for certain on disk: the end is written after it.
                Ok(()) | Err(ClaimError::Write(WriteError::DurabilityUnknown { .. })) => None,
                Err(_) => Some(Again::next(self.learn_again)),
            },
            Held::Anothers => {
                self.is_anothers = true;
                None
            }
            Held::BeingTaken | Held::Untold => Some(Again::next(self.learn_again)),
        };
    }

    /// Takes the conversation, unless it is held already. Where another session has it,
    /// this one goes on all the same: its agent has begun already, and nothing is lost.
    fn hold(&mut self, id: &str) -> Held {
        let session = self.session.session();
        let (Some(dir), Some(engine), None) = (
            self.order.conversations.as_deref(),
            session.engine.as_deref(),
            &self.conversation,
        ) else {
            return Held::Ours;
        };
        let project = &self.order.project;
        match ConversationLease::take_at_once(dir, engine, id, project, &session.id) {
            Ok(lease) => {
                self.conversation = Some(lease);
                Held::Ours
            }
            // Whoever is ending is soon gone.
            Err(ConversationError::Held {
                hold: Hold::Ending, ..
            }) => Held::Untold,
            Err(ConversationError::Held { by: Some(by), .. })
                if (&by.session, &by.project) != (&session.id, project) =>
            {
                Held::Anothers
            }
            Err(ConversationError::Held { by: None, .. }) => Held::BeingTaken,
            Err(_) => Held::Untold,
        }
    }

    /// Nothing is left that could hold it.
    pub(super) fn let_conversation_go(&mut self) {
        if let Some(conversation) = self.conversation.take() {
            // A file that stays is taken over by whoever comes next.
            let _ = conversation.release();
        }
    }

    /// What the agent, which has ended, has told. A conversation that is held elsewhere
    /// is not this session's.
    pub(super) fn last_words(&mut self) -> LastWords {
        self.learn_again = None;
        let session = self.session.session();
        let listener = self.listener.as_mut();
        let mut words = listener.map_or_else(LastWords::default, |l| l.last_words(session));
        // Where nobody can tell who holds it, it is recorded: the session lives no more,
        // and whoever continues it has to take the conversation first.
        let is_ours = |held| matches!(held, Held::Ours | Held::Untold);
        words.conversation_id = words.conversation_id.filter(|id| is_ours(self.hold(id)));
        words
    }

    pub(super) fn enqueue(&mut self, moment: Moment, hooks: Vec<Hook>) {
        if !hooks.is_empty() {
            let project = self.order.project.clone().into_os_string();
            let session = self.session.session();
            self.hooks.enqueue(moment, hooks, session, project);
        }
    }

    /// Does what is due for the hooks. Once the session `is_over` nobody who asked for its
    /// end has to wait for them.
    pub(super) fn run_hooks(&mut self, is_over: bool) {
        if !self.hooks.is_busy() {
            return;
        }
        let owned = self.session.as_owner_mut();
        let (claim, worker) = owned.expect("a supervisor is an owner");
        self.hooks.turn(claim);
        worker.leave_out(self.hooks.tree());
        if is_over && self.hooks.is_busy() {
            let session = self.session.session();
            let askers = self.ending.iter_mut().flat_map(|e| e.askers.drain(..));
            for ticket in askers {
                self.server.done(ticket, session);
            }
        }
    }
}
