//! How observers ask a session's owner: one JSON line each way over
//! `run/<id>/control.sock`, between processes of one user, with a deadline.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::SessionId;
use crate::lease::{self, Probe};
use crate::process::Pid;
use crate::record::{self, MAX_RECORD_LEN};
use crate::session::Session;
use crate::store::{CONTROL_SOCKET, DIRECTORY, Store};
use crate::sys;

/// The longest request, in bytes.
pub const MAX_REQUEST_LEN: usize = 64 << 10;
/// How long an owner that does what it is asked may take beyond the time that
/// the request itself needs.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// How long between two tries to reach an owner that is only just starting.
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// What an owner can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Tell the session as it is.
    Status,
    /// Tell the session once it has ended.
    Wait,
    /// TERM and CONT to the whole tree; KILL after the grace period.
    Stop {
        /// The grace period, in seconds.
        grace_seconds: f64,
        /// Who asks; it stands in the outcome.
        by: String,
    },
    /// KILL to the whole tree, or another signal to the agent's first process.
    Kill {
        /// The signal's number.
        signal: i32,
        /// Who asks; it stands in the outcome.
        by: String,
    },
    /// Stop the whole tree where it is (`SIGSTOP`).
    Suspend,
    /// Let the whole tree go on (`SIGCONT`).
    Resume,
}

impl Request {
    /// How long the owner may take to answer; `None` for as long as it takes.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Wait => None,
            Self::Stop { grace_seconds, .. } => {
                let grace = Duration::try_from_secs_f64(*grace_seconds).unwrap_or_default();
                Some(grace.saturating_add(DEADLINE * 2))
            }
            Self::Status | Self::Kill { .. } | Self::Suspend | Self::Resume => Some(DEADLINE * 2),
        }
    }
}

/// An owner's answer: the session as it is now, or why it was not done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Reply {
    /// It is done; this is the session now.
    #[must_use]
    pub fn done(session: &Session) -> Self {
        let json = serde_json::value::to_raw_value(session);
        let json = json.expect("a session has string keys and finite numbers only");
        Self {
            session: Some(json),
            error: None,
        }
    }

    /// It was not done.
    #[must_use]
    pub fn refused(error: String) -> Self {
        Self {
            session: None,
            error: Some(error),
        }
    }

    /// The answer as one line.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("a reply has string keys only");
        line.push(b'\n');
        line
    }
}

/// An owner did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody owns the session.
    #[error("session {0} has no owner to ask")]
    NoOwner(SessionId),
    /// The owner lives, but does not answer. Its session is not dead.
    #[error("the owner of session {id} does not answer within {} s", after.as_secs())]
    Unresponsive {
        /// The session.
        id: SessionId,
        /// How long it was waited for.
        after: Duration,
    },
    /// The owner died before it answered.
    #[error("the owner of session {0} died before it answered")]
    OwnerDied(SessionId),
    /// Another user listens in the owner's place.
    #[error("the control socket of session {id} is uid {uid}'s, not yours")]
    ForeignOwner {
        /// The session.
        id: SessionId,
        /// Whose it is.
        uid: u32,
    },
    /// The owner refused.
    #[error("{0}")]
    Refused(String),
    /// The answer is not one.
    #[error("the owner of session {id} gave an answer that cannot be read: {reason}")]
    BadReply {
        /// The session.
        id: SessionId,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused.
    #[error("cannot reach the owner of session {id}")]
    Io {
        /// The session.
        id: SessionId,
        /// The system's reason.
        source: io::Error,
    },
}

/// A conversation with a session's owner.
#[derive(Debug)]
pub struct Control {
    id: SessionId,
    stream: UnixStream,
    owner_pid: Option<Pid>,
}

impl Control {
    /// Reaches the owner of `id`. An owner that is only just starting is waited for.
    pub(crate) fn connect(
        store: &Store,
        id: &SessionId,
        patience: Duration,
    ) -> Result<Self, ControlError> {
        let deadline = Instant::now().checked_add(patience);
        loop {
            if let Some(control) = Self::try_connect(store, id)? {
                return Ok(control);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(ControlError::Unresponsive {
                    id: id.clone(),
                    after: patience,
                });
            }
            std::thread::sleep(RETRY_AFTER);
        }
    }

