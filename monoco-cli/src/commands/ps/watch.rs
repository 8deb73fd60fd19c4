//! `monoco ps --watch`: what changes, as it happens.
//!
//! Nothing is polled. The change feed tells of records that were written; the
//! death of an owner writes nothing, and is heard from its control connection.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use session_core::{
    Change, Feed, Liveness, LookError, Observation, SessionId, SessionManager, Timestamp,
};

use super::filter::Filter;
use super::{look, rows};
use crate::describe;
use crate::ear::{self, Ear, wait_any};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::json::{self, Element};
use crate::output::{self, Terminal};

/// The pause before a look at a session that only just changed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// A terminal is not painted more often than this.
const SHORTEST_FRAME: Duration = Duration::from_millis(50);

pub(super) fn watch(
    manager: &SessionManager,
    filter: &Filter,
    json: bool,
    reconcile: bool,
) -> Result<Exit, CliError> {
    let mut watched = Watched {
        manager,
        filter,
        reconcile,
        // Opened before the first look: what changes after it is told.
        feed: manager.feed()?,
        sessions: BTreeMap::new(),
        ears: BTreeMap::new(),
        restless: BTreeSet::new(),
    };
    for id in watched.all()? {
        watched.look_again(id)?;
    }
    match Terminal::of_stdout() {
        Some(_) if !json => watched.paint(),
        terminal => watched.tell(json, terminal.is_some()),
    }
}

/// The sessions that are watched, as they were last seen.
struct Watched<'a> {
    manager: &'a SessionManager,
    filter: &'a Filter,
    reconcile: bool,
    feed: Feed,
    sessions: BTreeMap<SessionId, Observation>,
    /// At the owners and the agents of those that live.
    ears: BTreeMap<SessionId, Ear>,
    /// Whose owner or agent went away between the look and the listening.
    restless: BTreeSet<SessionId>,
}

/// What became of a session.
enum News {
    Seen(Box<Observation>),
    Removed(SessionId),
}

