//! The lease: an exclusive lock on a file, held by a session's owner for its
//! whole life and freed by the kernel when the owner dies.
//!
//! It promises that a record has one writer at a time, not even for a moment
//! two. It is never unlocked, only closed: an unlock would free it for every
//! process that shares the open file (`flock(2)`), the successor included.
//!
//! This file, with the one below it, is the only one that locks.

mod conversation;
mod holder;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

pub use self::conversation::{ConversationError, ConversationLease};
pub use self::holder::{Hold, Holder};
use crate::failpoint;
use crate::id::SessionId;
use crate::store::{DIRECTORY, FILE_MODE, LEASE, RUN, Store, StoreError, for_each_name, unlink};

/// How long a taker puts up with observers who probe the lease in its way.
const TAKE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a project-wide lock is waited for.
const NAMES_PATIENCE: Duration = Duration::from_secs(10);
/// How often a run directory that goes while it is looked at is looked for anew.
const MAX_PROBES: usize = 16;
/// The time between two tries; a probe holds its lock for microseconds.
const RETRY_AFTER: Duration = Duration::from_micros(200);

/// The right to write a session's record, for as long as the value lives.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    id: SessionId,
    folder: OwnedFd,
    file: File,
}

/// A lease could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Another process owns the session.
    #[error("session {0} has an owner already")]
    Held(SessionId),
    /// The session has no run directory, so nobody owns it or owned it of late.
    #[error("session {0} has no lease")]
    Absent(SessionId),
    /// The filesystem does not lock.
    #[error("{} is on a filesystem that refuses locks (flock); monoco does not run without them", path.display())]
    LocksRefused {
        /// The lease.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The descriptor that was handed over is not this session's lease.
    #[error("the descriptor that was handed over is not the lease of session {0}")]
    Foreign(SessionId),
    /// The project cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused.
    #[error("cannot {attempt} {}", path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// What a look at a lease tells.
#[derive(Debug)]
pub(crate) enum Probe {
    /// An owner lives.
    Held,
    /// There was an owner; it died.
    Free,
    /// There is no run directory.
    Absent,
    /// It cannot be told.
    Unknown(io::Error),
}

/// Asks whether `id` has an owner, without standing in anybody's way for longer
/// than two system calls. Follows no symbolic link: the lease of another session
/// says nothing about this one.
pub(crate) fn probe(store: &Store, id: &SessionId) -> Probe {
    let Ok(run) = store.run() else {
        return Probe::Absent;
    };
    let flags = OFlags::RDONLY | LEASE_FLAGS;
    for _ in 0..MAX_PROBES {
        let folder = match rustix::fs::openat(run, id.as_str(), DIRECTORY, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Probe::Absent,
            // A file or a link in the directory's place: ours is none of them.
            Err(error) => return Probe::Unknown(error.into()),
        };
        let file = match rustix::fs::openat(&folder, LEASE, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            // A directory is seen with its lease, and moved away before it is
            // emptied: from this one something else took it, a power loss perhaps.
            Err(Errno::NOENT) if inode(run, id.as_str()) == inode(&folder, ".") => {
                return Probe::Free;
            }
            Err(Errno::NOENT) => continue,
            Err(error) => return Probe::Unknown(error.into()),
        };
        return match try_shared(&file) {
            Ok(true) => Probe::Free,
            Ok(false) => Probe::Held,
            Err(error) => Probe::Unknown(error),
        };
    }
    // Directories without a lease come and go, faster than they can be opened.
    Probe::Unknown(Errno::AGAIN.into())
}

/// Whether the lease that `path` leads to is held.
pub(crate) fn is_held(path: &Path) -> io::Result<bool> {
    // Followed, since it is a descriptor of another process; a FIFO must not hang us.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    Ok(!try_shared(&File::from(fd))?)
}

impl Lease {
    /// The lease of `id`, made anew or taken over from a dead owner; tells whether
    /// there was a run directory before.
    pub(crate) fn obtain(mut store: Store, id: &SessionId) -> Result<(Self, bool), LeaseError> {
        let project = store.project().to_owned();
        loop {
            match Self::create(store, id) {
                // A living owner's directory, or what a dead one left.
                Err(LeaseError::Held(_)) => {}
                made => return Ok((made?, false)),
            }
            match Self::take(Store::create(&project)?, id) {
                // It went in this moment.
                Err(LeaseError::Absent(_)) => store = Store::create(&project)?,
                taken => return Ok((taken?, true)),
            }
        }
    }

    /// A lease on a session that has no run directory. The directory is built
    /// under a temporary name, so nobody can see the lease before it is held.
    pub(crate) fn create(store: Store, id: &SessionId) -> Result<Self, LeaseError> {
        let path = store.run_path(id);
        let io = |attempt, source: io::Error| LeaseError::Io {
            attempt,
            path: path.clone(),
            source,
        };
        let run = store.run().map_err(|e| io("open", e))?;
        let temporary = temporary_name("new", id);
        rustix::fs::mkdirat(run, &*temporary, Mode::RWXU).map_err(|e| io("create", e.into()))?;
        let built = build(run, &temporary, &path).and_then(|(folder, file)| {
            match rustix::fs::renameat(run, &*temporary, run, id.as_str()) {
                Ok(()) => {
                    failpoint::pass("lease.named");
                    Ok((folder, file))
                }
                Err(Errno::EXIST | Errno::NOTEMPTY) => Err(LeaseError::Held(id.clone())),
                Err(error) => Err(io("create", error.into())),
            }
        });
        match built {
            Ok((folder, file)) => Ok(Self {
                store,
                id: id.clone(),
                folder,
                file,
            }),
            Err(error) => {
                // What cannot be removed now is swept later; the first error counts.
                let _ = remove_folder(run, &temporary);
                Err(error)
            }
        }
    }

    /// The lease that a dead owner left. Probes in the way are waited out.
    pub(crate) fn take(store: Store, id: &SessionId) -> Result<Self, LeaseError> {
        let path = store.run_path(id);
        let io = |attempt, source: io::Error| LeaseError::Io {
            attempt,
            path: path.clone(),
            source,
        };
        let deadline = Instant::now() + TAKE_PATIENCE;
        loop {
            let run = match store.run() {
                Ok(run) => run,
                Err(_) => return Err(LeaseError::Absent(id.clone())),
            };
            let folder = match rustix::fs::openat(run, id.as_str(), DIRECTORY, Mode::empty()) {
                Ok(folder) => folder,
                Err(Errno::NOENT) => return Err(LeaseError::Absent(id.clone())),
                Err(error) => return Err(io("open", error.into())),
            };
            let file =
                match rustix::fs::openat(&folder, LEASE, OFlags::RDWR | LEASE_FLAGS, Mode::empty())
                {
                    Ok(file) => File::from(file),
                    // An owner that goes moves its directory away before it empties it.
                    Err(Errno::NOENT) if inode(run, id.as_str()).is_err() => continue,
                    Err(Errno::NOENT) => {
                        remove_without_lease(run, id, &folder).map_err(|e| io("remove", e))?;
                        return Err(LeaseError::Absent(id.clone()));
                    }
                    Err(error) => return Err(io("open", error.into())),
                };
            if try_exclusive(&file).map_err(|source| LeaseError::LocksRefused {
                path: path.clone(),
                source,
            })? {
                failpoint::pass("lease.taken");
                let lease = Self {
                    store,
                    id: id.clone(),
                    folder,
                    file,
                };
                // The world moved while we waited: is this still the lease?
                if lease.is_current() {
                    return Ok(lease);
                }
                return Err(LeaseError::Absent(id.clone()));
            }
            // An owner excludes sharers; a prober does not, and is gone at once.
            let owned = !try_shared(&file).map_err(|e| io("probe", e))?;
            if owned || Instant::now() >= deadline {
                return Err(LeaseError::Held(id.clone()));
            }
            drop(file);
            std::thread::sleep(RETRY_AFTER);
        }
    }

    /// The lease whose open file another process handed to this one.
    ///
    /// # Errors
    /// [`LeaseError::Foreign`] when `file` is not the lease of `id` in `project`,
    /// or not the open file that is locked.
    pub fn handed_over(project: &Path, id: &SessionId, file: OwnedFd) -> Result<Self, LeaseError> {
        let store = Store::open(project)?;
        let path = store.run_path(id);
        let io = |attempt, source: io::Error| LeaseError::Io {
            attempt,
            path: path.clone(),
            source,
        };
        let run = store.run().map_err(|e| io("open", e))?;
        let folder = rustix::fs::openat(run, id.as_str(), DIRECTORY, Mode::empty())
            .map_err(|e| io("open", e.into()))?;
        let lease = Self {
            store,
            id: id.clone(),
            folder,
            file: file.into(),
        };
        // To lock once more what this open file has locked changes nothing (flock(2)).
        if lease.is_current() && try_exclusive(&lease.file).map_err(|e| io("lock", e))? {
            Ok(lease)
        } else {
            Err(LeaseError::Foreign(id.clone()))
        }
    }

    /// The session.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The locked file, to hand it to a child process. Whoever shares it shares
    /// the lease, and must close it, never unlock it.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The project's `.monoco` directory, opened anew.
    ///
    /// # Errors
    /// When it is gone.
    pub fn base(&self) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(
            &self.folder,
            "../..",
            DIRECTORY,
            Mode::empty(),
        )?)
    }

    /// The session's run directory, open.
    #[must_use]
    pub fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Opens the project's directories anew, for those that were removed; tells
    /// whether the lease still stands there.
    pub(crate) fn reopen(&mut self) -> Result<bool, StoreError> {
        let store = Store::create(self.store.project())?;
        Ok(self.move_to(store).is_ok())
    }

    /// Whether the lease beside the records that its holder writes still is the one
    /// that is locked. That is asked of the directory, not of its path: a project
    /// that was moved is owned by whoever owned it before.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let path = format!("../{RUN}/{}/{LEASE}", self.id);
        let on_disk = self
            .store
            .sessions()
            .map(|sessions| inode(sessions, path).ok());
        let locked = rustix::fs::fstat(&self.file).map(|stat| (stat.st_dev, stat.st_ino));
        matches!((on_disk, locked), (Ok(Some(a)), Ok(b)) if a == b)
    }

    /// Takes the same project's newly opened directories for its own, if the lease
    /// stands there still; gives them back otherwise.
    pub(crate) fn move_to(&mut self, store: Store) -> Result<(), Store> {
        let on_disk = store.run().ok().and_then(|run| {
            let folder =
                rustix::fs::openat(run, self.id.as_str(), DIRECTORY, Mode::empty()).ok()?;
            Some((inode(&folder, LEASE).ok()?, folder))
        });
        let locked = rustix::fs::fstat(&self.file).map(|stat| (stat.st_dev, stat.st_ino));
        match (on_disk, locked) {
            (Some((on_disk, folder)), Ok(locked)) if on_disk == locked => {
                self.store = store;
                self.folder = folder;
                Ok(())
            }
            _ => Err(store),
        }
    }

    /// Removes the run directory, then lets go.
    ///
    /// # Errors
    /// When something of the directory cannot be removed; the lease is let go
    /// of all the same.
    pub fn release(self) -> io::Result<()> {
        if !self.is_current() {
            // Somebody else's directory stands there now, or none.
            return Ok(());
        }
        let run = self.store.run()?;
        // Nobody may meet a directory that is half removed.
        let temporary = temporary_name("old", &self.id);
        rustix::fs::renameat(run, self.id.as_str(), run, &*temporary)?;
        failpoint::try_pass("lease.moved")?;
        remove_folder(run, &temporary)
    }
}

