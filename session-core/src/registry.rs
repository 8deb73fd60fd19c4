//! Which projects there are on this machine, for programs that show them all.
//!
//! A directory with one small file per project, which says where the project is.
//! It is a hint: whoever loses it loses no session, and it is made anew by and
//! by. So nothing is synced, and whatever is there and is not an entry is left
//! out, never followed, and never waited for.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::store::{
    BASE, DIRECTORY_MODE, Damage, FILE_MODE, StoreError, for_each_name, make_own, open_own,
    open_own_file, own_uid, unlink,
};

/// The longest path of a project, in bytes (`PATH_MAX`, `limits.h`).
const MAX_PATH_LEN: usize = 4096;
/// How many numbers are tried for a project; more than one only where two paths
/// have the same hash.
const MAX_PROBES: u64 = 16;
/// How old an entry may be before a project that is noted again renews it.
const RENEW_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// How old an entry must be before its project counts as gone: a disk that is not
/// mounted for some days keeps its projects.
const FORGET_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How the names of entries begin that are being written.
const NEW: &str = ".new-";

/// The projects that were noted in one directory.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use session_core::Registry;
/// use std::path::{Path, PathBuf};
///
/// let registry = Registry::at(dir.path().join("projects"));
/// registry.note(Path::new("/home/me/project"))?;
/// assert_eq!(registry.projects()?, [PathBuf::from("/home/me/project")]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    dir: PathBuf,
}

/// What is at the place of an entry.
enum Slot {
    Free,
    Project(PathBuf, File),
    /// Not an entry; it can be replaced.
    Junk,
}

impl Registry {
    /// The registry in `dir`, which need not exist yet.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Remembers that there is a project in the directory `project`. For one that is
    /// known this costs a look, and nothing is written; once a day its entry's
    /// time of change is renewed.
    ///
    /// # Errors
    /// When `project` is not an absolute path, or is longer than 4096 bytes; when
    /// the directory is another user's, or cannot be made or written.
    pub fn note(&self, project: &Path) -> io::Result<()> {
        self.note_as(project, fnv1a(project.as_os_str().as_bytes()))
    }

    /// As [`note`](Self::note), for a project whose path has this hash.
    fn note_as(&self, project: &Path, hash: u64) -> io::Result<()> {
        let path = project.as_os_str().as_bytes();
        if path.len() > MAX_PATH_LEN || parse(&entry(path)).is_none() {
            let words = format!("{} cannot be a project's path", path.escape_ascii());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let folder = match self.open()? {
            Some(folder) => folder,
            None => self.create()?,
        };
        for number in 0..MAX_PROBES {
            let name = name(hash.wrapping_add(number));
            match look(&folder, &name)? {
                Slot::Project(known, file) if known == project => {
                    return match age(&file) {
                        Ok(age) if age > RENEW_AFTER => file.set_modified(SystemTime::now()),
                        // Somebody renewed it in this moment, or set the clock.
                        _ => Ok(()),
                    };
                }
                Slot::Project(..) => {}
                Slot::Free | Slot::Junk => return write(&folder, &name, &entry(path)),
            }
        }
        let words = format!(
            "no room for {} in {}",
            project.display(),
            self.dir.display()
        );
        Err(io::Error::other(words))
    }

    /// The projects that were noted, sorted by path; they need not exist any more.
    /// None where there is no registry yet.
    ///
    /// # Errors
    /// When the directory is another user's, or cannot be read. What it holds that
    /// is no entry is left out.
    pub fn projects(&self) -> io::Result<Vec<PathBuf>> {
        let Some(folder) = self.open()? else {
            return Ok(Vec::new());
        };
        let entries = entries(&folder)?.into_iter();
        let mut projects: Vec<_> = entries.map(|(_, project, _)| project).collect();
        projects.sort();
        // Two entries, where one before them was removed since.
        projects.dedup();
        Ok(projects)
    }

    /// Forgets the projects that have no `.monoco` any more and were not noted for
    /// 30 days, and returns them, sorted.
    ///
    /// # Errors
    /// When the directory is another user's, or cannot be read or written. A project
    /// that cannot be looked at is kept.
    pub fn prune(&self) -> io::Result<Vec<PathBuf>> {
        let mut forgotten = Vec::new();
        let Some(folder) = self.open()? else {
            return Ok(forgotten);
        };
        for (name, project, age) in entries(&folder)? {
            if age > FORGET_AFTER && is_gone(&project) {
                unlink(&folder, &name)?;
                forgotten.push(project);
            }
        }
        sweep(&folder)?;
        forgotten.sort();
        Ok(forgotten)
    }

    fn open(&self) -> io::Result<Option<OwnedFd>> {
        open_own(None, "", &self.dir).map_err(into_io)
    }

    fn create(&self) -> io::Result<OwnedFd> {
        if let Some(parent) = self.dir.parent() {
            make_directories(parent)?;
        }
        make_own(None, "", &self.dir).map_err(into_io)
    }
}

/// The 64-bit FNV-1a hash: the same in every version and on every machine, unlike
/// the standard library's.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn name(hash: u64) -> String {
    format!("{hash:016x}")
}

