//! Copying a log to standard output while it grows, without polling and with
//! bounded memory. Who follows says what else to wake up for.

use std::fs::File;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use session_worker::Reading;

use crate::ear::{WITHOUT_NOTIFICATIONS, timespec};
use crate::error::CliError;
use crate::output::Stdout;
use crate::output::neutralise::Neutraliser;
use crate::output::stream::Renderer;

/// How much is copied at once.
const CHUNK: usize = 128 << 10;

/// Where a log goes: the bytes as they are, or, an engine's lines as text, and what goes
/// to a terminal harmless to it.
#[derive(Debug)]
pub(crate) struct LogOutput {
    renderer: Option<Renderer>,
    neutraliser: Option<Neutraliser>,
    rendered: Vec<u8>,
    shown: Vec<u8>,
}

impl LogOutput {
    /// Standard output; it gets the bytes as they are if `raw`, otherwise as text
    /// that `reading` makes of them, made harmless where it is a terminal.
    pub(crate) fn stdout(raw: bool, reading: Option<Reading>) -> Self {
        let harmless = !raw && rustix::termios::isatty(rustix::stdio::stdout());
        Self {
            renderer: reading.filter(|_| !raw).and_then(Renderer::new),
            neutraliser: harmless.then(Neutraliser::default),
            rendered: Vec::new(),
            shown: Vec::new(),
        }
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), CliError> {
        let rendered = match &mut self.renderer {
            None => chunk,
            Some(renderer) => {
                self.rendered.clear();
                renderer.push(chunk, &mut self.rendered);
                &self.rendered
            }
        };
        let shown = match &mut self.neutraliser {
            None => rendered,
            Some(neutraliser) => {
                self.shown.clear();
                neutraliser.push(rendered, &mut self.shown);
                &self.shown
            }
        };
        Stdout.write_all(shown).map_err(CliError::Output)
    }

    /// Writes what still waits for its continuation.
    pub(crate) fn finish(&mut self) -> Result<(), CliError> {
        self.rendered.clear();
        self.shown.clear();
        if let Some(renderer) = &mut self.renderer {
            renderer.finish(&mut self.rendered);
        }
        let shown = match &mut self.neutraliser {
            None => &self.rendered,
            Some(neutraliser) => {
                neutraliser.push(&self.rendered, &mut self.shown);
                neutraliser.finish(&mut self.shown);
                &self.shown
            }
        };
        Stdout.write_all(shown).map_err(CliError::Output)
    }
}

/// A log that is copied as it grows.
#[derive(Debug)]
pub(crate) struct Follower {
    log: File,
    offset: u64,
    notifications: Option<OwnedFd>,
    chunk: Vec<u8>,
}

impl Follower {
    /// Copies `log` from `offset` on.
    pub(crate) fn new(log: File, offset: u64) -> Self {
        Self {
            notifications: watch(&log),
            log,
            offset,
            chunk: vec![0; CHUNK],
        }
    }

    /// Copies until one of `others` is readable, and tells which. Fails as soon as
    /// nobody reads standard output any more.
    pub(crate) fn until(
        &mut self,
        others: &[BorrowedFd<'_>],
        out: &mut LogOutput,
    ) -> Result<usize, CliError> {
        loop {
            let copied = self.copy_some(u64::MAX, out)?;
            let patience = match &self.notifications {
                _ if copied > 0 => Some(Duration::ZERO),
                Some(_) => None,
                None => Some(WITHOUT_NOTIFICATIONS),
            };
            if let Some(other) = self.poll(others, patience)? {
                return Ok(other);
            }
        }
    }

    /// Copies what is there now. What is written meanwhile is not waited for: a
    /// log that grows faster than it can be copied has an end all the same.
    pub(crate) fn rest(&mut self, out: &mut LogOutput) -> Result<(), CliError> {
        let end = self.log.metadata().map_err(reading())?.len();
        if end < self.offset {
            // Somebody emptied the log: what is there now is all new.
            self.offset = 0;
        }
        while self.offset < end && self.copy_some(end - self.offset, out)? > 0 {}
        Ok(())
    }

    /// Copies at most one chunk of at most `limit` bytes; tells how much.
    fn copy_some(&mut self, limit: u64, out: &mut LogOutput) -> Result<usize, CliError> {
        let limit = usize::try_from(limit).unwrap_or(CHUNK).min(CHUNK);
        let n = self
            .log
            .read_at(&mut self.chunk[..limit], self.offset)
            .map_err(reading())?;
        if n == 0 && self.log.metadata().map_err(reading())?.len() < self.offset {
            // Somebody emptied the log: go on with what comes now.
            self.offset = 0;
        }
        out.write(&self.chunk[..n])?;
        self.offset += n as u64;
        Ok(n)
    }

    fn poll(
        &self,
        others: &[BorrowedFd<'_>],
        patience: Option<Duration>,
    ) -> Result<Option<usize>, CliError> {
        let stdout = Stdout;
        let mut fds: Vec<_> = others
            .iter()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        // Nothing is asked of it: that its reader is gone is told unasked.
        fds.push(PollFd::new(&stdout, PollFlags::empty()));
        fds.extend(
            self.notifications
                .as_ref()
                .map(|fd| PollFd::new(fd, PollFlags::IN)),
        );
        match poll(&mut fds, patience.map(timespec).as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(None),
            Err(error) => return Err(reading()(error.into())),
        }
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        if let Some(other) = fds[..others.len()].iter().position(ready) {
            return Ok(Some(other));
        }
        if ready(&fds[others.len()]) {
            return Err(CliError::Output(io::ErrorKind::BrokenPipe.into()));
        }
        if fds.last().is_some_and(ready) {
            self.forget_notifications();
        }
        Ok(None)
    }

    /// Takes the notifications off their queue: that there were any is enough.
    fn forget_notifications(&self) {
        let Some(fd) = &self.notifications else {
            return;
        };
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(fd, &mut buffer);
        while matches!(reader.next(), Ok(_) | Err(Errno::INTR)) {}
    }
}

/// Notifications of what is appended to `log`; `None` where there are none to be had.
fn watch(log: &File) -> Option<OwnedFd> {
    let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    let path = format!("/proc/self/fd/{}", log.as_fd().as_raw_fd());
    inotify::add_watch(&fd, path, WatchFlags::MODIFY).ok()?;
    Some(fd)
}

fn reading() -> impl FnOnce(io::Error) -> CliError {
    CliError::io("read the log")
}
