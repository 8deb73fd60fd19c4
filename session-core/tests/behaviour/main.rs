//! What session-core promises, tried with real files, locks and processes.
//!
//! One file per theme. `project` and `processes` are what the themes share.

mod act;
mod control;
mod conversation;
mod feed;
mod hostile;
mod interop;
mod lease;
mod observe;
mod owner;
mod persistence;
mod processes;
mod project;
mod properties;
mod registry;
mod storage;
