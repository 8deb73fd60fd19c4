//! What an agent is heard to say, where its engine's words are understood: which
//! conversation it holds, and, at its end, what became of its work.
//!
//! Nothing waits for it. The log is watched only until the conversation is known, or the
//! agent has said so much without telling it that it will not: a session that is idle, or
//! known, causes no wake-ups. Only where the system has no watch left for it, it is looked
//! at ever more rarely until then.
//!
//! An agent may print what it likes, as it likes: no byte is looked at twice, and no turn
//! of the owner's loop is kept up for longer than it takes to read what is there.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use session_core::{LastWords, Session, VerdictKind};

use super::clock::Again;
use crate::reading::Reading;

/// How much of a log is looked through for its conversation, in bytes.
const FIRST_WORDS: u64 = 1 << 20;
/// How soon a log that cannot be watched is looked at; the pauses double.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// An agent's log, and how to read it.
#[derive(Debug)]
pub(super) struct Listener {
    reading: Reading,
    log: Option<File>,
    /// Readable when something was printed; none once nothing is waited for.
    watch: Option<OwnedFd>,
    /// When the log is looked at next, where there is no watch.
    look_again: Option<Again>,
    /// How much of the log has been read.
    heard: u64,
    /// The line of which the end was not there yet.
    begun: Vec<u8>,
    /// The conversation, once it was heard: it may not have been possible to record it.
    told: Option<String>,
}

impl Listener {
    /// Listens to the agent of `session`, which prints into `log`. Where there is no log,
    /// its verdict will be unknown.
    pub(super) fn new(reading: Reading, session: &Session, log: Option<File>) -> Self {
        let wants_conversation =
            session.conversation_id.is_none() && !reading.conversation.is_empty();
        let listened = log.as_ref().filter(|_| wants_conversation);
        // A user has only so many watches.
        let watch = listened.and_then(|log| watch(log).ok());
        let is_unwatched = listened.is_some() && watch.is_none();
        Self {
            watch,
            look_again: is_unwatched.then(|| Again::after(LOOK_AGAIN)),
            reading,
            log,
            heard: 0,
            begun: Vec::new(),
            told: None,
        }
    }

    /// Readable when there is something to be [heard](Self::conversation).
    pub(super) fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// When there may be something to be [heard](Self::conversation) that is not told of.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.look_again.map(|again| again.at)
    }

    /// The conversation, if the agent has told it by now. It is listened for no longer
    /// then.
    pub(super) fn conversation(&mut self) -> Option<&str> {
        if self.has_news() {
            self.told = self.hear_on();
            if self.told.is_some() || self.heard >= FIRST_WORDS {
                self.stop_listening();
            }
        }
        self.told.as_deref()
    }

    fn stop_listening(&mut self) {
        self.watch = None;
        self.look_again = None;
    }

    /// Whether the log may have grown. What is read from here on was told of; what comes
    /// later is told anew.
    fn has_news(&mut self) -> bool {
        if let Some(watch) = &self.watch {
            // Equal events that follow one another are one (inotify(7)): a single read
            // takes what there is, and whatever comes meanwhile has a turn of its own.
            let mut events = [0; 4096];
            let _ = rustix::io::read(watch, &mut events);
            // Something may have been said before there was a watch.
            return true;
        }
        let is_due = self.look_again.is_some_and(|again| again.is_due());
        if is_due {
            self.look_again = Some(Again::next(self.look_again));
        }
        is_due
    }

    /// What the agent of `session`, which has ended, has told until then. Whatever
    /// cannot be read tells nothing.
    pub(super) fn last_words(&mut self, session: &Session) -> LastWords {
        self.stop_listening();
        let wants_conversation =
            session.conversation_id.is_none() && !self.reading.conversation.is_empty();
        let conversation_id = match self.told.take() {
            // Nothing ends a line any more that was only begun.
            None if wants_conversation => self.hear_on().or_else(|| self.in_lines(&self.begun)),
            told => told,
        };
        let verdict = match &self.log {
            Some(log) if !self.reading.verdicts.is_empty() => self.reading.verdict_of(log).ok(),
            _ => None,
        };
        LastWords {
            conversation_id,
            verdict: Some(verdict.unwrap_or_else(|| VerdictKind::Unknown.into())),
        }
    }

    /// Looks at the lines that are whole by now, and were not looked at before.
    fn hear_on(&mut self) -> Option<String> {
        let left = FIRST_WORDS.saturating_sub(self.heard);
        let said = read(self.log.as_ref()?, self.heard, left).unwrap_or_default();
        self.heard += said.len() as u64;
        let n_before = self.begun.len();
        let newline = said.iter().rposition(|byte| *byte == b'\n');
        self.begun.extend(said);
        let rest = self.begun.split_off(n_before + newline? + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        self.in_lines(&whole)
    }

    fn in_lines(&self, lines: &[u8]) -> Option<String> {
        lines
            .split(|byte| *byte == b'\n')
            .find_map(|line| self.reading.conversation_in(line))
    }
}

fn watch(log: &File) -> io::Result<OwnedFd> {
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    // The file itself, whatever stands at its path.
    let path = format!("/proc/self/fd/{}", log.as_raw_fd());
    inotify::add_watch(&inotify, path, WatchFlags::MODIFY)?;
    Ok(inotify)
}

fn read(log: &File, from: u64, most: u64) -> io::Result<Vec<u8>> {
    let len = log.metadata()?.len().saturating_sub(from).min(most);
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let n_read = log.read_at(&mut bytes, from)?;
    bytes.truncate(n_read);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A listener to a log that is empty, and that log.
    fn listener() -> (Listener, File) {
        let rules = r#"{ "conversation": [{ "when": { "/type": "begun" }, "at": "/id" }],
            "verdicts": [], "text": [] }"#;
        let reading = serde_json::from_str(rules).expect("rules");
        let record = r#"{"id": "a", "issue_id": "I", "role_name": "R", "branch_name": "b", "status": "pending",
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}"#;
        let session = session_core::parse_record(record.as_bytes()).expect("a record");
        let file = tempfile::NamedTempFile::new().expect("a file");
        let log = file.reopen().expect("the same file");
        (
            Listener::new(reading, &session, Some(log)),
            file.into_file(),
        )
    }

    #[test]
    fn a_line_without_an_end_costs_no_more_than_its_bytes() {
        let (mut listener, mut log) = listener();
        let begun = Instant::now();
        for _ in 0..100_000 {
            log.write_all(b"x").expect("room");
            assert_eq!(listener.conversation(), None);
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
        for byte in b"\n\n{\"type\":\"begun\",\"id\":\"a\"}\n" {
            assert_eq!(listener.conversation(), None);
            log.write_all(&[*byte]).expect("room");
        }
        assert_eq!(listener.conversation(), Some("a"));
        assert!(listener.watched().is_none() && listener.deadline().is_none());
    }

    #[test]
    fn a_log_that_cannot_be_watched_is_looked_at_at_times() {
        let (mut listener, mut log) = listener();
        assert!(
            listener.deadline().is_none(),
            "with a watch there is no timer"
        );
        listener.watch = None;
        listener.look_again = Some(Again::after(Duration::ZERO));
        assert_eq!(listener.conversation(), None);
        let next = listener.deadline().expect("nothing is known yet");
        log.write_all(b"{\"type\":\"begun\",\"id\":\"a\"}\n")
            .expect("room");
        while Instant::now() < next {
            std::thread::yield_now();
        }
        assert_eq!(listener.conversation(), Some("a"));
        assert!(listener.deadline().is_none());
    }
}
