//! The table of a listing.

use session_core::{Damaged, Observation, Timestamp};

use super::ids;
use crate::describe;
use crate::output::ago::ago;
use crate::output::table::{Cell, Style, Table};

/// Sessions in the order given, damaged records at the end.
pub(super) fn table(sessions: &[&Observation], damaged: &[&Damaged], now: Timestamp) -> Table<8> {
    let short = ids::short(sessions.iter().map(|seen| &seen.session.id));
    let mut table = Table::new([
        "ID", "NAME", "ISSUE", "ROLE", "STATUS", "PID", "CREATED", "COMMAND",
    ]);
    for seen in sessions {
        let session = &seen.session;
        table.push([
            Cell::new(
                short
                    .get(session.id.as_str())
                    .copied()
                    .unwrap_or(session.id.short()),
            ),
            Cell::new(session.name.as_deref().unwrap_or_default()),
            Cell::new(session.issue_id.as_str()),
            Cell::new(session.role_name.as_str()),
            Cell::styled(describe::status(seen), describe::style(seen)),
            Cell::new(session.pid().map(|pid| pid.to_string()).unwrap_or_default()),
            Cell::new(ago(session.created_at, now)),
            Cell::new(describe::command(&session.command)),
        ]);
    }
    for damaged in damaged {
        let mut row: [Cell; 8] = Default::default();
        row[0] = Cell::new(describe::damaged_name(damaged));
        row[4] = Cell::styled("corrupt", Style::Red);
        row[7] = Cell::new(damaged.damage.to_string());
        table.push(row);
    }
    table
}
