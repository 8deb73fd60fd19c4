//! What changes in a project, as it happens: a hint, never the truth.
//!
//! The feed tells which records to read again. Where it cannot tell (a queue
//! that overflowed, directories that were replaced, a filesystem that is silent
//! about what others write) it says so, and everything must be read again.

use std::collections::HashSet;
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
/// How often where somebody else may write without a notification.
const SILENT_FILESYSTEM: Duration = Duration::from_secs(3);

/// Something may be different now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// Whether all that is written here is written through this kernel.
    local: bool,
    rescan_at: Option<Instant>,
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
            local: sys::notifies_of_everything(&store.base_path()),
            rescan_at: None,
        };
        feed.watch();
        feed.rescan_at = feed.next_rescan();
        feed
    }

    /// The descriptor that becomes readable with the next change; `None` where
    /// nothing notifies.
    #[must_use]
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify
            .as_ref()
            .filter(|_| self.watched)
            .map(AsFd::as_fd)
    }

    /// When [`next`](Self::next) has to be called at the latest, because not every
    /// change is notified of; `None` where every one is.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.rescan_at
    }

    fn next_rescan(&self) -> Option<Instant> {
        let pause = match (self.watched, self.local) {
            (true, true) => return None,
            (true, false) => SILENT_FILESYSTEM,
            (false, _) => WITHOUT_NOTIFICATIONS,
        };
        Some(Instant::now() + pause)
    }

    /// The next changes; empty when there are none within `timeout` (`None`
    /// waits for ever).
    ///
    /// # Errors
    /// When the system refuses to wait.
    pub fn next(&mut self, timeout: Option<Duration>) -> io::Result<Vec<Change>> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let changes = self.drain()?;
            if !changes.is_empty() {
                return Ok(changes);
            }
            let now = Instant::now();
            if self.rescan_at.is_some_and(|rescan_at| rescan_at <= now) {
                self.watch();
                self.rescan_at = self.next_rescan();
                return Ok(vec![Change::Rescan]);
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Ok(Vec::new());
            }
            let next = [deadline, self.rescan_at].into_iter().flatten().min();
            let left = next.map(|next| next.saturating_duration_since(now));
            match self.as_fd() {
                Some(fd) => drop(sys::poll_readable(fd, left)?),
                None => std::thread::sleep(left.unwrap_or(WITHOUT_NOTIFICATIONS)),
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
        let told = replaced | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
        let is_watched = |folder| match inotify::add_watch(inotify, folder, told) {
            // The watch on its parent tells when it comes.
            Ok(_) | Err(Errno::NOENT) => true,
            Err(_) => false,
        };
        self.watched = self.base_watch.is_some() && self.folders.iter().all(is_watched);
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
        let mut known = HashSet::new();
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
                        name.and_then(change_of)
                    }
                }
            };
            if let Some(change) = change
                && known.insert(change.clone())
            {
                changes.push(change);
            }
        }
        if replaced {
            self.watch();
            self.rescan_at = self.next_rescan();
        }
        Ok(changes)
    }
}

/// What a name in `sessions/` or `run/` tells of: a session, or a record that
/// belongs to none, which only a look at all of them finds.
fn change_of(name: &[u8]) -> Option<Change> {
    let record = name.strip_suffix(b".json");
    let id = std::str::from_utf8(record.unwrap_or(name)).ok();
    match id.and_then(|id| SessionId::parse(id).ok()) {
        Some(id) => Some(Change::Session(id)),
        None if record.is_some() && !name.starts_with(b".") => Some(Change::Rescan),
        None => None,
    }
}
