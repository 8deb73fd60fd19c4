//! A project's `.monoco` directory: what lies where, and who may be trusted there.
//!
//! ```text
//! .monoco/
//!   sessions/<id>.json    the record; kept after the end
//!   run/<id>/             only while the session lives
//!     lease               locked by the owner
//!     control.sock        the owner's ear
//!     reserve             room for the last record on a full disk
//!   logs/<id>.log         what the agent printed
//! ```
//!
//! Projects get cloned, so nothing in them is trusted: symbolic links are not
//! followed, only regular files of our own are read, and never more of them
//! than a record may hold. All work is relative to open directories.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::failpoint;
use crate::id::SessionId;
use crate::listing::Stamp;
use crate::record::{self, MAX_RECORD_LEN, RecordError};
use crate::session::Session;

pub(crate) const BASE: &str = ".monoco";
const SESSIONS: &str = "sessions";
pub(crate) const RUN: &str = "run";
const LOGS: &str = "logs";
pub(crate) const LEASE: &str = "lease";
const GITIGNORE: &str = ".gitignore";
/// The owner's socket in its run directory.
pub const CONTROL_SOCKET: &str = "control.sock";

pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
pub(crate) const DIRECTORY_MODE: Mode = Mode::RWXU;
pub(crate) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A project cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no `.monoco` in the project.
    #[error("no monoco project in {}: it has no {BASE} directory", .0.display())]
    NoProject(PathBuf),
    /// A directory is not what it must be.
    #[error("{} is {what}; monoco does not use it", path.display())]
    Untrusted {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: String,
    },
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

/// Why a record could not be read. Its bytes are left as they are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The name of the file is not `<id>.json`.
    #[error("its name is not a session id")]
    Name,
    /// A symbolic link stands in the record's place.
    #[error("it is a symbolic link")]
    Symlink,
    /// Something that is not a file stands in the record's place.
    #[error("it is {0}, not a file")]
    NotAFile(&'static str),
    /// The file belongs to another user.
    #[error("it belongs to uid {0}, not to you")]
    ForeignOwner(u32),
    /// The system does not let us read it.
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
    /// The bytes are not a record.
    #[error("{0}")]
    Record(RecordError),
    /// The record is another session's.
    #[error("its id is {0}, which is not the file's name")]
    OtherId(SessionId),
}

/// An open `.monoco` directory.
#[derive(Debug)]
pub(crate) struct Store {
    project: PathBuf,
    sessions: Option<OwnedFd>,
    run: Option<OwnedFd>,
}

impl Store {
    /// Opens the project as it is; creates nothing.
    pub(crate) fn open(project: &Path) -> Result<Self, StoreError> {
        let base = match open_own(None, BASE, &project.join(BASE))? {
            Some(base) => base,
            None => return Err(StoreError::NoProject(project.to_owned())),
        };
        let folder = |name| open_own(Some(&base), name, &project.join(BASE).join(name));
        Ok(Self {
            project: project.to_owned(),
            sessions: folder(SESSIONS)?,
            run: folder(RUN)?,
        })
    }

    /// Opens the project; makes the directories that are not there yet.
    pub(crate) fn create(project: &Path) -> Result<Self, StoreError> {
        let base_path = project.join(BASE);
        let base = make_own(None, BASE, &base_path)?;
        let folder = |name| make_own(Some(&base), name, &base_path.join(name));
        let ignore = |name, fd: &OwnedFd| {
            ignore_in_git(fd).map_err(|e| io_error("write .gitignore in", &base_path.join(name), e))
        };
        let (logs, run, sessions) = (folder(LOGS)?, folder(RUN)?, folder(SESSIONS)?);
        ignore(LOGS, &logs)?;
        ignore(RUN, &run)?;
        // A record is not durable before the way to it is, and whoever made that way
        // may not have got any further. This file is put there last, and tells
        // everybody who comes later that the way is durable.
        if !is_there(&sessions, GITIGNORE) {
            sync_way(project, &base)?;
            ignore(SESSIONS, &sessions)?;
        }
        Ok(Self {
            project: project.to_owned(),
            sessions: Some(sessions),
            run: Some(run),
        })
    }

