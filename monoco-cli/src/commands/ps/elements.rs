//! `ps --json`: every session becomes its text where it is read, on all cores,
//! so that a listing costs little more than reading its records.

use std::cmp::Reverse;
use std::io::Write;

use session_core::{Listing, Observation, SessionId, SessionManager, Timestamp};

use super::filter::Filter;
use crate::error::CliError;
use crate::output::json::{self, Element};
use crate::output::{self, Terminal};

/// What is kept of a session.
struct Looked {
    created_at: Reverse<Timestamp>,
    id: SessionId,
    /// Its element of the array; `None` when it was not asked for.
    element: Option<Box<[u8]>>,
    /// The session itself, when its end is to be recorded.
    lost: Option<Box<Observation>>,
}

impl Looked {
    fn new(seen: Observation, filter: &Filter, terminal: bool) -> Self {
        let element = filter
            .matches(&seen)
            .then(|| json::to_text(&Element::Seen(&seen), terminal));
        Self {
            created_at: Reverse(seen.session.created_at),
            id: seen.session.id.clone(),
            element,
            lost: seen.unrecorded_end().is_some().then(|| Box::new(seen)),
        }
    }
}

/// Prints the array; returns what was damaged, and whose end is to be recorded.
pub(super) fn print(manager: &SessionManager, filter: &Filter) -> Result<Listing, CliError> {
    let terminal = Terminal::of_stdout().is_some();
    let each = |seen| Looked::new(seen, filter, terminal);
    let mut listing = if filter.all {
        manager.list_with(each)?
    } else {
        manager.living_with(each)?
    };
    listing
        .sessions
        .sort_unstable_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    listing.damaged.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let damaged = listing
        .damaged
        .iter()
        .filter(|_| filter.shows_damaged())
        .map(|damaged| json::to_text(&Element::Damaged(damaged), terminal));
    let sessions = listing
        .sessions
        .iter_mut()
        .filter_map(|looked| looked.element.take());
    let mut out = output::stdout();
    let written = json::write_array(&mut out, sessions.chain(damaged));
    output::written(written.and_then(|()| out.flush()))?;
    let lost = listing
        .sessions
        .into_iter()
        .filter_map(|looked| Some(*looked.lost?))
        .collect();
    Ok(Listing {
        sessions: lost,
        damaged: listing.damaged,
    })
}
