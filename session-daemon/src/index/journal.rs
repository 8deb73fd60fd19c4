//! What changed, in order: a short memory that all event clients share.
//!
//! Nobody has a queue of their own. A client keeps only the number of the last
//! event that it has sent; one that is too slow, or comes back too late, finds
//! that its place has been forgotten, and is told to read everything again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

/// How many events are remembered at most,
const MAX_EVENTS: usize = 4096;
/// and how many bytes of them.
const MAX_BYTES: usize = 4 << 20;

/// The number of an event; 0 is before the first.
pub(crate) type Sequence = u64;

#[derive(Debug)]
pub(crate) struct Journal {
    memory: Mutex<Memory>,
    last: watch::Sender<Sequence>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The last of them is the last there was.
    events: VecDeque<Bytes>,
    bytes: usize,
    last: Sequence,
}

/// What a client has not been told yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// These events, of which the last has this number.
    Events(Vec<Bytes>, Sequence),
    /// More than is remembered: everything up to this number has to be read again.
    TooMuch(Sequence),
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            memory: Mutex::default(),
            last: watch::Sender::new(0),
        }
    }

    /// Adds an event; `render` is told its number.
    pub(crate) fn push(&self, render: impl FnOnce(Sequence) -> Bytes) {
        let mut memory = self.memory();
        memory.last += 1;
        let event = render(memory.last);
        memory.bytes += event.len();
        memory.events.push_back(event);
        while memory.events.len() > MAX_EVENTS || memory.bytes > MAX_BYTES {
            let Some(oldest) = memory.events.pop_front() else {
                break;
            };
            memory.bytes -= oldest.len();
        }
        self.last.send_replace(memory.last);
    }

    /// Forgets all events, so that everybody has to read everything again.
    pub(crate) fn forget(&self) {
        let mut memory = self.memory();
        memory.last += 1;
        memory.events.clear();
        memory.bytes = 0;
        self.last.send_replace(memory.last);
    }

    /// The number of the last event.
    pub(crate) fn last(&self) -> Sequence {
        *self.last.borrow()
    }

    /// Tells whenever there is more.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Sequence> {
        self.last.subscribe()
    }

    /// What came after `sequence`, at most `limit` bytes at a time (but one event).
    pub(crate) fn since(&self, sequence: Sequence, limit: usize) -> Missed {
        let memory = self.memory();
        let oldest = memory.last - memory.events.len() as u64 + 1;
        if sequence > memory.last || sequence + 1 < oldest {
            return Missed::TooMuch(memory.last);
        }
        let skip = usize::try_from(sequence + 1 - oldest).expect("no more than are remembered");
        let (mut events, mut bytes) = (Vec::new(), 0);
        for event in memory.events.iter().skip(skip) {
            bytes += event.len();
            if bytes > limit && !events.is_empty() {
                break;
            }
            events.push(event.clone());
        }
        let last = sequence + events.len() as u64;
        Missed::Events(events, last)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(events: usize, size: usize) -> Journal {
        let journal = Journal::new();
        for _ in 0..events {
            journal.push(|_| vec![b'x'; size].into());
        }
        journal
    }

    fn check(journal: &Journal, since: Sequence, expected: Option<(usize, Sequence)>) {
        match (journal.since(since, usize::MAX), expected) {
            (Missed::Events(events, last), Some((n, end))) => {
                assert_eq!((events.len(), last), (n, end));
            }
            (Missed::TooMuch(last), None) => assert_eq!(last, journal.last()),
            (missed, expected) => panic!("{missed:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn what_came_after() {
        let three = journal(3, 1);
        check(&three, 0, Some((3, 3)));
        check(&three, 2, Some((1, 3)));
        check(&three, 3, Some((0, 3)));
        check(&journal(0, 0), 0, Some((0, 0)));
    }

    #[test]
    fn a_number_that_was_never_given_means_everything() {
        check(&journal(3, 1), 4, None);
    }

    #[test]
    fn who_comes_too_late_reads_everything() {
        let many = journal(MAX_EVENTS + 10, 1);
        check(&many, 9, None);
        check(&many, 10, Some((MAX_EVENTS, MAX_EVENTS as u64 + 10)));
        let large = journal(5, MAX_BYTES / 2);
        check(&large, 2, None);
        check(&large, 3, Some((2, 5)));
        // An event that is larger than the memory is not kept at all.
        check(&journal(1, MAX_BYTES + 1), 0, None);
    }

    #[test]
    fn what_was_forgotten_is_everything() {
        let journal = journal(3, 1);
        journal.forget();
        check(&journal, 3, None);
        check(&journal, 4, Some((0, 4)));
    }

    #[test]
    fn a_little_at_a_time() {
        let journal = journal(3, 10);
        assert!(matches!(journal.since(0, 25), Missed::Events(events, 2) if events.len() == 2));
        assert!(matches!(journal.since(0, 1), Missed::Events(events, 1) if events.len() == 1));
    }
}
