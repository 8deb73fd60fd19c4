//! Which sessions were lost, and can go on: decided from what was seen of them.

use session_core::{Observation, Outcome, Session, SessionId};

/// The sessions that nobody saw the end of, whose conversations are known, and with
/// which no other session has gone on: oldest first.
pub(crate) fn lost(seen: &[Observation]) -> Vec<Session> {
    let shown = seen.iter().map(Observation::shown);
    let is_lost = |session: &Session| matches!(session.outcome(), Some(Outcome::Lost { .. }));
    let has_conversation =
        |session: &Session| session.engine.is_some() && session.conversation_id.is_some();
    let mut lost: Vec<Session> = shown
        .filter(|session| is_lost(session) && has_conversation(session))
        .filter(|session| successor(seen, session).is_none())
        .collect();
    lost.sort_by_key(|session| session.created_at);
    lost
}

/// The session that has gone on with the conversation of `session`: it says so, or was
/// made later and holds the same. One whose agent never ran has gone on with nothing.
pub(crate) fn successor<'a>(seen: &'a [Observation], session: &Session) -> Option<&'a SessionId> {
    let holds_the_same = |other: &Session| {
        other.engine == session.engine
            && other.conversation_id == session.conversation_id
            && other.conversation_id.is_some()
            && (other.created_at, &other.id) > (session.created_at, &session.id)
    };
    let goes_on = |other: &Session| {
        other.process().is_some()
            && (other.resumes.as_ref() == Some(&session.id) || holds_the_same(other))
    };
    let sessions = seen.iter().map(|seen| &seen.session);
    sessions
        .into_iter()
        .find(|other| goes_on(other))
        .map(|other| &other.id)
}

#[cfg(test)]
mod tests {
    use session_core::{Liveness, LostCause, parse_record};

    use super::*;

    /// A session as its record tells it: `fields` beside those that all have.
    fn seen(id: &str, minute: u32, liveness: Liveness, fields: &str) -> Observation {
        let time = format!("2026-11-25T10:{minute:02}:00Z");
        let record = format!(
            r#"{{"id":"{id}","issue_id":"I","role_name":"R","branch_name":"b","schema":1,
            "created_at":"{time}","updated_at":"{time}",{fields}}}"#
        );
        Observation {
            session: parse_record(record.as_bytes()).expect("a record"),
            liveness,
        }
    }

    const RAN: &str = r#""pid":7,"started_at":"2026-11-25T10:00:00Z""#;
    const HELD: &str = r#""engine":"claude","conversation_id":"c""#;
    const OTHER: &str = r#""engine":"claude","conversation_id":"d""#;
    const LOST: &str = r#""status":"terminated","outcome":{"kind":"lost","cause":"reboot"}"#;

    fn check(all: &[Observation], expected: &[&str]) {
        let lost = lost(all);
        let ids: Vec<_> = lost.iter().map(|session| session.id.as_str()).collect();
        assert_eq!(ids, expected);
    }

    #[test]
    fn what_was_lost_goes_on_oldest_first() {
        let settled = seen("b", 2, Liveness::Ended, &format!("{RAN},{HELD},{LOST}"));
        let unsettled = format!(r#"{RAN},{OTHER},"status":"running""#);
        let found = Liveness::Lost(LostCause::OwnerDied);
        let unsettled = seen("a", 1, found, &unsettled);
        check(&[settled, unsettled], &["a", "b"]);
    }

    #[test]
    fn what_has_no_conversation_or_was_not_lost_does_not() {
        let command = seen("a", 1, Liveness::Ended, &format!("{RAN},{LOST}"));
        let engine = format!(r#"{RAN},{LOST},"engine":"codex""#);
        let unheard = seen("b", 2, Liveness::Ended, &engine);
        let exited = r#""status":"completed","outcome":{"kind":"exited","code":0}"#;
        let completed = seen("c", 3, Liveness::Ended, &format!("{RAN},{HELD},{exited}"));
        let runs = format!(r#"{RAN},{HELD},"status":"running""#);
        let orphan = seen("d", 4, Liveness::Orphan, &runs);
        check(&[command, unheard, completed, orphan], &[]);
    }

    #[test]
    fn of_a_chain_only_the_last_goes_on() {
        let all = |last: &str| {
            let next = format!(r#"{RAN},{HELD},{LOST},"resumes":"a""#);
            [
                seen("a", 1, Liveness::Ended, &format!("{RAN},{HELD},{LOST}")),
                seen("b", 2, Liveness::Ended, &next),
                seen("c", 3, Liveness::Ended, &format!(r#"{last},"resumes":"b""#)),
            ]
        };
        let never_ran =
            r#""pid":null,"status":"failed","outcome":{"kind":"spawn_failed","error":"e"}"#;
        check(&all(&format!("{HELD},{never_ran}")), &["b"]);
        let runs = all(&format!(r#"{RAN},{HELD},"status":"running""#));
        check(&runs, &[]);
        let next = successor(&runs, &runs[1].session);
        assert_eq!(next.map(SessionId::as_str), Some("c"));
    }

    #[test]
    fn of_those_that_held_one_conversation_only_the_last_goes_on() {
        let fields = format!("{RAN},{HELD},{LOST}");
        let lost = |id, minute| seen(id, minute, Liveness::Ended, &fields);
        check(&[lost("a", 1), lost("b", 2)], &["b"]);
        let exited = r#""status":"completed","outcome":{"kind":"exited","code":0}"#;
        let completed = seen("c", 3, Liveness::Ended, &format!("{RAN},{HELD},{exited}"));
        check(&[lost("a", 1), completed], &[]);
    }
}
