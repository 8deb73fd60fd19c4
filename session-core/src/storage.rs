//! The durable write: a record on disk is the old one or the new one, whole.
//!
//! Temporary file, write, fsync, rename, fsync of the directory. Temporary files
//! live in the session's run directory: readers of `sessions/` never meet them,
//! and they go with the directory when the next owner removes it.
//!
//! After an fsync error the temporary file is thrown away: the kernel may have
//! dropped the dirty pages and would report success the next time (fsyncgate).

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::failpoint;
use crate::lease::Lease;
use crate::store::{FILE_MODE, open_own_file_to, own_uid, record_name, unlink};

const RESERVE: &str = "reserve";
/// Room for the last record: what is written at the end is little longer than
/// what stands there now, and a record's block is 4 KiB on every usual filesystem.
const RESERVE_SLACK: u64 = 4096;

/// How sure the write must be before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// On disk, with its name: it survives a power loss.
    Durable,
    /// Whole for every reader, and it survives the writer's death, but not a
    /// power loss. For what nobody has been told of yet.
    Visible,
}

/// A record could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The old record still stands.
    #[error("cannot {attempt} the record {}", path.display())]
    NotWritten {
        /// What was attempted.
        attempt: &'static str,
        /// The record.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The new record stands, but whether it survives a power loss is unknown.
    #[error("the record {} is written, but its directory could not be synced", path.display())]
    DurabilityUnknown {
        /// The record.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The lease was taken away: its file is gone or another one. Nothing was written.
    #[error("the lease of session {0} was removed from under its owner; nothing was written")]
    LeaseLost(crate::SessionId),
}

impl WriteError {
    /// Whether the directory that the record belongs in is gone.
    pub(crate) fn is_for_want_of_a_place(&self) -> bool {
        matches!(self, Self::NotWritten { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    fn is_for_want_of_room(&self) -> bool {
        use rustix::io::Errno as E;
        let Self::NotWritten { source, .. } = self else {
            return false;
        };
        let code = source.raw_os_error().map(E::from_raw_os_error);
        matches!(code, Some(E::NOSPC | E::DQUOT | E::MFILE | E::NFILE))
    }
}

/// A file that was given its room early, so that a session's end can be
/// recorded on a disk that has filled up since, or without a free descriptor.
#[derive(Debug)]
pub(crate) struct Reserve(File);

impl Reserve {
    /// What a dead owner of the lease's session has set aside.
    pub(crate) fn left(lease: &Lease) -> Option<Self> {
        let file = open_own_file_to(OFlags::WRONLY, lease.folder(), RESERVE, own_uid()).ok()??;
        // Not what somebody put there, which is to be kept under another name.
        let has_no_other_name = rustix::fs::fstat(&file).ok()?.st_nlink == 1;
        has_no_other_name.then(|| Self(file.into()))
    }

    /// Sets room aside for a record a little longer than `len` bytes.
    pub(crate) fn create(lease: &Lease, len: usize) -> io::Result<Self> {
        unlink(lease.folder(), RESERVE)?;
        let file = create_file(lease, RESERVE)?;
        match rustix::fs::fallocate(
            &file,
            FallocateFlags::empty(),
            0,
            len as u64 + RESERVE_SLACK,
        ) {
            // A filesystem without preallocation still gives the inode.
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(Self(file)),
            Err(error) => {
                unlink(lease.folder(), RESERVE)?;
                Err(error.into())
            }
        }
    }
}

/// Writes the record of the lease's session.
pub(crate) fn write_record(
    lease: &Lease,
    json: &[u8],
    durability: Durability,
    reserve: &mut Option<Reserve>,
) -> Result<(), WriteError> {
    if !lease.is_current() {
        return Err(WriteError::LeaseLost(lease.id().clone()));
    }
    let temporary = format!("record-{}", crate::SessionId::random().short());
    let written = create_file(lease, &temporary)
        .map_err(|source| not_written(lease, "create a temporary file for", source))
        .and_then(|file| replace(lease, &file, &temporary, json, durability));
    match (written, reserve.take()) {
        (Err(error), Some(Reserve(file))) if error.is_for_want_of_room() => {
            let written = replace(lease, &file, RESERVE, json, durability);
            // What the old record has left is room for the next time.
            *reserve = Reserve::create(lease, json.len()).ok();
            written
        }
        (written, kept) => {
            *reserve = kept;
            written
        }
    }
}

/// Fills `file` and puts it in the record's place.
fn replace(
    lease: &Lease,
    file: &File,
    name: &str,
    json: &[u8],
    durability: Durability,
) -> Result<(), WriteError> {
    let filled = fill(file, json, durability).and_then(|()| {
        let sessions = lease
            .store()
            .sessions()
            .map_err(|source| ("open the directory of", source))?;
        rustix::fs::renameat(lease.folder(), name, sessions, record_name(lease.id()))
            .map_err(|error| ("rename", error.into()))?;
        Ok(sessions)
    });
    let sessions = filled.map_err(|(attempt, source)| {
        // Best effort: what stays is swept with the run directory.
        let _ = unlink(lease.folder(), name);
        not_written(lease, attempt, source)
    })?;
    if durability == Durability::Durable {
        let synced =
            failpoint::try_pass("record.renamed").and_then(|()| Ok(rustix::fs::fsync(sessions)?));
        synced.map_err(|source| WriteError::DurabilityUnknown {
            path: lease.store().record_path(lease.id()),
            source,
        })?;
    }
    failpoint::pass("record.written");
    Ok(())
}

fn fill(
    mut file: &File,
    json: &[u8],
    durability: Durability,
) -> Result<(), (&'static str, io::Error)> {
    failpoint::try_pass("record.created").map_err(|source| ("write", source))?;
    file.write_all(json).map_err(|source| ("write", source))?;
    failpoint::try_pass("record.filled").map_err(|source| ("write", source))?;
    // The reserve is longer than what is written into it.
    rustix::fs::ftruncate(file, json.len() as u64).map_err(|error| ("write", error.into()))?;
    if durability == Durability::Durable {
        rustix::fs::fsync(file).map_err(|error| ("sync", error.into()))?;
        failpoint::try_pass("record.synced").map_err(|source| ("sync", source))?;
    }
    Ok(())
}

fn create_file(lease: &Lease, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(lease.folder(), name, flags, FILE_MODE)?;
    // Whatever the umask took away.
    rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
    Ok(fd.into())
}

fn not_written(lease: &Lease, attempt: &'static str, source: io::Error) -> WriteError {
    WriteError::NotWritten {
        attempt,
        path: lease.store().record_path(lease.id()),
        source,
    }
}
