//! Owns the processes of sessions: starts an agent so that no agent ever runs
//! that no record knows, watches it without polling, stops it with its whole
//! tree, and records how it ended.
//!
//! - [`Launcher`] starts a session in a *supervisor*, a small process of its own
//!   that outlives whoever started it. The supervisor is an executable that calls
//!   [`supervise_if_asked`] first thing in its `main`; it can be any program's.
//! - [`ProcessWorker`] is the [`Worker`](session_core::Worker) beneath it, for
//!   programs that would rather own a session themselves.
//!
//! Linux 5.10 or later: it rests on pidfds, `close_range(2)` and subreapers.

mod handover;
mod hooks;
mod launch;
mod process_worker;
mod program;
mod reading;
pub mod signals;
mod spare;
mod supervisor;
mod sys;

pub use hooks::{HOOK_MARK, HOOK_SESSION_VAR, Hook, Hooks};
pub use launch::{
    Adoption, AgentStdin, DEFAULT_GRACE, EndWatch, Launch, LaunchError, Launched, Launcher,
};
pub use process_worker::{AgentSpec, ISSUE_VAR, PROJECT_VAR, ProcessWorker, ROLE_VAR};
pub use program::Program;
pub use reading::{
    At, Condition, Literal, MAX_LINE_LEN, Reading, Rule, RuleVerdict, Show, Shown, When,
};
pub use spare::Spare;
pub use supervisor::supervise_if_asked;

/// The examples of the README, which have to compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