    /// Reaches the owner of `id` if it listens in this moment.
    pub(crate) fn try_connect(store: &Store, id: &SessionId) -> Result<Option<Self>, ControlError> {
        match try_connect(store, id) {
            Ok(stream) => Self::with_stream(id, stream).map(Some),
            // Its backlog is full: it is there, but does not listen.
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR) => {
                match lease::probe(store, id) {
                    Probe::Held => Ok(None),
                    _ => Err(ControlError::NoOwner(id.clone())),
                }
            }
            Err(error) => Err(ControlError::Io {
                id: id.clone(),
                source: error.into(),
            }),
        }
    }

    fn with_stream(id: &SessionId, stream: UnixStream) -> Result<Self, ControlError> {
        let (uid, owner_pid) = peer(&stream).map_err(|source| ControlError::Io {
            id: id.clone(),
            source,
        })?;
        if uid != rustix::process::geteuid().as_raw() {
            return Err(ControlError::ForeignOwner {
                id: id.clone(),
                uid,
            });
        }
        Ok(Self {
            id: id.clone(),
            stream,
            owner_pid,
        })
    }

    /// The pid of the owner, as the kernel tells it (`SO_PEERCRED`); `None` when
    /// the owner is in a pid namespace that is not seen from here.
    #[must_use]
    pub fn owner_pid(&self) -> Option<Pid> {
        self.owner_pid
    }

    /// Whether the owner still has its end of the conversation open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        // Nothing was asked, so the only thing that can be read is the end.
        matches!(
            sys::poll_readable(self.stream.as_fd(), Some(Duration::ZERO)),
            Ok(false)
        )
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`ControlError`] when the owner refuses, dies, or does not answer in time.
    pub fn ask(mut self, request: &Request) -> Result<Session, ControlError> {
        self.send(request)?;
        let limit = request.deadline();
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut line = Vec::new();
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if !sys::poll_readable(self.stream.as_fd(), left).map_err(|source| self.io(source))? {
                return Err(ControlError::Unresponsive {
                    id: self.id,
                    after: limit.unwrap_or_default(),
                });
            }
            if self.read_some(&mut line)? {
                return self.understand(&line);
            }
        }
    }

    /// Asks to be told the end; the answer can be taken with
    /// [`ended`](Self::ended) once the descriptor is readable.
    ///
    /// # Errors
    /// When the owner died in this moment.
    pub fn subscribe_end(&mut self) -> Result<(), ControlError> {
        self.send(&Request::Wait)
    }

    /// Takes the answer to [`subscribe_end`](Self::subscribe_end), waiting for it.
    ///
    /// # Errors
    /// [`ControlError::OwnerDied`] when there will be none.
    pub fn ended(mut self) -> Result<Session, ControlError> {
        let mut line = Vec::new();
        while !self.read_some(&mut line)? {}
        self.understand(&line)
    }

    fn send(&mut self, request: &Request) -> Result<(), ControlError> {
        let mut line =
            serde_json::to_vec(request).expect("a request has string keys and finite numbers only");
        line.push(b'\n');
        self.stream
            .write_all(&line)
            .map_err(|source| self.io(source))
    }

    /// Reads what is there; tells whether the line is whole.
    fn read_some(&mut self, line: &mut Vec<u8>) -> Result<bool, ControlError> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(ControlError::OwnerDied(self.id.clone())),
            Ok(_) if line.len() > 2 * MAX_RECORD_LEN => Err(self.bad("it is too long".to_owned())),
            Ok(n) => {
                line.extend_from_slice(&chunk[..n]);
                Ok(chunk[..n].contains(&b'\n'))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(ControlError::OwnerDied(self.id.clone()))
            }
            Err(source) => Err(self.io(source)),
        }
    }

    fn understand(&self, line: &[u8]) -> Result<Session, ControlError> {
        let bad = |error: &dyn std::fmt::Display| self.bad(error.to_string());
        match serde_json::from_slice(line).map_err(|error| bad(&error))? {
            Reply {
                error: Some(error), ..
            } => Err(ControlError::Refused(error)),
            Reply {
                session: Some(session),
                ..
            } => match record::parse(session.get().as_bytes()) {
                Ok(session) if session.id == self.id => Ok(session),
                Ok(session) => Err(bad(&format_args!(
                    "it is about another session, {}",
                    session.id
                ))),
                Err(error) => Err(bad(&error)),
            },
            Reply { .. } => Err(bad(&"it holds neither a session nor an error")),
        }
    }

    fn bad(&self, reason: String) -> ControlError {
        ControlError::BadReply {
            id: self.id.clone(),
            reason,
        }
    }

    fn io(&self, source: io::Error) -> ControlError {
        match source.kind() {
            io::ErrorKind::BrokenPipe => ControlError::OwnerDied(self.id.clone()),
            _ => ControlError::Io {
                id: self.id.clone(),
                source,
            },
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn try_connect(store: &Store, id: &SessionId) -> Result<UnixStream, Errno> {
    let run = store.run().map_err(|_| Errno::NOENT)?;
    let folder = rustix::fs::openat(run, id.as_str(), DIRECTORY, Mode::empty())?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &socket_address(&folder)?)?;
    let stream = UnixStream::from(socket);
    stream
        .set_nonblocking(false)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(stream)
}

/// The uid at the other end of a Unix socket, and its pid where that is seen from
/// here.
///
/// # Errors
/// When it is no Unix socket.
pub fn peer(socket: impl AsFd) -> io::Result<(u32, Option<Pid>)> {
    sys::peer(socket.as_fd())
}

/// The address of the control socket in the open run directory `folder`: short,
/// however long the project's path is (`unix(7)` allows 107 bytes).
///
/// # Errors
/// None in practice; the address is short.
pub fn socket_address(folder: &OwnedFd) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!(
        "/proc/self/fd/{}/{CONTROL_SOCKET}",
        folder.as_raw_fd()
    ))
}
