//! What changes in a project, as it happens: a hint, never the truth.
//!
//! The feed tells which records to read again. Where it cannot tell (a queue
//! that overflowed, directories that were replaced, a system without
//! notifications) it says so, and everything must be read again.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::id::SessionId;
use crate::store::Store;
use crate::sys;

/// How often everything is to be read again where nothing notifies.
const WITHOUT_NOTIFICATIONS: Duration = Duration::from_secs(1);

/// Something may be different now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This session's record was written or removed, or its owner came or went.
    Session(SessionId),
    /// Anything may have changed: read everything again.
    Rescan,
}

/// The changes of one project since the feed was opened.
#[derive(Debug)]
pub struct Feed {
    inotify: Option<OwnedFd>,
    base: PathBuf,
    /// The watch on `base`, which tells when a folder in it is replaced: one that
    /// somebody still has open does not tell its own removal.
    base_watch: Option<i32>,
    folders: [PathBuf; 2],
    watched: bool,
}

impl Feed {
    pub(crate) fn open(store: &Store) -> Self {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let mut feed = Self {
            inotify: inotify::init(flags).ok(),
            base: store.base_path(),
            base_watch: None,
            folders: [store.sessions_path(), store.runs_path()],
            watched: false,
        };
        feed.watch();
        feed
    }

    /// The descriptor that becomes readable with the next change; `None` where
    /// nothing notifies, and [`next`](Self::next) has to be called now and then.
    #[must_use]
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify
            .as_ref()
            .filter(|_| self.watched)
            .map(AsFd::as_fd)
    }

    /// The next changes; empty when there are none within `timeout` (`None`
    /// waits for ever).
    ///
    /// # Errors
    /// When the system refuses to wait.
    pub fn next(&mut self, timeout: Option<Duration>) -> io::Result<Vec<Change>> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let Some(fd) = self.as_fd() else {
                let pause = left.map_or(WITHOUT_NOTIFICATIONS, |left| {
                    left.min(WITHOUT_NOTIFICATIONS)
                });
                std::thread::sleep(pause);
                self.watch();
                return Ok(vec![Change::Rescan]);
            };
            if !sys::poll_readable(fd, left)? {
                return Ok(Vec::new());
            }
            let changes = self.drain()?;
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }

    fn watch(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        let replaced = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW;
        self.base_watch = inotify::add_watch(inotify, &self.base, replaced).ok();
        let watch =
            |folder| inotify::add_watch(inotify, folder, replaced | WatchFlags::CLOSE_WRITE);
        self.watched =
            self.base_watch.is_some() && self.folders.iter().all(|folder| watch(folder).is_ok());
    }

    /// Whether a name in `.monoco` is one of the folders that are watched.
    fn is_folder(&self, name: &[u8]) -> bool {
        let mut names = self.folders.iter().filter_map(|folder| folder.file_name());
        names.any(|folder| folder.as_bytes() == name)
    }

    fn drain(&mut self) -> io::Result<Vec<Change>> {
        let Some(inotify) = &self.inotify else {
            return Ok(Vec::new());
        };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        let (mut changes, mut replaced) = (Vec::new(), false);
        loop {
            let change = match reader.next() {
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(event) => {
                    let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
                    let name = event.file_name().map(CStr::to_bytes);
                    let in_base = Some(event.wd()) == self.base_watch;
                    let is_gone = event.events().intersects(gone)
                        || in_base && name.is_some_and(|name| self.is_folder(name));
                    replaced |= is_gone;
                    if is_gone || event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                        Some(Change::Rescan)
                    } else if in_base {
                        None
                    } else {
                        name.and_then(session_of).map(Change::Session)
                    }
                }
            };
            if let Some(change) = change
                && !changes.contains(&change)
            {
                changes.push(change);
            }
        }
        if replaced {
            self.watch();
        }
        Ok(changes)
    }
}

/// The session that a name in `sessions/` or `run/` belongs to.
fn session_of(name: &[u8]) -> Option<SessionId> {
    let stem = name.strip_suffix(b".json").unwrap_or(name);
    SessionId::parse(std::str::from_utf8(stem).ok()?).ok()
}