/// Held while one living session after the other is asked for its name.
pub(crate) fn lock_names(store: &Store) -> Result<File, LeaseError> {
    let path = store.runs_path();
    let io = |attempt, source: io::Error| LeaseError::Io {
        attempt,
        path: path.clone(),
        source,
    };
    let run = store.run().map_err(|e| io("open", e))?;
    let folder = File::from(
        rustix::fs::openat(run, ".", DIRECTORY, Mode::empty()).map_err(|e| io("open", e.into()))?,
    );
    let deadline = Instant::now() + NAMES_PATIENCE;
    while !try_exclusive(&folder).map_err(|source| LeaseError::LocksRefused {
        path: path.clone(),
        source,
    })? {
        if Instant::now() >= deadline {
            return Err(io("lock", io::ErrorKind::TimedOut.into()));
        }
        std::thread::sleep(RETRY_AFTER);
    }
    Ok(folder)
}

/// Removes what starters and goers that were killed midway left in `run/`.
/// A directory whose lease is locked, or that is too young to tell, stays.
pub(crate) fn sweep(store: &Store) -> io::Result<usize> {
    const OLD_ENOUGH_SECONDS: i64 = 60;
    let Ok(run) = store.run() else { return Ok(0) };
    let mut litter = Vec::new();
    for_each_name(run, |name| {
        let name = name.to_string_lossy();
        if name.starts_with(".new-") || name.starts_with(".old-") {
            litter.push(name.into_owned());
        }
    })?;
    let now = crate::Timestamp::now().as_second();
    let mut swept = 0;
    for name in litter {
        let Ok(stat) = rustix::fs::statat(run, &*name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        // A young one may be locked by its starter in this moment: hands off.
        if now - stat.st_mtime < OLD_ENOUGH_SECONDS {
            continue;
        }
        let held = match rustix::fs::openat(
            run,
            format!("{name}/{LEASE}"),
            OFlags::RDONLY | LEASE_FLAGS,
            Mode::empty(),
        ) {
            Ok(file) => !try_exclusive(&File::from(file)).unwrap_or(false),
            Err(_) => false,
        };
        // One that another sweeper removes in this moment keeps nobody from the rest.
        if !held && remove_folder(run, &name).is_ok() {
            swept += 1;
        }
    }
    Ok(swept)
}

const LEASE_FLAGS: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// Makes a locked lease in a new directory.
fn build(run: &OwnedFd, temporary: &str, path: &Path) -> Result<(OwnedFd, File), LeaseError> {
    let io = |attempt, source: Errno| LeaseError::Io {
        attempt,
        path: path.to_owned(),
        source: source.into(),
    };
    failpoint::pass("lease.made");
    let mode = rustix::fs::chmodat(run, temporary, Mode::RWXU, AtFlags::empty());
    mode.map_err(|e| io("set the mode of", e))?;
    let folder =
        rustix::fs::openat(run, temporary, DIRECTORY, Mode::empty()).map_err(|e| io("open", e))?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | LEASE_FLAGS;
    let file = rustix::fs::openat(&folder, LEASE, flags, FILE_MODE)
        .map_err(|e| io("create the lease in", e))?;
    rustix::fs::fchmod(&file, FILE_MODE).map_err(|e| io("set the mode of the lease in", e))?;
    let file = File::from(file);
    match try_exclusive(&file) {
        Ok(true) => {
            failpoint::pass("lease.locked");
            Ok((folder, file))
        }
        Ok(false) => Err(io("lock the new lease in", Errno::AGAIN)),
        Err(source) => Err(LeaseError::LocksRefused {
            path: path.to_owned(),
            source,
        }),
    }
}

fn remove_folder(run: &OwnedFd, name: &str) -> io::Result<()> {
    let folder = rustix::fs::openat(run, name, DIRECTORY, Mode::empty())?;
    empty_folder(&folder)?;
    Ok(rustix::fs::unlinkat(run, name, AtFlags::REMOVEDIR)?)
}

/// Removes a run directory without a lease. Another one, with a lease, may stand
/// in its place by now: that is not empty, and so it stays.
fn remove_without_lease(run: &OwnedFd, id: &SessionId, folder: &OwnedFd) -> io::Result<()> {
    match empty_folder(folder) {
        // Its owner has removed it by now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        emptied => emptied?,
    }
    match rustix::fs::unlinkat(run, id.as_str(), AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn empty_folder(folder: &OwnedFd) -> io::Result<()> {
    let mut names = Vec::new();
    for_each_name(folder, |name| {
        names.push(name.to_string_lossy().into_owned())
    })?;
    for name in names
        .iter()
        .filter(|name| !matches!(name.as_str(), "." | ".."))
    {
        unlink(folder, name)?;
    }
    Ok(())
}

fn temporary_name(kind: &str, id: &SessionId) -> String {
    format!(".{kind}-{id}-{}", SessionId::random().short())
}

fn inode(folder: impl AsFd, path: impl rustix::path::Arg) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::statat(folder, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((stat.st_dev, stat.st_ino))
}

// std's own `File::lock` does not retry after a signal, and hides which kind of
// lock it takes; the full path keeps the two apart.
fn try_exclusive(file: &File) -> io::Result<bool> {
    locked(|| fs2::FileExt::try_lock_exclusive(file))
}

fn try_shared(file: &File) -> io::Result<bool> {
    locked(|| fs2::FileExt::try_lock_shared(file))
}

fn locked(mut lock: impl FnMut() -> io::Result<()>) -> io::Result<bool> {
    loop {
        match lock() {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
