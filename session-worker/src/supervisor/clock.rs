//! The times that an owner waits for.
//!
//! A session's timeout: it counts while the agent may run, not while it is
//! suspended, nor while the machine sleeps (`CLOCK_MONOTONIC`).

use std::time::{Duration, Instant};

/// How soon what failed is tried again; doubles up to the longest.
const TRY_AGAIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The next one of several tries, each after a longer pause than the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Again {
    pub(super) at: Instant,
    pause: Duration,
}

impl Again {
    /// The first one, `pause` from now.
    pub(super) fn after(pause: Duration) -> Self {
        Self {
            at: Instant::now() + pause,
            pause,
        }
    }

    /// The one after `before`, if there was one.
    pub(super) fn next(before: Option<Self>) -> Self {
        Self::after(before.map_or(TRY_AGAIN, |again| (again.pause * 2).min(PAUSE_MAX)))
    }

    pub(super) fn is_due(&self) -> bool {
        self.at <= Instant::now()
    }
}

/// A countdown that can be held.
#[derive(Debug)]
pub(super) struct Countdown {
    limit: Option<Duration>,
    used: Duration,
    runs_since: Option<Instant>,
}

impl Countdown {
    /// A countdown of which `used` is over already; it runs.
    pub(super) fn new(limit: Option<Duration>, used: Duration) -> Self {
        Self {
            limit,
            used,
            runs_since: Some(Instant::now()),
        }
    }

    pub(super) fn hold(&mut self) {
        if let Some(since) = self.runs_since.take() {
            self.used += since.elapsed();
        }
    }

    pub(super) fn go_on(&mut self) {
        self.runs_since.get_or_insert_with(Instant::now);
    }

    /// When it will be over; `None` when it is held, or there is no limit.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.runs_since?
            .checked_add(self.limit?.saturating_sub(self.used))
    }

    /// The limit, once it is over.
    pub(super) fn is_over(&self) -> Option<Duration> {
        self.limit.filter(|_| {
            self.deadline()
                .is_some_and(|deadline| deadline <= Instant::now())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_used_counts_and_what_is_held_does_not() {
        assert!(Countdown::new(None, MINUTE).deadline().is_none());
        assert_eq!(Countdown::new(Some(MINUTE), MINUTE).is_over(), Some(MINUTE));
        let mut countdown = Countdown::new(Some(MINUTE), MINUTE / 2);
        assert_eq!(countdown.is_over(), None);
        countdown.hold();
        assert!(countdown.deadline().is_none());
        countdown.go_on();
        let left = countdown
            .deadline()
            .expect("it runs")
            .duration_since(Instant::now());
        assert!(left <= MINUTE / 2 && left > MINUTE / 3);
    }
}
