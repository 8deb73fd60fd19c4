//! The way out: data to standard output, words to standard error.
//!
//! A reader that has gone is no failure. Everything for people passes through
//! [`sanitise`] first.

pub(crate) mod ago;
pub(crate) mod json;
pub(crate) mod neutralise;
pub(crate) mod sanitise;
pub(crate) mod stream;
pub(crate) mod table;

use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::error::CliError;

/// How much is gathered before it is written.
const BUFFER: usize = 64 << 10;
/// The size of a terminal that does not tell its own.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Standard output, unbuffered, also where another program made it non-blocking.
#[derive(Debug)]
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(self.as_fd(), bytes) {
                Ok(n) => return Ok(n),
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(self, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stdout {
    fn as_fd(&self) -> BorrowedFd<'_> {
        rustix::stdio::stdout()
    }
}

/// The terminal behind standard output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    pub(crate) colour: bool,
}

impl Terminal {
    /// `None` when standard output is something else.
    pub(crate) fn of_stdout() -> Option<Self> {
        let stdout = rustix::stdio::stdout();
        if !rustix::termios::isatty(stdout) {
            return None;
        }
        let size = rustix::termios::tcgetwinsize(stdout).ok();
        let or_usual =
            |told: Option<u16>, usual| told.filter(|n| *n > 0).map_or(usual, usize::from);
        Some(Self {
            columns: or_usual(size.map(|size| size.ws_col), USUAL_SIZE.0),
            rows: or_usual(size.map(|size| size.ws_row), USUAL_SIZE.1),
            colour: wants_colour(),
        })
    }
}

/// See no-color.org.
fn wants_colour() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Whether somebody looks on: one of the two ways out is a terminal.
pub(crate) fn for_people() -> bool {
    rustix::termios::isatty(rustix::stdio::stdout())
        || rustix::termios::isatty(rustix::stdio::stderr())
}

/// Buffered standard output.
pub(crate) fn stdout() -> BufWriter<Stdout> {
    BufWriter::with_capacity(BUFFER, Stdout)
}

/// Writes one line of data.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    let mut out = stdout();
    let line = format!("{}\n", sanitise::line(text));
    // What only drops away fails without a word.
    written(out.write_all(line.as_bytes()).and_then(|()| out.flush()))
}

/// Says something on standard error, on one line.
pub(crate) fn words(text: &str) {
    let line = format!("monoco: {}\n", sanitise::line(text));
    // Where nobody listens there is nobody to tell that either.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Says what went wrong, with the chain of causes.
pub(crate) fn failure(error: &dyn std::error::Error) {
    words(&session_core::error_chain(error));
}

/// A reader that has gone (`head`) has had enough: no failure.
pub(crate) fn written(result: io::Result<()>) -> Result<(), CliError> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        _ => Ok(()),
    }
}
