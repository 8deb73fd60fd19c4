//! Which sessions were lost, and can go on: decided from what was seen of them.

use session_core::{Observation, Outcome, Session, SessionId};

/// The sessions that nobody saw the end of, whose conversations are known, and that no
/// other session has continued: oldest first.
pub(crate) fn lost(seen: &[Observation]) -> Vec<Session> {
    let shown = seen.iter().map(Observation::shown);
    let is_lost = |session: &Session| matches!(session.outcome(), Some(Outcome::Lost { .. }));
    let has_conversation =
        |session: &Session| session.engine.is_some() && session.conversation_id.is_some();
    let mut lost: Vec<Session> = shown
        .filter(|session| is_lost(session) && has_conversation(session))
        .filter(|session| successor(seen, &session.id).is_none())
        .collect();
    lost.sort_by_key(|session| session.created_at);
    lost
}

/// The session that has continued `id`. One whose agent never ran has continued nothing.
pub(crate) fn successor<'a>(seen: &'a [Observation], id: &SessionId) -> Option<&'a SessionId> {
    let continues = |seen: &&Observation| {
        let session = &seen.session;
        session.resumes.as_ref() == Some(id) && session.process().is_some()
    };
    seen.iter().find(continues).map(|seen| &seen.session.id)
}
