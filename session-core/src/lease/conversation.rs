//! The lease on a conversation: no two living sessions of one account hold the same, in
//! whatever projects they are.
//!
//! A file per conversation, outside of all projects. Its lock is held by the session's
//! owner for its whole life, handed on as the session's own lease is; what stands in it
//! says who that is. An agent may outlive its owner: so whoever gets the lock looks at the
//! session that is named, and goes away if that may live still.
//!
//! An owner that goes in order removes the file. That of one that died stays, a line or
//! two, until the next one takes the conversation.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::{LEASE_FLAGS, RETRY_AFTER, inode, try_exclusive};
use crate::conversation::{InvalidConversationId, check_conversation_id};
use crate::id::SessionId;
use crate::observe::Observer;
use crate::registry::{into_io, make_directories};
use crate::store::{
    Damage, FILE_MODE, Store, StoreError, make_own, open_own, open_own_file_to, own_uid, unlink,
};

/// How long a taker waits for an owner that is just going, or for another taker who finds
/// that somebody lives.
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest name of an engine that a file can be named after.
const MAX_ENGINE_LEN: usize = 64;
/// The longest path of a project, in bytes (`PATH_MAX`, `limits.h`).
const MAX_PATH_LEN: usize = 4096;

/// The right to hold a conversation, as long as the value lives, or whoever was handed
/// its file. It is never unlocked, only closed.
#[derive(Debug)]
pub struct ConversationLease {
    dir: PathBuf,
    name: String,
    file: File,
}

/// A session that holds a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its project's directory.
    pub project: PathBuf,
    /// The session.
    pub session: SessionId,
}

/// A conversation could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConversationError {
    /// Another session holds it.
    #[error("the conversation {conversation_id} is held by {}", in_words(by.as_ref()))]
    Held {
        /// The conversation.
        conversation_id: String,
        /// Who holds it; `None` for somebody who has not said so yet.
        by: Option<Holder>,
    },
    /// The id cannot be a conversation's.
    #[error(transparent)]
    Id(#[from] InvalidConversationId),
    /// No file can be named after the engine.
    #[error("`{}` cannot be an engine's name", .0.escape_debug())]
    Engine(String),
    /// The lease's file cannot be used.
    #[error("cannot {attempt} {}", path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

fn in_words(by: Option<&Holder>) -> String {
    match by {
        Some(Holder { project, session }) => format!(
            "session {session} of {}; stop it, or wait for its end",
            project.display()
        ),
        None => "a session that is being started".to_owned(),
    }
}

impl ConversationLease {
    /// Takes the conversation of an engine for `session`, which need not be recorded yet.
    /// The directory `dir` is made where it is not there.
    ///
    /// # Errors
    /// [`ConversationError::Held`] when another session that lives, or may live, holds it;
    /// whatever else stands in the way.
    pub fn take(
        dir: &Path,
        engine: &str,
        conversation_id: &str,
        project: &Path,
        session: &SessionId,
    ) -> Result<Self, ConversationError> {
        Self::take_within(PATIENCE, dir, engine, conversation_id, project, session)
    }

    /// As [`take`](Self::take), for who cannot wait.
    ///
    /// # Errors
    /// As [`take`](Self::take); also when the one who holds it is just going.
    pub fn take_at_once(
        dir: &Path,
        engine: &str,
        conversation_id: &str,
        project: &Path,
        session: &SessionId,
    ) -> Result<Self, ConversationError> {
        Self::take_within(
            Duration::ZERO,
            dir,
            engine,
            conversation_id,
            project,
            session,
        )
    }

    fn take_within(
        patience: Duration,
        dir: &Path,
        engine: &str,
        conversation_id: &str,
        project: &Path,
        session: &SessionId,
    ) -> Result<Self, ConversationError> {
        let name = file_name(engine, conversation_id)?;
        let io = failed(dir.join(&name));
        let own = Holder {
            project: project.to_owned(),
            session: session.clone(),
        };
        let content = own.to_content().map_err(io("write"))?;
        let folder = make(dir).map_err(failed(dir.to_owned())("make the directory"))?;
        let deadline = Instant::now() + patience;
        let held = |by| ConversationError::Held {
            conversation_id: conversation_id.to_owned(),
            by,
        };
        loop {
            let file = open(&folder, &name).map_err(io("open"))?;
            if !try_exclusive(&file).map_err(io("lock"))? {
                if Instant::now() >= deadline {
                    // Who was named before, and is dead, is not the one.
                    let by = Holder::in_file(&file).map_err(io("read"))?;
                    return Err(held(by.filter(Holder::may_live)));
                }
                std::thread::sleep(RETRY_AFTER);
                continue;
            }
            let lease = Self {
                dir: dir.to_owned(),
                name: name.clone(),
                file,
            };
            // The one who held it may have removed it meanwhile.
            if !lease.is_current(&folder) {
                continue;
            }
            let before = Holder::in_file(&lease.file).map_err(io("read"))?;
            if let Some(other) = before.filter(|other| *other != own && other.may_live()) {
                return Err(held(Some(other)));
            }
            lease.file.write_all_at(&content, 0).map_err(io("write"))?;
            lease
                .file
                .set_len(content.len() as u64)
                .map_err(io("write"))?;
            return Ok(lease);
        }
    }

    /// The lease whose open file another process handed to this one.
    ///
    /// # Errors
    /// When `file` is not the lease of this conversation, or not the open file that is
    /// locked.
    pub fn handed_over(
        dir: &Path,
        engine: &str,
        conversation_id: &str,
        file: OwnedFd,
    ) -> Result<Self, ConversationError> {
        let name = file_name(engine, conversation_id)?;
        let io = failed(dir.join(&name));
        let folder = open_own(None, "", dir).map_err(into_io);
        let folder = folder.map_err(failed(dir.to_owned())("open"))?;
        let lease = Self {
            dir: dir.to_owned(),
            name,
            file: file.into(),
        };
        let is_ours = folder.is_some_and(|folder| lease.is_current(&folder))
            // To lock once more what this open file has locked changes nothing (flock(2)).
            && try_exclusive(&lease.file).map_err(io("lock"))?;
        match is_ours {
            true => Ok(lease),
            false => Err(io("take over")(io::ErrorKind::InvalidInput.into())),
        }
    }

    /// The locked file, to hand it to a child process. Whoever shares it shares the
    /// lease, and must close it, never unlock it.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Removes the file, then lets go.
    ///
    /// # Errors
    /// When it cannot be removed; it is let go of all the same.
    pub fn release(self) -> io::Result<()> {
        let Some(folder) = open_own(None, "", &self.dir).map_err(into_io)? else {
            return Ok(());
        };
        match self.is_current(&folder) {
            true => unlink(&folder, &self.name),
            // Somebody removed it: what stands there now is another's.
            false => Ok(()),
        }
    }

    fn is_current(&self, folder: &OwnedFd) -> bool {
        let locked = rustix::fs::fstat(&self.file).map(|stat| (stat.st_dev, stat.st_ino));
        matches!((inode(folder.as_fd(), &*self.name), locked), (Ok(a), Ok(b)) if a == b)
    }
}

impl Holder {
    /// Whether the session lives, or may live: false only where that is certain.
    fn may_live(&self) -> bool {
        let observed = match Store::open(&self.project) {
            Ok(store) => Observer::new(store).observe(&self.session),
            // Who removes a whole project ends its sessions.
            Err(StoreError::NoProject(_)) => return false,
            Err(_) => return true,
        };
        match observed {
            Ok(Some(observation)) => observation.may_live(),
            Ok(None) => false,
            Err(_) => true,
        }
    }

    fn to_content(&self) -> io::Result<Vec<u8>> {
        let path = self.project.as_os_str().as_bytes();
        let is_path = path.starts_with(b"/") && path.len() <= MAX_PATH_LEN;
        if !is_path {
            let words = format!("{} cannot be a project's path", path.escape_ascii());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        Ok([self.session.as_str().as_bytes(), b"\n", path, b"\n"].concat())
    }

    /// `None` where nobody has written, or not all of it: before a power loss, perhaps,
    /// which no agent outlives.
    fn in_file(file: &File) -> io::Result<Option<Self>> {
        let mut content = Vec::new();
        let most = SessionId::MAX_LEN + MAX_PATH_LEN + 3;
        Start(file, 0).take(most as u64).read_to_end(&mut content)?;
        Ok(Self::parse(&content))
    }

    fn parse(content: &[u8]) -> Option<Self> {
        let (session, path) =
            content.split_at_checked(content.iter().position(|b| *b == b'\n')?)?;
        let path = path.strip_prefix(b"\n")?.strip_suffix(b"\n")?;
        let is_path = path.starts_with(b"/") && path.len() <= MAX_PATH_LEN;
        Some(Self {
            session: SessionId::parse(std::str::from_utf8(session).ok()?).ok()?,
            project: is_path.then(|| OsStr::from_bytes(path).into())?,
        })
    }
}

/// Reads a file from its start, wherever its offset is, which others share.
struct Start<'a>(&'a File, u64);

impl Read for Start<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.0.read_at(buffer, self.1)?;
        self.1 += n_read as u64;
        Ok(n_read)
    }
}

