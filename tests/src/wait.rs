//! Waiting for what must become true.

use std::time::{Duration, Instant};

use crate::process::alive;

/// How long a condition may take before its test fails: far beyond what it takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_until_within(PATIENCE, what, condition);
}

/// The same for what may take longer.
///
/// # Panics
/// When it does not within `patience`.
#[track_caller]
pub fn wait_until_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Watches for a while that `condition` goes on to hold: for what must not happen.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn stays(what: &str, time: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < time {
        assert!(condition(), "not for {time:?}: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Waits until none of `pids` lives.
///
/// # Panics
/// When one does after [`PATIENCE`].
#[track_caller]
pub fn gone(pids: &[i32]) {
    assert!(!pids.is_empty(), "nobody to look for");
    wait_until(&format!("none of {pids:?} lives"), || {
        !pids.iter().any(|pid| alive(*pid))
    });
}