impl Watched<'_> {
    /// One line per session as it is, then one per change.
    fn tell(&mut self, json: bool, terminal: bool) -> Result<Exit, CliError> {
        let mut line = Line { json, terminal };
        let mut known: Vec<_> = self.sessions.values().collect();
        known.sort_by_key(|seen| seen.session.created_at);
        for seen in known {
            line.write(&Element::Seen(seen))?;
        }
        loop {
            for id in self.changed(None)? {
                match self.look_again(id)? {
                    Some(News::Seen(seen)) => line.write(&Element::Seen(&seen))?,
                    Some(News::Removed(id)) => line.write(&Element::Removed(&id))?,
                    None => {}
                }
            }
        }
    }

    /// The table, painted anew with every change, and as the ages in it grow.
    fn paint(&mut self) -> Result<Exit, CliError> {
        output::written(output::Stdout.write_all(b"\x1b[2J"))?;
        loop {
            let Some(terminal) = Terminal::of_stdout() else {
                return Ok(Exit::SUCCESS);
            };
            let painted = Instant::now();
            let next = painted + self.paint_once(terminal).map_err(CliError::Output)?;
            let changed = loop {
                let changed = self.changed(Some(next))?;
                if !changed.is_empty() || Instant::now() >= next {
                    break changed;
                }
            };
            for id in changed {
                self.look_again(id)?;
            }
            std::thread::sleep(SHORTEST_FRAME.saturating_sub(painted.elapsed()));
        }
    }

    /// Returns how long what was painted stays true by itself.
    fn paint_once(&self, terminal: Terminal) -> io::Result<Duration> {
        let mut shown: Vec<_> = self.sessions.values().collect();
        shown.sort_by_key(|seen| Reverse(seen.session.created_at));
        // The headings, and a last line on which nothing is written.
        let room = terminal.rows.saturating_sub(2);
        let hidden = shown.len().saturating_sub(room);
        if hidden > 0 {
            shown.truncate(room.saturating_sub(1));
        }
        let now = Timestamp::now();
        let mut page = Vec::new();
        rows::table(&shown, &[], now).write(&mut page, Some(terminal.columns), terminal.colour)?;
        if hidden > 0 {
            writeln!(page, "… and {} more", self.sessions.len() - shown.len())?;
        }
        let mut frame = b"\x1b[H".to_vec();
        for line in page.split_inclusive(|byte| *byte == b'\n') {
            frame.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            frame.extend_from_slice(b"\x1b[K\r\n");
        }
        frame.extend_from_slice(b"\x1b[J");
        output::Stdout.write_all(&frame)?;
        let young = |seen: &&Observation| now.since(seen.session.created_at).as_secs() < 60;
        Ok(Duration::from_secs(if shown.iter().any(young) {
            1
        } else {
            30
        }))
    }

    /// Waits for changes, at most until `deadline`; tells which sessions to look at.
    fn changed(&mut self, deadline: Option<Instant>) -> Result<BTreeSet<SessionId>, CliError> {
        let watching = || CliError::io("watch the project");
        let ears: Vec<_> = self
            .ears
            .iter()
            .filter_map(|(id, ear)| Some((id, ear.fd()?)))
            .collect();
        let feed = self.feed.as_fd();
        let deadline = match feed {
            _ if !self.restless.is_empty() => Some(Instant::now() + LOOK_AGAIN),
            _ => [deadline, self.feed.deadline()].into_iter().flatten().min(),
        };
        let fds: Vec<_> = ears.iter().map(|(_, fd)| *fd).chain(feed).collect();
        let ready = wait_any(&fds, deadline).map_err(watching())?;
        let heard = ready
            .and_then(|ready| ears.get(ready))
            .map(|(id, _)| (*id).clone());
        let mut changed = std::mem::take(&mut self.restless);
        for change in self.feed.next(Some(Duration::ZERO)).map_err(watching())? {
            match change {
                Change::Session(id) => drop(changed.insert(id)),
                Change::Rescan => changed.extend(self.all()?),
            }
        }
        if let Some(id) = heard {
            // What it told is in the record, or nobody told anything.
            self.ears.remove(&id);
            changed.insert(id);
        }
        Ok(changed)
    }

    /// Everything that is there, and everything that was.
    fn all(&self) -> Result<BTreeSet<SessionId>, CliError> {
        let listing = look(self.manager, self.filter)?;
        for damaged in &listing.damaged {
            output::words(&describe::damage(damaged));
        }
        let found = listing.sessions.into_iter().map(|seen| seen.session.id);
        Ok(found.chain(self.sessions.keys().cloned()).collect())
    }

    /// Looks at one session; tells what became of it, if it was one of those that
    /// are watched, or is now, and is not what it was.
    fn look_again(&mut self, id: SessionId) -> Result<Option<News>, CliError> {
        let was = self.sessions.remove(&id);
        let is = match self.manager.get(&id) {
            Ok(is) => is,
            Err(LookError::NotFound(_)) => {
                self.ears.remove(&id);
                return Ok(was.map(|_| News::Removed(id)));
            }
            Err(error @ LookError::Damaged { .. }) => {
                output::failure(&error);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        if self.filter.matches(&is) {
            self.sessions.insert(id.clone(), is.clone());
            self.listen(&is);
        } else if was.is_none() {
            return Ok(None);
        } else {
            self.ears.remove(&id);
        }
        if self.reconcile && is.unrecorded_end().is_some() {
            ear::settle(self.manager, &id);
        }
        Ok((was.as_ref() != Some(&is)).then(|| News::Seen(Box::new(is))))
    }

    /// Puts an ear at a session that lives. Where that fails, the feed still tells
    /// what its owner writes.
    fn listen(&mut self, seen: &Observation) {
        let id = &seen.session.id;
        // An orphan that was adopted has an owner to listen to, no longer its agent.
        if self.ears.get(id).is_some_and(|ear| ear.fits(seen)) {
            return;
        }
        self.ears.remove(id);
        match Ear::at(self.manager, seen) {
            Ok(Some(ear @ (Ear::Owner(_) | Ear::Agent(_)))) => {
                self.ears.insert(id.clone(), ear);
            }
            // A dying process lets go of its socket and of its lease one after the other.
            Ok(None) if matches!(seen.liveness, Liveness::Owned | Liveness::Orphan) => {
                self.restless.insert(id.clone());
            }
            Ok(Some(Ear::Project(_)) | None) | Err(_) => {}
        }
    }
}

/// How a change is told without a terminal.
struct Line {
    json: bool,
    terminal: bool,
}

impl Line {
    fn write(&mut self, element: &Element<'_>) -> Result<(), CliError> {
        let mut line = Vec::new();
        let written = if self.json {
            json::write_element(&mut line, element, self.terminal)
        } else {
            let status = match element {
                Element::Seen(seen) => describe::status(seen),
                Element::Damaged(_) => "corrupt".to_owned(),
                Element::Removed(_) => "removed".to_owned(),
            };
            let (now, id) = (Timestamp::now(), element.id());
            write!(line, "{now}  {id}  {}", output::sanitise::line(&status))
        };
        line.push(b'\n');
        // A reader that has gone ends the watch.
        written
            .and_then(|()| output::Stdout.write_all(&line))
            .map_err(CliError::Output)
    }
}
