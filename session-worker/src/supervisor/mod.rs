//! The supervisor: a small process, one per session, that owns it.
//!
//! It outlives whoever started it, has no terminal and one thread, and waits
//! without polling: an idle session causes no wake-ups. It promises that the
//! session's record is true for as long as it lives, and that nothing of the
//! agent's tree is left when it goes.

mod clock;
mod ending;
mod events;
mod hooks;
mod listener;
mod sent;
mod server;
mod start;

use session_core::failpoint;

use crate::handover::SUPERVISE;
use crate::sys;

/// Becomes a supervisor, if that is what this process was started as by a
/// [`Launcher`](crate::Launcher); does not return then. Call it first thing in
/// `main`, before there are threads: a supervisor that never touches the rest
/// of the program stays small.
pub fn supervise_if_asked() {
    let asked = std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == SUPERVISE);
    if asked {
        supervise();
        std::process::exit(0);
    }
}

/// Owns the session that was handed over until nothing is left to own.
pub(crate) fn supervise() {
    failpoint::supervises();
    if let Some(supervisor) = start::start() {
        sys::trim_heap();
        supervisor.run();
    }
}
