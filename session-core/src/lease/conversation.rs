//! The lease on a conversation: no two living sessions of one account hold the same, in
//! whatever projects they are.
//!
//! A file per conversation, outside of all projects. Its lock is held by the session's
//! owner for its whole life, handed on as the session's own lease is; what stands in it
//! says who that is. An agent may outlive its owner: so whoever gets the lock looks at the
//! session that is named, and goes away if that may live still. Where its project is not
//! found any more, that is until the next boot.
//!
//! An owner that goes in order removes the file. That of one that died stays, three
//! short lines, until the next one takes the conversation.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::holder::{Hold, Holder, Written};
use super::{LEASE_FLAGS, RETRY_AFTER, inode, try_exclusive};
use crate::conversation::{InvalidConversationId, check_conversation_id};
use crate::id::SessionId;
use crate::registry::{into_io, make_directories};
use crate::store::{Damage, FILE_MODE, make_own, open_own, open_own_file_to, own_uid, unlink};

/// How long a taker waits for an owner that is just going, or for another taker who finds
/// that somebody lives.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long it waits where the session has ended, and its owner ends what is left of it:
/// the usual grace period, and a little more.
const PATIENCE_WITH_ENDING: Duration = Duration::from_secs(12);
/// How often that is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The longest name of an engine that a file can be named after.
const MAX_ENGINE_LEN: usize = 64;

/// The right to hold a conversation, as long as the value lives, or whoever was handed
/// its file. It is never unlocked, only closed.
#[derive(Debug)]
pub struct ConversationLease {
    dir: PathBuf,
    name: String,
    file: File,
}

/// A conversation could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConversationError {
    /// Another session holds it.
    #[error("the conversation {conversation_id} is held by {}", in_words(by.as_ref(), hold, lease))]
    Held {
        /// The conversation.
        conversation_id: String,
        /// Who holds it; `None` for somebody who has not said so yet.
        by: Option<Holder>,
        /// How it is held, where it is known by whom.
        hold: Hold,
        /// The lease's file.
        lease: PathBuf,
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

fn in_words(by: Option<&Holder>, hold: &Hold, lease: &Path) -> String {
    let Some(Holder { project, session }) = by else {
        return "a session that is being started".to_owned();
    };
    let (place, lease) = (project.display(), lease.display());
    let of = format!("session {session} of {place}");
    match hold {
        Hold::Lives => format!("{of}; stop it, or wait for its end"),
        Hold::Ending => format!(
            "{of}, which has ended, and whose owner still ends what its agent left running; try again when that is over"
        ),
        Hold::NoProject => format!(
            "{of}, where there is no project any more; if it was moved, stop the session there; if it was removed, and its agent is gone, remove {lease}"
        ),
        Hold::Unreadable(why) => format!(
            "{of}, of which cannot be told whether it lives: {why}; mend that, or, if its agent is gone, remove {lease}"
        ),
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
        let patience = (PATIENCE, PATIENCE_WITH_ENDING);
        Self::take_within(patience, dir, engine, conversation_id, project, session)
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
        let patience = (Duration::ZERO, Duration::ZERO);
        Self::take_within(patience, dir, engine, conversation_id, project, session)
    }

    fn take_within(
        (patience, with_ending): (Duration, Duration),
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
        let begun = Instant::now();
        let held = |by: Option<(Holder, Hold)>| {
            let (by, hold) = by.map_or((None, Hold::Lives), |(by, hold)| (Some(by), hold));
            ConversationError::Held {
                conversation_id: conversation_id.to_owned(),
                by,
                hold,
                lease: dir.join(&name),
            }
        };
        loop {
            let file = open(&folder, &name).map_err(io("open"))?;
            if !try_exclusive(&file).map_err(io("lock"))? {
                if begun.elapsed() < patience {
                    std::thread::sleep(RETRY_AFTER);
                    continue;
                }
                // Who was named before, and is dead, is not the one.
                let by = holder_in(&file).map_err(io("read"))?;
                let is_ending = matches!(by, Some((_, Hold::Ending)));
                if !is_ending || begun.elapsed() >= with_ending {
                    return Err(held(by));
                }
                std::thread::sleep(LOOK_AGAIN);
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
            let before = holder_in(&lease.file).map_err(io("read"))?;
            // Nobody who holds the lock ends what an ended session has left.
            let holds = |(by, hold): &(Holder, Hold)| *by != own && *hold != Hold::Ending;
            if let Some(other) = before.filter(holds) {
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

/// Who is named in a lease, and how it holds it, unless it is certain that it does not.
fn holder_in(file: &File) -> io::Result<Option<(Holder, Hold)>> {
    let written = Written::in_file(file)?;
    Ok(written.and_then(|written| {
        let hold = written.hold()?;
        Some((written.holder, hold))
    }))
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