    pub(crate) fn project(&self) -> &Path {
        &self.project
    }

    pub(crate) fn sessions(&self) -> io::Result<&OwnedFd> {
        self.sessions.as_ref().ok_or_else(|| Errno::NOENT.into())
    }

    pub(crate) fn run(&self) -> io::Result<&OwnedFd> {
        self.run.as_ref().ok_or_else(|| Errno::NOENT.into())
    }

    pub(crate) fn record_path(&self, id: &SessionId) -> PathBuf {
        self.project.join(BASE).join(SESSIONS).join(record_name(id))
    }

    pub(crate) fn log_path(&self, id: &SessionId) -> PathBuf {
        self.project.join(BASE).join(LOGS).join(log_name(id))
    }

    pub(crate) fn hooks_log_path(&self, id: &SessionId) -> PathBuf {
        self.project.join(BASE).join(LOGS).join(hooks_log_name(id))
    }

    pub(crate) fn run_path(&self, id: &SessionId) -> PathBuf {
        self.project.join(BASE).join(RUN).join(id.as_str())
    }

    pub(crate) fn base_path(&self) -> PathBuf {
        self.project.join(BASE)
    }

    pub(crate) fn sessions_path(&self) -> PathBuf {
        self.project.join(BASE).join(SESSIONS)
    }

    pub(crate) fn runs_path(&self) -> PathBuf {
        self.project.join(BASE).join(RUN)
    }