/// `@` is in neither of the two.
fn file_name(engine: &str, conversation_id: &str) -> Result<String, ConversationError> {
    check_conversation_id(conversation_id)?;
    // What can be in the one can be in the other, and names no other directory.
    if engine.len() > MAX_ENGINE_LEN || check_conversation_id(engine).is_err() {
        return Err(ConversationError::Engine(engine.chars().take(80).collect()));
    }
    Ok(format!("{engine}@{conversation_id}"))
}

fn make(dir: &Path) -> io::Result<OwnedFd> {
    if let Some(folder) = open_own(None, "", dir).map_err(into_io)? {
        return Ok(folder);
    }
    if let Some(parent) = dir.parent() {
        make_directories(parent)?;
    }
    make_own(None, "", dir).map_err(into_io)
}

fn open(folder: &OwnedFd, name: &str) -> io::Result<File> {
    let damage = |damage: Damage| match damage {
        Damage::Unreadable(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    };
    loop {
        if let Some(fd) = open_own_file_to(OFlags::RDWR, folder, name, own_uid()).map_err(damage)? {
            return Ok(fd.into());
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | LEASE_FLAGS;
        match rustix::fs::openat(folder, name, flags, FILE_MODE) {
            Ok(fd) => {
                // Whatever the umask took away.
                rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
                return Ok(fd.into());
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn failed(path: PathBuf) -> impl Fn(&'static str) -> Attempted {
    move |attempt| {
        let path = path.clone();
        Box::new(move |source| ConversationError::Io {
            attempt,
            path: path.clone(),
            source,
        })
    }
}

type Attempted = Box<dyn Fn(io::Error) -> ConversationError>;
