//! Where projects are, and where those that are not there would appear.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Directories in which something is to be noticed, all with one inotify instance.
#[derive(Debug)]
pub(super) struct Places {
    inotify: Option<OwnedFd>,
    watched: HashMap<PathBuf, Watched>,
    /// Of the watches that each directory has.
    paths: HashMap<i32, PathBuf>,
}

/// A directory that is watched.
#[derive(Debug)]
struct Watched {
    watch: i32,
    /// What the kernel was asked for.
    asked: WatchFlags,
    /// What is asked for in this round; nothing when nobody does.
    wanted: WatchFlags,
    /// The names that matter in it; any, if there are none.
    names: HashSet<OsString>,
}

/// What was noticed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noticed {
    /// A directory went away, or may have.
    pub(super) gone: bool,
    /// Something that was waited for appeared, or may have.
    pub(super) appeared: bool,
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
        Self {
            inotify: inotify::init(flags).ok(),
            watched: HashMap::new(),
            paths: HashMap::new(),
        }
    }

    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Notices when `path` appears, or, where it is a directory, what appears in it,
    /// from now on; tells whether that is only from now on. (A filesystem that is
    /// mounted there, and directories that may not be read, tell nothing.)
    pub(super) fn await_at(&mut self, path: &Path) -> bool {
        let mut name = None;
        // The nearest directory above that exists tells of the next one's coming.
        for directory in path.ancestors() {
            if let Some(anew) = self.watch(directory, INSIDE, name) {
                return anew;
            }
            name = directory.file_name();
        }
        false
    }

    /// Notices when `directory` is moved away, with what is above it, from now on;
    /// tells whether that is only from now on, or it has gone already.
    pub(super) fn hold(&mut self, directory: &Path) -> bool {
        let mut anew = false;
        // From the root on: what moves meanwhile is below a directory that is watched.
        let above: Vec<_> = directory.ancestors().collect();
        for directory in above.into_iter().rev() {
            // Where that fails, its end is seen only from inside.
            anew |= self.watch(directory, ITSELF, None) == Some(true);
        }
        anew || matches!(directory.try_exists(), Ok(false))
    }

    /// Watches `directory`; tells whether that is new, `None` when it cannot be done.
    fn watch(
        &mut self,
        directory: &Path,
        wanted: WatchFlags,
        name: Option<&OsStr>,
    ) -> Option<bool> {
        let known = self.watched.get(directory);
        let asked = known.map_or(WatchFlags::empty(), |watched| watched.asked);
        let anew = !asked.contains(wanted);
        if anew {
            let inotify = self.inotify.as_ref()?;
            let watch = inotify::add_watch(inotify, directory, wanted | asked).ok()?;
            self.paths.insert(watch, directory.to_owned());
            let watched = self.watched.entry(directory.to_owned());
            let watched = watched.or_insert_with(|| Watched {
                watch,
                asked,
                wanted: WatchFlags::empty(),
                names: HashSet::new(),
            });
            watched.watch = watch;
            watched.asked |= wanted;
        }
        let watched = self.watched.get_mut(directory)?;
        watched.wanted |= wanted;
        watched.names.extend(name.map(OsStr::to_owned));
        Some(anew)
    }

    /// Begins to ask anew: what is not asked for again until [`end_round`](Self::end_round)
    /// is let go of.
    pub(super) fn begin_round(&mut self) {
        for watched in self.watched.values_mut() {
            watched.wanted = WatchFlags::empty();
            watched.names.clear();
        }
    }

    pub(super) fn end_round(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        self.watched.retain(|path, watched| {
            if watched.wanted.is_empty() {
                // The directory may be gone, and its watch with it.
                let _ = inotify::remove_watch(inotify, watched.watch);
                self.paths.remove(&watched.watch);
                return false;
            }
            if watched.wanted != watched.asked {
                // Less is to be told of it from now on; more does no harm.
                let _ = inotify::add_watch(inotify, path, watched.wanted);
                watched.asked = watched.wanted;
            }
            true
        });
    }

    /// Takes what was notified of, and tells what of it matters.
    pub(super) fn notice(&mut self) -> Noticed {
        let mut noticed = Noticed::default();
        let Some(inotify) = &self.inotify else {
            return noticed;
        };
        let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => return noticed,
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                noticed = Noticed {
                    gone: true,
                    appeared: true,
                };
            } else if event.events().intersects(gone) {
                // One that was moved is watched where it is now.
                let _ = inotify::remove_watch(inotify, event.wd());
                if let Some(path) = self.paths.remove(&event.wd()) {
                    self.watched.remove(&path);
                    noticed.gone = true;
                }
            } else if let Some(name) = event.file_name() {
                let watched = self.paths.get(&event.wd());
                let watched = watched.and_then(|path| self.watched.get(path));
                let name = OsStr::from_bytes(name.to_bytes());
                let matters =
                    |watched: &Watched| watched.names.is_empty() || watched.names.contains(name);
                noticed.appeared |= watched.is_some_and(matters);
            }
        }
    }
}
