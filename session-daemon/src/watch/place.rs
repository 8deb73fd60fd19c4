//! Where projects are, and where those that are not there would appear.

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
    watched: HashMap<PathBuf, Watched>,
}

/// A directory that is watched.
#[derive(Debug)]
struct Watched {
    watch: i32,
    /// Whether also for what appears in it, not only for its own end.
    inside: bool,
    /// Whether anybody asked for it in this round.
    matters: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watching {
    Already,
    Anew,
    Not,
}

/// That the directory itself goes away.
const ITSELF: WatchFlags = WatchFlags::DELETE_SELF
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);
/// And what appears in it, or disappears.
const INSIDE: WatchFlags = ITSELF
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM);

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

    /// Notices when `path` appears, or, where it is a directory, what appears in it,
    /// from now on; tells whether that is only from now on.
    pub(super) fn await_at(&mut self, path: &Path) -> bool {
        // The nearest directory above that exists tells of the next one's coming.
        let mut watched = path
            .ancestors()
            .map(|directory| self.watch(directory, true));
        match watched.find(|watching| *watching != Watching::Not) {
            Some(watching) => watching == Watching::Anew,
            None => {
                drop(watched);
                self.is_deaf = true;
                false
            }
        }
    }

    /// Notices when `directory` is moved away, with what is above it.
    pub(super) fn hold(&mut self, directory: &Path) {
        for directory in directory.ancestors() {
            // Where that fails, its end is seen only from inside.
            self.watch(directory, false);
        }
    }

    fn watch(&mut self, directory: &Path, inside: bool) -> Watching {
        if let Some(watched) = self.watched.get_mut(directory)
            && (watched.inside || !inside)
        {
            watched.matters = true;
            return Watching::Already;
        }
        let Some(inotify) = &self.inotify else {
            return Watching::Not;
        };
        let flags = if inside { INSIDE } else { ITSELF };
        let Ok(watch) = inotify::add_watch(inotify, directory, flags) else {
            return Watching::Not;
        };
        let watched = Watched {
            watch,
            inside,
            matters: true,
        };
        self.watched.insert(directory.to_owned(), watched);
        Watching::Anew
    }

    /// Lets go of what was not watched again since the last call.
    pub(super) fn end_round(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        self.watched.retain(|_, watched| {
            let keep = std::mem::take(&mut watched.matters);
            if !keep {
                // The directory may be gone, and its watch with it.
                let _ = inotify::remove_watch(inotify, watched.watch);
            }
            keep
        });
    }

    /// Takes what was notified of; tells whether a directory went away.
    pub(super) fn forget_notifications(&mut self) -> bool {
        let Some(inotify) = &self.inotify else {
            return false;
        };
        let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        let mut any_gone = false;
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    any_gone = true;
                }
                Ok(event) if event.events().intersects(gone) => {
                    any_gone = true;
                    let watch = event.wd();
                    // One that was moved is watched where it is now.
                    let _ = inotify::remove_watch(inotify, watch);
                    self.watched.retain(|_, watched| watched.watch != watch);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return any_gone,
            }
        }
    }
}
