//! The command line of monoco: a thin front to `session-core` and
//! `session-worker`, and the only crate that prints.
//!
//! Data goes to standard output, words go to standard error, one line each.
//! Nothing that comes from a record, a log or an error reaches a terminal before
//! its control characters were made visible.

mod args;
mod commands;
mod config;
mod describe;
mod ear;
mod engines;
mod error;
mod exit;
mod follow;
mod help;
mod issues;
mod nearest;
mod output;
mod project;
mod roles;
mod tail;
mod text_file;
mod xdg;
mod yaml;

use std::process::ExitCode;

use rustix::process::Signal;
use session_worker::signals::Signals;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // A limit on the size of files is to be an error of the write that meets it,
    // not our end. Agents start with no signal blocked. Where it cannot be blocked,
    // it ends us, and the session is told as abandoned.
    let _ = Signals::take(&[Signal::XFSZ.as_raw()]);
    match args::Args::read(std::env::args_os()) {
        Ok(args) => commands::execute(args).into(),
        // Prints help to stdout and exits 0, a usage error to stderr and exits 2.
        Err(error) => error.exit(),
    }
}

/// The command tree, for man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    help::grouped(args::Args::tree())
}