fn is_name(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn entry(path: &[u8]) -> Vec<u8> {
    [path, b"\n"].concat()
}

/// The project that an entry is about. The last newline is the entry's; any other
/// is the path's.
fn parse(entry: &[u8]) -> Option<PathBuf> {
    let path = entry.strip_suffix(b"\n")?;
    let is_path = path.starts_with(b"/") && path.len() <= MAX_PATH_LEN && !path.contains(&0);
    is_path.then(|| OsStr::from_bytes(path).into())
}

/// What cannot be read for want of something else (descriptors, memory) is no junk.
fn look(folder: &OwnedFd, name: &str) -> io::Result<Slot> {
    let file = match open_own_file(folder, name, own_uid()) {
        Ok(Some(fd)) => File::from(fd),
        Ok(None) => return Ok(Slot::Free),
        Err(Damage::Unreadable(error)) if error.kind() != io::ErrorKind::PermissionDenied => {
            return Err(error);
        }
        Err(_) => return Ok(Slot::Junk),
    };
    // Enough to see that it is too long.
    let mut content = Vec::new();
    let read = (&file)
        .take(MAX_PATH_LEN as u64 + 2)
        .read_to_end(&mut content);
    read?;
    Ok(match parse(&content) {
        Some(project) => Slot::Project(project, file),
        None => Slot::Junk,
    })
}

/// Every entry: its name, its project, and its age; no time where that is not told.
fn entries(folder: &OwnedFd) -> io::Result<Vec<(String, PathBuf, Duration)>> {
    let mut names = Vec::new();
    for_each_name(folder, |name| {
        names.extend(
            name.to_str()
                .ok()
                .filter(|name| is_name(name))
                .map(str::to_owned),
        );
    })?;
    let mut entries = Vec::new();
    for name in names {
        match look(folder, &name)? {
            Slot::Project(project, file) => {
                entries.push((name, project, age(&file).unwrap_or_default()));
            }
            Slot::Free | Slot::Junk => {}
        }
    }
    Ok(entries)
}

/// Makes the entry, then makes it visible.
fn write(folder: &OwnedFd, name: &str, entry: &[u8]) -> io::Result<()> {
    let new = format!("{NEW}{}", uuid::Uuid::new_v4().simple());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, &*new, flags, FILE_MODE)?;
    let written = rustix::fs::fchmod(&file, FILE_MODE)
        .map_err(io::Error::from)
        .and_then(|()| File::from(file).write_all(entry))
        .and_then(|()| Ok(rustix::fs::renameat(folder, &*new, folder, name)?));
    if written.is_err() {
        // What cannot be removed either is swept later; the first error counts.
        let _ = unlink(folder, &new);
    }
    written
}

/// Removes what writers left that died.
fn sweep(folder: &OwnedFd) -> io::Result<()> {
    let mut left = Vec::new();
    for_each_name(folder, |name| {
        left.extend(
            name.to_str()
                .ok()
                .filter(|name| name.starts_with(NEW))
                .map(str::to_owned),
        );
    })?;
    for name in left {
        if let Ok(Some(fd)) = open_own_file(folder, &name, own_uid())
            && age(&File::from(fd))? > RENEW_AFTER
        {
            unlink(folder, &name)?;
        }
    }
    Ok(())
}

/// How long ago a file was changed; no time for one that is from the future.
fn age(file: &File) -> io::Result<Duration> {
    Ok(file.metadata()?.modified()?.elapsed().unwrap_or_default())
}

/// Whether it is certain that there are no sessions.
fn is_gone(project: &Path) -> bool {
    let found = project.join(BASE).symlink_metadata();
    found.is_err_and(|error| {
        use io::ErrorKind::{NotADirectory, NotFound};
        matches!(error.kind(), NotFound | NotADirectory)
    })
}

/// Makes `path` and what is missing above it, for us alone, whatever the umask
/// (and as the XDG base directory specification wants it).
pub(crate) fn make_directories(path: &Path) -> io::Result<()> {
    let made = match rustix::fs::mkdir(path, DIRECTORY_MODE) {
        Err(Errno::NOENT) => {
            let above = path.parent().ok_or(Errno::NOENT)?;
            make_directories(above)?;
            rustix::fs::mkdir(path, DIRECTORY_MODE)
        }
        made => made,
    };
    match made {
        Ok(()) => Ok(rustix::fs::chmod(path, DIRECTORY_MODE)?),
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn into_io(error: StoreError) -> io::Error {
    match error {
        StoreError::Io { source, .. } => source,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> (tempfile::TempDir, Registry) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let registry = Registry::at(dir.path().join("projects"));
        (dir, registry)
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        // The published vectors (draft-eastlake-fnv).
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn paths_with_the_same_hash_are_both_kept() {
        let (_dir, registry) = registry();
        let paths = ["/a", "/b", "/c"].map(Path::new);
        for _ in 0..2 {
            for path in paths {
                // The last number there is, so that the next is the first.
                registry.note_as(path, u64::MAX).expect("a new directory");
            }
        }
        assert_eq!(registry.projects().expect("a registry"), paths);
        let entries = registry.path().read_dir().expect("a directory");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        let expected = ["0000000000000000", "0000000000000001", "ffffffffffffffff"];
        assert_eq!(names, expected);
        // One that follows a hole has two entries, and is listed once.
        std::fs::remove_file(registry.path().join(expected[2])).expect("it is there");
        registry.note_as(paths[1], u64::MAX).expect("a directory");
        assert_eq!(registry.projects().expect("a registry"), paths[1..]);
    }

    #[test]
    fn there_is_an_end_to_what_has_the_same_hash() {
        let (_dir, registry) = registry();
        for n in 0..MAX_PROBES {
            let path = PathBuf::from(format!("/{n}"));
            registry.note_as(&path, 7).expect("a new directory");
        }
        assert!(registry.note_as(Path::new("/one-more"), 7).is_err());
        assert!(registry.note_as(Path::new("/3"), 7).is_ok());
    }
}
