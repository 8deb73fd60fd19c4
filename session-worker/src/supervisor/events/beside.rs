//! What an owner does beside its session: it listens to the agent, holds its conversation
//! and runs hooks. None of it stands in the way of the session's end.

use session_core::{ConversationLease, LastWords};

use super::Supervisor;
use crate::hooks::Hook;
use crate::supervisor::hooks::Moment;

impl Supervisor {
    /// Records the conversation that the agent has told, and holds it from then on.
    pub(super) fn listen(&mut self) {
        if self.end.is_some() {
            return;
        }
        let told = self.listener.as_mut().and_then(|l| l.conversation());
        let Some(id) = told else {
            return;
        };
        // What cannot be written now is told again with the end.
        let _ = self.claim().note_conversation(&id);
        if self.conversation.is_none() {
            self.conversation = self.take_conversation(&id);
        }
    }

    /// Where another session holds it, this one goes on all the same: its agent has begun
    /// already, and nothing is lost.
    fn take_conversation(&self, id: &str) -> Option<ConversationLease> {
        let session = self.session.session();
        ConversationLease::take_at_once(
            self.order.conversations.as_deref()?,
            session.engine.as_deref()?,
            id,
            &self.order.project,
            &session.id,
        )
        .ok()
    }

    /// Nothing is left that could hold it.
    pub(super) fn let_conversation_go(&mut self) {
        if let Some(conversation) = self.conversation.take() {
            // A file that stays is taken over by whoever comes next.
            let _ = conversation.release();
        }
    }

    /// What the agent, which has ended, has told.
    pub(super) fn last_words(&mut self) -> LastWords {
        let session = self.session.session();
        let listener = self.listener.as_mut();
        listener.map_or_else(LastWords::default, |listener| listener.last_words(session))
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
        let (claim, _) = self.session.as_owner().expect("a supervisor is an owner");
        self.hooks.turn(claim);
        if is_over && self.hooks.is_busy() {
            let session = self.session.session();
            let askers = self.ending.iter_mut().flat_map(|e| e.askers.drain(..));
            for ticket in askers {
                self.server.done(ticket, session);
            }
        }
    }
}