    /// Opens a session's log for reading, if there is one that can be trusted.
    pub(crate) fn open_log(&self, id: &SessionId) -> io::Result<Option<File>> {
        let Some(logs) = self.logs_folder()? else {
            return Ok(None);
        };
        match open_own_file(&logs, &log_name(id), own_uid()) {
            Ok(fd) => Ok(fd.map(File::from)),
            Err(damage) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                damage.to_string(),
            )),
        }
    }

    /// Opens a session's log for appending; makes it where it is not there yet.
    pub(crate) fn append_log(&self, id: &SessionId) -> io::Result<File> {
        self.append(&log_name(id))
    }

    /// As [`append_log`](Self::append_log), for what a session's hooks print.
    pub(crate) fn append_hooks_log(&self, id: &SessionId) -> io::Result<File> {
        self.append(&hooks_log_name(id))
    }

    fn append(&self, name: &str) -> io::Result<File> {
        let logs = self.logs_folder()?.ok_or(Errno::NOENT)?;
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Non-blocking for the moment of opening only: a FIFO must not hang us.
        let fd = rustix::fs::openat(logs, name, flags | OFlags::NONBLOCK, FILE_MODE)?;
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the log is not a file",
            ));
        }
        rustix::fs::fchmod(&fd, FILE_MODE)?;
        rustix::fs::fcntl_setfl(
            &fd,
            rustix::fs::fcntl_getfl(&fd)?.difference(OFlags::NONBLOCK),
        )?;
        Ok(fd.into())
    }

    /// Removes what is there of a session's logs and record, in this order: a
    /// record without a log is whole, a log without a record is litter.
    pub(crate) fn remove_files(&self, id: &SessionId) -> io::Result<()> {
        if let Some(logs) = self.logs_folder()? {
            unlink(&logs, &log_name(id))?;
            unlink(&logs, &hooks_log_name(id))?;
            failpoint::try_pass("remove.without-log")?;
        }
        let sessions = self.sessions()?;
        unlink(sessions, &record_name(id))?;
        failpoint::try_pass("remove.without-record")?;
        Ok(rustix::fs::fsync(sessions)?)
    }

    fn logs_folder(&self) -> io::Result<Option<OwnedFd>> {
        let path = self.project.join(BASE).join(LOGS);
        open_own(None, LOGS, &path).map_err(|error| match error {
            StoreError::Io { source, .. } => source,
            other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
        })
    }

    /// Reads one record; `None` when there is none.
    pub(crate) fn read_record(&self, id: &SessionId) -> Result<Option<Session>, Damage> {
        match &self.sessions {
            Some(sessions) => RecordReader::new(sessions).read(id),
            None => Ok(None),
        }
    }

    /// Whether there is something in the place of the record of `id`.
    pub(crate) fn has_record(&self, id: &SessionId) -> bool {
        self.find_record(id).unwrap_or(false)
    }

    /// As [`has_record`](Self::has_record), where it can be told.
    pub(crate) fn find_record(&self, id: &SessionId) -> io::Result<bool> {
        let Some(sessions) = &self.sessions else {
            return Ok(false);
        };
        match rustix::fs::statat(sessions, record_name(id), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The inode of a session's log, if there is one.
    pub(crate) fn log_inode(&self, id: &SessionId) -> io::Result<Option<(u64, u64)>> {
        let Some(logs) = self.logs_folder()? else {
            return Ok(None);
        };
        match rustix::fs::statat(logs, log_name(id), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((stat.st_dev, stat.st_ino))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The project in which `path` is the log of `id`, if it is one. A log that was
    /// deleted tells nothing: its path ends otherwise (`proc_pid_fd(5)`).
    pub(crate) fn project_of_log(path: &Path, id: &SessionId) -> Option<PathBuf> {
        let log: PathBuf = [BASE, LOGS, &log_name(id)].iter().collect();
        let project = path.ancestors().nth(log.components().count())?;
        (path == project.join(log)).then(|| project.to_owned())
    }

    /// Which bytes stand in the place of the record of `id`; `None` when there are none.
    pub(crate) fn stamp(&self, id: &SessionId) -> Option<Stamp> {
        let sessions = self.sessions.as_ref()?;
        let stat = rustix::fs::statat(sessions, record_name(id), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let seconds = stat.st_ctime;
        Some(Stamp {
            inode: stat.st_ino,
            changed_ns: seconds
                .wrapping_mul(1_000_000_000)
                .wrapping_add(stat.st_ctime_nsec.cast_signed()),
            size: stat.st_size.cast_unsigned(),
        })
    }

    /// Whether both are the same directory, by whatever path.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let inode = |store: &Self| {
            let stat = rustix::fs::fstat(store.sessions.as_ref()?).ok()?;
            Some((stat.st_dev, stat.st_ino))
        };
        inode(self) == inode(other)
    }

    /// Whether the whole project was removed, these open directories with it. (One
    /// that was only moved still holds them.)
    pub(crate) fn is_removed(&self) -> bool {
        let unlinked =
            |folder: &OwnedFd| rustix::fs::fstat(folder).is_ok_and(|stat| stat.st_nlink == 0);
        let project = self.project.symlink_metadata();
        self.sessions.as_ref().is_none_or(unlinked)
            && project.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// The names in `sessions/` that end in `.json`: ids, and what is not an id.
    pub(crate) fn record_names(&self) -> Result<(Vec<SessionId>, Vec<String>), StoreError> {
        let (mut ids, mut strange) = (Vec::new(), Vec::new());
        let Some(sessions) = &self.sessions else {
            return Ok((ids, strange));
        };
        let each = |name: &CStr| {
            let name = name.to_bytes();
            let Some(stem) = name.strip_suffix(b".json") else {
                return;
            };
            match std::str::from_utf8(stem).ok().map(SessionId::parse) {
                Some(Ok(id)) => ids.push(id),
                _ if name.starts_with(b".") => {}
                _ => strange.push(String::from_utf8_lossy(name).into_owned()),
            }
        };
        for_each_name(sessions, each)
            .map_err(|e| io_error("list", &self.sessions_path(), e.into()))?;
        Ok((ids, strange))
    }

    /// The ids that have a run directory: all that live, and what died of late.
    pub(crate) fn running_ids(&self) -> Result<Vec<SessionId>, StoreError> {
        let mut ids = Vec::new();
        let Some(run) = &self.run else { return Ok(ids) };
        let each = |name: &CStr| {
            ids.extend(
                name.to_str()
                    .ok()
                    .and_then(|name| SessionId::parse(name).ok()),
            )
        };
        for_each_name(run, each).map_err(|e| io_error("list", &self.runs_path(), e.into()))?;
        Ok(ids)
    }
}

/// Enough for nearly every record at once.
const FIRST_READ: usize = 16 << 10;

/// Reads many records with one buffer.
pub(crate) struct RecordReader<'a> {
    sessions: &'a OwnedFd,
    uid: u32,
    buffer: Vec<u8>,
}

impl<'a> RecordReader<'a> {
    pub(crate) fn new(sessions: &'a OwnedFd) -> Self {
        Self {
            sessions,
            uid: own_uid(),
            buffer: Vec::new(),
        }
    }

    pub(crate) fn read(&mut self, id: &SessionId) -> Result<Option<Session>, Damage> {
        let Some(file) = open_own_file(self.sessions, &record_name(id), self.uid)? else {
            return Ok(None);
        };
        let bytes = read_bounded(&file, &mut self.buffer).map_err(Damage::Unreadable)?;
        let session = record::parse(bytes).map_err(Damage::Record)?;
        if session.id == *id {
            Ok(Some(session))
        } else {
            Err(Damage::OtherId(session.id))
        }
    }
}

pub(crate) fn record_name(id: &SessionId) -> String {
    format!("{id}.json")
}

fn log_name(id: &SessionId) -> String {
    format!("{id}.log")
}

/// No other session's log: there is no dot in an id.
fn hooks_log_name(id: &SessionId) -> String {
    format!("{id}.hooks.log")
}

/// The session whose lease lies at `path`, in whatever project; `None` for other paths.
pub(crate) fn session_of_lease(path: &Path) -> Option<SessionId> {
    let mut names = path.components().rev().map(Component::as_os_str);
    let (lease, id) = (names.next()?, names.next()?.to_str()?);
    let (run, base) = (names.next()?, names.next()?);
    let id = SessionId::parse(id).ok()?;
    (lease == LEASE && run == RUN && base == BASE).then_some(id)
}

/// Reads a file to its end, or a little more of it than a record may hold.
fn read_bounded<'a>(file: &OwnedFd, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    let mut len = 0;
    loop {
        if len == buffer.len() {
            buffer.resize((2 * len).max(FIRST_READ), 0);
        }
        match rustix::io::read(file, &mut buffer[len..]) {
            Ok(n) => {
                len += n;
                // A read of a regular file that is short has seen its end (read(2)).
                if len < buffer.len() || len > MAX_RECORD_LEN {
                    return Ok(&buffer[..len]);
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens a regular file of our own for reading, without ever waiting for it.
pub(crate) fn open_own_file(
    folder: &OwnedFd,
    name: &str,
    uid: u32,
) -> Result<Option<OwnedFd>, Damage> {
    open_own_file_to(OFlags::RDONLY, folder, name, uid)
}

/// The same for another `access` than reading.
pub(crate) fn open_own_file_to(
    access: OFlags,
    folder: &OwnedFd,
    name: &str,
    uid: u32,
) -> Result<Option<OwnedFd>, Damage> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(Damage::Symlink),
        Err(Errno::NXIO) => return Err(Damage::NotAFile("a socket")),
        Err(error) => return Err(Damage::Unreadable(error.into())),
    };
    let stat = rustix::fs::fstat(&fd).map_err(|error| Damage::Unreadable(error.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_uid == uid => Ok(Some(fd)),
        FileType::RegularFile => Err(Damage::ForeignOwner(stat.st_uid)),
        FileType::Directory => Err(Damage::NotAFile("a directory")),
        FileType::Fifo => Err(Damage::NotAFile("a FIFO")),
        _ => Err(Damage::NotAFile("a device or socket")),
    }
}

pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Opens a directory of our own; `None` when there is none.
pub(crate) fn open_own(
    parent: Option<&OwnedFd>,
    name: &str,
    path: &Path,
) -> Result<Option<OwnedFd>, StoreError> {
    let opened = match parent {
        Some(parent) => rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()),
        None => rustix::fs::openat(rustix::fs::CWD, path, DIRECTORY, Mode::empty()),
    };
    let untrusted = |what: String| StoreError::Untrusted {
        path: path.to_owned(),
        what,
    };
    let fd = match opened {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(untrusted("a symbolic link".to_owned())),
        Err(Errno::NOTDIR) => {
            return Err(untrusted("not a directory (or a symbolic link)".to_owned()));
        }
        Err(error) => return Err(io_error("open", path, error.into())),
    };
    let stat = rustix::fs::fstat(&fd).map_err(|error| io_error("look at", path, error.into()))?;
    if stat.st_uid != own_uid() {
        return Err(untrusted(format!(
            "owned by uid {}, not by you (uid {})",
            stat.st_uid,
            own_uid()
        )));
    }
    Ok(Some(fd))
}

/// Opens a directory of our own; makes it, for us alone, where there is none.
pub(crate) fn make_own(
    parent: Option<&OwnedFd>,
    name: &str,
    path: &Path,
) -> Result<OwnedFd, StoreError> {
    if let Some(fd) = open_own(parent, name, path)? {
        return Ok(fd);
    }
    match rustix::fs::mkdirat(rustix::fs::CWD, path, DIRECTORY_MODE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(io_error("create", path, error.into())),
    }
    failpoint::pass("store.made");
    // Under a umask of 0777 the new directory cannot even be opened.
    let mode = rustix::fs::chmodat(rustix::fs::CWD, path, DIRECTORY_MODE, AtFlags::empty());
    mode.map_err(|error| io_error("set the mode of", path, error.into()))?;
    open_own(parent, name, path)?.ok_or_else(|| io_error("open", path, Errno::NOENT.into()))
}

/// Makes durable that there is a way to the records: `.monoco` in its project, and
/// `sessions` in it.
fn sync_way(project: &Path, base: &OwnedFd) -> Result<(), StoreError> {
    let sync = |path: &Path, folder: Result<(), Errno>| {
        folder.map_err(|error| io_error("sync", path, error.into()))
    };
    sync(&project.join(BASE), rustix::fs::fsync(base))?;
    let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
    let folder = rustix::fs::open(project, flags, Mode::empty());
    sync(project, folder.and_then(rustix::fs::fsync))
}

fn ignore_in_git(folder: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, GITIGNORE, flags, FILE_MODE) {
        Ok(fd) => {
            rustix::fs::fchmod(&fd, FILE_MODE)?;
            io::Write::write_all(&mut File::from(fd), b"*\n")
        }
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_there(folder: &OwnedFd, name: &str) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

pub(crate) fn unlink(folder: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Calls `each` with every name in `folder`, `.` and `..` included.
pub(crate) fn for_each_name(folder: &OwnedFd, mut each: impl FnMut(&CStr)) -> Result<(), Errno> {
    // An own open directory: the place in it would be shared with other readers.
    let folder = rustix::fs::openat(folder, c".", DIRECTORY, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 32 << 10];
    let mut entries = rustix::fs::RawDir::new(folder, &mut buffer);
    while let Some(entry) = entries.next() {
        each(entry?.file_name());
    }
    Ok(())
}

fn io_error(attempt: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        attempt,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_path_is_recognised_by_all_its_parts() {
        let yes = ["/p/.monoco/run/abc/lease", "/.monoco/run/a-b_c/lease"];
        let no = [
            "/p/.monoco/run/ABC/lease",
            "/p/run/abc/lease",
            "/p/.monoco/run/abc/other",
            "pipe:[123]",
            "/lease",
        ];
        assert!(
            yes.iter()
                .all(|path| session_of_lease(Path::new(path)).is_some())
        );
        assert!(
            !no.iter()
                .any(|path| session_of_lease(Path::new(path)).is_some())
        );
    }
}
