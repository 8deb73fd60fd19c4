//! `monoco prune`: remove all ended sessions, or those that ended long ago.

use std::io::Write;

use session_core::{Liveness, LookError, RemoveError, Session, SessionManager, Timestamp};

use crate::args::Prune;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub(super) fn prune(manager: &SessionManager, args: &Prune) -> Result<Exit, CliError> {
    let ended_before = args.older_than.map(|age| Timestamp::now().minus(age));
    let mut sessions = manager.list()?.sessions;
    // Only an end that is recorded: one that was only just found out stays to be seen.
    sessions.retain(|seen| {
        seen.liveness == Liveness::Ended
            && ended_before.is_none_or(|before| end(&seen.session) < before)
    });
    let left = manager
        .left_running(&sessions)
        .map_err(CliError::io("look for what agents left running"))?;
    let (mut out, mut removed, mut exit) = (output::stdout(), 0, Exit::SUCCESS);
    for seen in &sessions {
        let id = &seen.session.id;
        if left.contains_key(id) {
            // Without its record nobody could tell whose they are.
            output::words(&format!(
                "session {id} left processes running, and is kept: `monoco stop {id}` ends them"
            ));
            continue;
        }
        match if args.dry_run {
            Ok(())
        } else {
            manager.remove(id)
        } {
            Ok(()) => {
                removed += 1;
                output::written(writeln!(out, "{id}"))?;
            }
            // Somebody was faster, or the owner still ends what its agent left.
            Err(RemoveError::Look(LookError::NotFound(_)) | RemoveError::Living { .. }) => {}
            Err(error) => {
                output::failure(&error);
                exit = Exit::FAILURE;
            }
        }
    }
    output::written(out.flush())?;
    let verb = if args.dry_run {
        "would be removed"
    } else {
        "removed"
    };
    output::words(&match removed {
        1 => format!("1 session {verb}"),
        n => format!("{n} sessions {verb}"),
    });
    Ok(exit)
}

/// When the session ended, or the last that is known of it.
fn end(session: &Session) -> Timestamp {
    session
        .end()
        .and_then(|end| end.ended_at)
        .unwrap_or(session.updated_at)
}
