//! Signals that arrive at a descriptor, to be waited for beside others.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys;

/// Signals of this process that are read instead of handled.
///
/// They stay blocked when the value is dropped: a signal that comes late must
/// not kill who was about to end in order. Take them before other threads start.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks `signals`, by number, and reads them from now on.
    ///
    /// # Errors
    /// When the system refuses, or one of the numbers is no signal.
    pub fn take(signals: &[i32]) -> io::Result<Self> {
        sys::signal_fd(signals).map(Self)
    }

    /// The next signal that has arrived; `None` when there is none now.
    ///
    /// # Errors
    /// When the system refuses.
    #[expect(
        clippy::should_implement_trait,
        reason = "an empty queue is not an end"
    )]
    pub fn next(&mut self) -> io::Result<Option<i32>> {
        sys::next_signal(&self.0)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
