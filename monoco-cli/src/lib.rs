//! The command line of monoco: a thin front to `session-core` and
//! `session-worker`, and the only crate that prints.
//!
//! Data goes to standard output, words go to standard error, one line each.
//! Nothing that comes from a record, a log or an error reaches a terminal before
//! its control characters were made visible.

mod args;
mod commands;
mod config;
mod continuation;
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

use std::ffi::OsString;
use std::process::ExitCode;

use rustix::process::Signal;
use session_worker::Spare;
use session_worker::signals::Signals;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let spare = starts_session(std::env::args_os().skip(1))
        .then(Spare::fork)
        .and_then(Result::ok);
    // A limit on the size of files is to be an error of the write that meets it,
    // not our end. Agents start with no signal blocked. Where it cannot be blocked,
    // it ends us, and the session is told as abandoned.
    let _ = Signals::take(&[Signal::XFSZ.as_raw()]);
    match args::Args::read(std::env::args_os()) {
        Ok(args) => commands::execute(args, spare).into(),
        // Prints help to stdout and exits 0, a usage error to stderr and exits 2.
        Err(error) => error.exit(),
    }
}

/// Whether a command line asks for a session, told without reading it all: as long as
/// this process has touched next to nothing, it forks quickly, into a small supervisor.
fn starts_session(mut words: impl Iterator<Item = OsString>) -> bool {
    loop {
        match words.next() {
            Some(word) if word == "run" => return true,
            Some(word) if word == "--project" => drop(words.next()),
            Some(word) if word.as_encoded_bytes().starts_with(b"--project=") => {}
            _ => return false,
        }
    }
}

/// The command tree, for man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    help::grouped(args::Args::tree())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_starts_a_session_is_known_by_its_first_words() {
        let check = |line: &str, expected| {
            let words = line.split(' ').map(OsString::from);
            assert_eq!(starts_session(words), expected, "{line}");
        };
        for line in [
            "run",
            "run -d -- ps",
            "--project p run x",
            "--project=p run x",
        ] {
            check(line, true);
        }
        for line in [
            "",
            "ps",
            "ps run",
            "--project run ps",
            "--project",
            "-- run",
        ] {
            check(line, false);
        }
    }
}
