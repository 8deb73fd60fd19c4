//! `monoco ps`: the sessions that live, or all there ever were.

mod elements;
mod filter;
mod ids;
mod rows;
mod watch;

use std::cmp::Reverse;
use std::io::Write;

use session_core::reconcile::Report;
use session_core::{Listing, Outcome, SessionManager};

use self::filter::Filter;
use crate::args::Ps;
use crate::describe;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{self, Terminal};

pub(super) fn ps(manager: &SessionManager, args: Ps) -> Result<Exit, CliError> {
    let filter = Filter::new(&args);
    if args.watch {
        return watch::watch(manager, &filter, args.json, !args.no_reconcile);
    }
    let listing = if args.json {
        elements::print(manager, &filter)?
    } else {
        let mut listing = look(manager, &filter)?;
        sort(&mut listing);
        print(&listing, &filter, &args)?;
        listing
    };
    for damaged in &listing.damaged {
        output::words(&describe::damage(damaged));
    }
    // Not before the listing stands: it must not wait for any lease.
    if !args.no_reconcile
        && listing
            .sessions
            .iter()
            .any(|seen| seen.unrecorded_end().is_some())
    {
        record_ends(manager, &listing);
    }
    // The process ends here; to free a hundred thousand records takes its time.
    std::mem::forget(listing);
    Ok(Exit::SUCCESS)
}

/// What is there, before it is filtered.
fn look(manager: &SessionManager, filter: &Filter) -> Result<Listing, CliError> {
    Ok(if filter.all {
        manager.list()?
    } else {
        manager.living()?
    })
}

/// Newest first.
fn sort(listing: &mut Listing) {
    listing.sessions.sort_unstable_by(|a, b| {
        let key = |seen: &session_core::Observation| Reverse(seen.session.created_at);
        key(a)
            .cmp(&key(b))
            .then_with(|| a.session.id.cmp(&b.session.id))
    });
    listing.damaged.sort_unstable_by(|a, b| a.path.cmp(&b.path));
}

fn print(listing: &Listing, filter: &Filter, args: &Ps) -> Result<(), CliError> {
    let terminal = Terminal::of_stdout();
    let sessions = listing.sessions.iter().filter(|seen| filter.matches(seen));
    let damaged = listing.damaged.iter().filter(|_| filter.shows_damaged());
    let mut out = output::stdout();
    let written = if args.quiet {
        let ids = sessions
            .map(|seen| &seen.session.id)
            .chain(damaged.filter_map(|damaged| damaged.id.as_ref()));
        ids.into_iter().try_for_each(|id| writeln!(out, "{id}"))
    } else {
        let (sessions, damaged): (Vec<_>, Vec<_>) = (sessions.collect(), damaged.collect());
        let table = rows::table(&sessions, &damaged, session_core::Timestamp::now());
        let columns = terminal.map(|terminal| terminal.columns);
        table.write(
            &mut out,
            columns,
            terminal.is_some_and(|terminal| terminal.colour),
        )
    };
    output::written(written.and_then(|()| out.flush()))
}

/// As `git status` refreshes its index: what was found is recorded, if it can be.
fn record_ends(manager: &SessionManager, listing: &Listing) {
    match manager.reconcile_seen(&listing.sessions) {
        Ok(report) => tell(&report),
        Err(error) if CliError::is_read_only(&error) => {}
        Err(error) => output::failure(&error),
    }
}

fn tell(report: &Report) {
    if let Some((_, error)) = report
        .failed
        .iter()
        .find(|(_, error)| !CliError::is_read_only(error))
    {
        output::failure(error);
    }
    let is_lost = |outcome: &Outcome| matches!(outcome, Outcome::Lost { .. });
    let lost = report
        .settled
        .iter()
        .filter(|(_, outcome)| is_lost(outcome))
        .count();
    if lost == 0 || !output::for_people() {
        return;
    }
    let sessions = match lost {
        1 => "1 session had ended without its owner; it is".to_owned(),
        n => format!("{n} sessions had ended without their owners; they are"),
    };
    output::words(&format!("{sessions} recorded as terminated (lost) now"));
}
