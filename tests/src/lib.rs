//! The harness of the end-to-end tests: a project of one's own per test, the
//! `monoco` binary, and looks at real processes.
//!
//! It promises that no test leaves a process behind, and that nothing waits for
//! a time: everything waits for a condition, with a deadline.

pub mod continued;
mod daemon;
pub mod fuzz;
mod process;
mod project;
mod ran;
mod raw;
mod redact;
mod skip;
mod speech;
mod systemd;
mod terminal;
mod wait;

pub use daemon::{Answer as ApiAnswer, Daemon, Event, Events, Streamed, sessions};
pub use process::{
    Signal, alive, children, context_switches, cpu_ticks, everybody, executes, ignored_signals,
    is_awake, is_stopped, kill, may_open, memory_kb, memory_kb_if_there, pending_signals,
    session_of,
};
pub use project::{Project, agent, monoco, sibling};
pub use ran::{Ran, finish};
pub use raw::{Answer, Raw, RawServer, token_path, write_record};
pub use redact::{redacted, redacted_text};
pub use skip::{note, skip, works};
pub use speech::{Utterance, Way, sounds};
pub use systemd::UserManager;
pub use terminal::Terminal;
pub use wait::{PATIENCE, gone, stays, wait_until, wait_until_within};
