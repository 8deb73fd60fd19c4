//! Where projects that are not there would appear.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Directories in which something is to be noticed, all with one inotify instance.
#[derive(Debug)]
pub(super) struct Places {
    inotify: Option<OwnedFd>,
    /// Whether something can appear that is not told of.
    pub(super) is_deaf: bool,
    /// The watched directories, and whether they still matter in this round.
    watched: HashMap<PathBuf, (i32, bool)>,
}

impl Places {
    pub(super) fn open() -> Self {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let inotify = inotify::init(flags).ok();
        Self {
            is_deaf: inotify.is_none(),
            inotify,
            watched: HashMap::new(),
        }
    }

    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Notices when `path` appears, or, where it is a directory, what appears in it.
    pub(super) fn watch(&mut self, path: &Path) {
        // The nearest directory above that exists tells of the next one's coming.
        for directory in path.ancestors() {
            if let Some((_, matters)) = self.watched.get_mut(directory) {
                *matters = true;
                return;
            }
            if let Some(watch) = self.add(directory) {
                self.watched.insert(directory.to_owned(), (watch, true));
                return;
            }
        }
        self.is_deaf = true;
    }

    fn add(&self, directory: &Path) -> Option<i32> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(self.inotify.as_ref()?, directory, flags).ok()
    }

    /// Lets go of what was not watched again since the last call.
    pub(super) fn end_round(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        self.watched.retain(|_, (watch, matters)| {
            let keep = std::mem::take(matters);
            if !keep {
                // The directory may be gone, and its watch with it.
                let _ = inotify::remove_watch(inotify, *watch);
            }
            keep
        });
    }

    /// Takes what was notified of: that there was something is enough. Watches that
    /// ended are forgotten.
    pub(super) fn forget_notifications(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        let gone = ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) if event.events().intersects(gone) => {
                    let ended = event.wd();
                    self.watched.retain(|_, (watch, _)| *watch != ended);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}
