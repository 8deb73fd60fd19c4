//! What an agent is heard to say, where its engine's words are understood: which
//! conversation it holds, and, at its end, what became of its work.
//!
//! Nothing waits for it. The log is watched only until the conversation is known, or the
//! agent has said so much without telling it that it will not: a session that is idle, or
//! known, causes no wake-ups.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use session_core::{LastWords, Session, VerdictKind};

use crate::reading::Reading;

/// How much of a log is looked through for its conversation, in bytes.
const FIRST_WORDS: u64 = 1 << 20;

/// An agent's log, and how to read it.
#[derive(Debug)]
pub(super) struct Listener {
    reading: Reading,
    log: Option<File>,
    /// Readable when something was printed; none once nothing is waited for.
    watch: Option<OwnedFd>,
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
        let watched = log.as_ref().filter(|_| wants_conversation);
        Self {
            // Without a watch the conversation is learned at the end.
            watch: watched.and_then(|log| watch(log).ok()),
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

    /// The conversation, if the agent has told it since the last time. It is waited for
    /// no longer then.
    pub(super) fn conversation(&mut self) -> Option<String> {
        let watch = self.watch.as_ref()?;
        let mut events = [0; 4096];
        // What is read from here on was told of; what comes later is told anew.
        while matches!(rustix::io::read(watch, &mut events), Ok(n) if n > 0) {}
        let found = self.hear_on();
        if found.is_some() || self.heard >= FIRST_WORDS {
            self.watch = None;
            self.told.clone_from(&found);
        }
        found
    }

    /// What the agent of `session`, which has ended, has told until then. Whatever
    /// cannot be read tells nothing.
    pub(super) fn last_words(&mut self, session: &Session) -> LastWords {
        self.watch = None;
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
        self.begun.extend(said);
        let n_whole = self.begun.iter().rposition(|byte| *byte == b'\n')? + 1;
        let whole: Vec<_> = self.begun.drain(..n_whole).collect();
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
