//! What else is to be run when a session begins and when it has ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The environment variable that tells a hook its session.
pub const HOOK_SESSION_VAR: &str = "MONOCO_HOOK_SESSION_ID";
/// How the mark begins that a hook has in place of a session's
/// ([`SESSION_ID_VAR`](session_core::process::SESSION_ID_VAR)): it is no part of the
/// agent's tree.
pub const HOOK_MARK: &str = "hook-";

/// Commands that the owner of a session runs. They come from whoever starts the session,
/// never from its record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Once the agent runs and its record says so, one after the other.
    pub on_start: Vec<Hook>,
    /// Once the session has ended and its record says so, one after the other.
    pub on_end: Vec<Hook>,
}

/// A command that is given the session's record on its stdin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take; then it is killed, with all that it has started.
    pub timeout: Duration,
}
