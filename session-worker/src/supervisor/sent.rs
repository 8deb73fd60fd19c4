//! The signals that were sent to the agent on request: what one of them ended was
//! stopped, and did not crash.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use session_core::WaitStatus;

/// The last of each kind, by whom it was sent and when. All kinds, not only the last
/// signal: what several people send at once ends the agent in an order that nobody
/// knows, and one that has ended, but was not reaped, still takes signals.
#[derive(Debug, Default)]
pub(super) struct Sent {
    by_signal: BTreeMap<i32, (String, Instant)>,
    frozen_since: Option<Instant>,
}

impl Sent {
    pub(super) fn note(&mut self, signal: i32, by: String, now: Instant) {
        self.by_signal.insert(signal, (by, now));
    }

    /// The agent is suspended: what is sent from now on reaches it later.
    pub(super) fn freeze(&mut self, now: Instant) {
        self.frozen_since.get_or_insert(now);
    }

    /// The agent goes on: what was sent meanwhile reaches it now.
    pub(super) fn thaw(&mut self, now: Instant) {
        let Some(since) = self.frozen_since.take() else {
            return;
        };
        for (_, at) in self.by_signal.values_mut() {
            if *at >= since {
                *at = now;
            }
        }
    }

    /// Who sent the signal that made the agent end so: it was killed by it, or, asked
    /// to end by TERM, it ended in order; no longer than `grace` after.
    pub(super) fn sender_of(
        &self,
        status: WaitStatus,
        now: Instant,
        grace: Duration,
    ) -> Option<&str> {
        let signal = match status {
            WaitStatus::Signaled { signal, .. } => signal,
            WaitStatus::Exited { .. } => libc::SIGTERM,
        };
        let (by, at) = self.by_signal.get(&signal)?;
        let waited = self.frozen_since.is_some_and(|since| *at >= since);
        (waited || now.saturating_duration_since(*at) <= grace).then_some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);
    const DEFAULT: WaitStatus = WaitStatus::Exited { code: 0 };

    const fn killed_by(signal: i32) -> WaitStatus {
        WaitStatus::Signaled {
            signal,
            core_dumped: false,
        }
    }

    fn check(sent: &[(i32, &str)], status: WaitStatus, after: Duration, expected: Option<&str>) {
        let start = Instant::now();
        let mut all = Sent::default();
        for (signal, by) in sent {
            all.note(*signal, (*by).to_owned(), start);
        }
        let answered = all.sender_of(status, start + after, GRACE);
        assert_eq!(answered, expected, "{sent:?} {status:?}");
    }

    #[test]
    fn whichever_signal_ends_the_agent_it_was_stopped_by_its_sender() {
        let both = [(libc::SIGUSR1, "one"), (libc::SIGUSR2, "two")];
        check(&both, killed_by(libc::SIGUSR1), GRACE, Some("one"));
        check(&both, killed_by(libc::SIGUSR2), GRACE, Some("two"));
        check(&both, killed_by(libc::SIGSEGV), GRACE, None);
        check(&[], killed_by(libc::SIGUSR1), GRACE, None);
    }

    #[test]
    fn to_exit_is_an_answer_to_term_alone() {
        check(&[(libc::SIGTERM, "one")], DEFAULT, GRACE, Some("one"));
        check(&[(libc::SIGUSR1, "one")], DEFAULT, GRACE, None);
    }

    #[test]
    fn what_comes_late_is_no_answer_unless_the_agent_was_suspended() {
        let late = GRACE + Duration::from_millis(1);
        check(
            &[(libc::SIGTERM, "one")],
            killed_by(libc::SIGTERM),
            late,
            None,
        );
        let start = Instant::now();
        let mut sent = Sent::default();
        sent.note(libc::SIGUSR1, "before".to_owned(), start);
        sent.freeze(start + late / 2);
        sent.note(libc::SIGTERM, "meanwhile".to_owned(), start + late / 2);
        // By whomever it was thawed.
        let while_frozen = sent.sender_of(killed_by(libc::SIGTERM), start + 2 * late, GRACE);
        assert_eq!(while_frozen, Some("meanwhile"));
        sent.thaw(start + 2 * late);
        let by = |signal| sent.sender_of(killed_by(signal), start + 2 * late, GRACE);
        assert_eq!(by(libc::SIGTERM), Some("meanwhile"));
        assert_eq!(by(libc::SIGUSR1), None);
    }
}
