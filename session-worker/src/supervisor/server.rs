//! The owner's ear: the control socket, and the conversations on it.
//!
//! No client can make the owner wait: everything is non-blocking and bounded,
//! and a request that does not come within the deadline ends its conversation.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use session_core::control::{self, MAX_REQUEST_LEN, Reply, Request, socket_address};
use session_core::{CONTROL_SOCKET, Session};

/// How many conversations there can be at once; each waiter is one. So many that those
/// who only wait do not keep those out who want something done.
const MAX_CONVERSATIONS: u64 = 1024;
/// Descriptors that an owner needs to end its session.
const OTHER_FILES: u64 = 64;
/// How long a client may take to say what it wants, or to take its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long accepting pauses when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
const BACKLOG: i32 = 128;

/// Names a conversation, also after it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

#[derive(Debug)]
pub(super) struct Server {
    listener: UnixListener,
    conversations: VecDeque<Conversation>,
    most: usize,
    next_ticket: u64,
    accept_again: Option<Instant>,
}

#[derive(Debug)]
struct Conversation {
    ticket: Ticket,
    stream: UnixStream,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The client says what it wants, and has until then to do so.
    Asking { line: Vec<u8>, until: Instant },
    /// The client waits for us.
    Waiting,
    /// The client is taking its answer, and has until then to do so.
    Answering { rest: Vec<u8>, until: Instant },
}

impl Server {
    /// Listens in the run directory `folder`.
    pub(super) fn listen(folder: &OwnedFd) -> io::Result<Self> {
        Ok(Self {
            listener: listen(folder)?,
            conversations: VecDeque::new(),
            most: room_for_conversations(),
            next_ticket: 0,
            accept_again: None,
        })
    }

    /// Whether there still is a socket in the run directory `folder`.
    pub(super) fn is_reachable(folder: &OwnedFd) -> bool {
        rustix::fs::statat(
            folder,
            CONTROL_SOCKET,
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )
        .is_ok()
    }

    /// Listens in a new run directory as well; who was heard before still is.
    pub(super) fn listen_again(&mut self, folder: &OwnedFd) -> io::Result<()> {
        self.listener = listen(folder)?;
        Ok(())
    }

    /// What has to be polled, and for what.
    pub(super) fn watched(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let accepts = self.accept_again.is_none() && self.has_room();
        let listener = accepts.then(|| (self.listener.as_fd(), PollFlags::IN));
        let flags = |conversation: &Conversation| match conversation.phase {
            Phase::Asking { .. } => PollFlags::IN,
            // Only that it goes (HUP, which is always told) is of interest.
            Phase::Waiting => PollFlags::empty(),
            Phase::Answering { .. } => PollFlags::OUT,
        };
        let conversations = self.conversations.iter();
        listener
            .into_iter()
            .chain(conversations.map(move |known| (known.stream.as_fd(), flags(known))))
    }

    /// When something has to be done even if nobody speaks.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let expiries = self.conversations.iter().filter_map(Conversation::expires);
        expiries.chain(self.accept_again).min()
    }

    /// Listens to everybody who has something to say; returns what they want.
    pub(super) fn turn(&mut self) -> Vec<(Ticket, Request)> {
        let now = Instant::now();
        self.accept(now);
        let mut requests = Vec::new();
        self.conversations
            .retain_mut(|conversation| match conversation.turn(now) {
                Turn::Goes => true,
                Turn::Asks(request) => {
                    requests.push((conversation.ticket, request));
                    true
                }
                Turn::Over => false,
            });
        requests
    }

    /// Answers with the session as it is.
    pub(super) fn done(&mut self, ticket: Ticket, session: &Session) {
        self.reply(ticket, &Reply::done(session));
    }

    /// Answers that it was not done.
    pub(super) fn refuse(&mut self, ticket: Ticket, error: impl std::fmt::Display) {
        self.reply(ticket, &Reply::refused(error.to_string()));
    }

    /// Gives what is still to be said a last chance, before the process ends.
    pub(super) fn flush(&mut self) {
        for conversation in &mut self.conversations {
            if let Phase::Answering { rest, .. } = &conversation.phase {
                // A client that does not listen now finds the record.
                let _ = conversation.stream.set_nonblocking(false);
                let _ = conversation.stream.set_write_timeout(Some(PATIENCE / 5));
                let _ = conversation.stream.write_all(rest);
            }
        }
    }

    fn reply(&mut self, ticket: Ticket, reply: &Reply) {
        // A client that has gone gets no answer; the record has it.
        let known = self
            .conversations
            .iter()
            .position(|known| known.ticket == ticket);
        if let Some(index) = known
            && let Turn::Over = self.conversations[index].answer(reply)
        {
            self.conversations.remove(index);
        }
    }

    fn accept(&mut self, now: Instant) {
        if self.accept_again.is_some_and(|again| now < again) {
            return;
        }
        self.accept_again = None;
        // Who finds no room waits in the backlog; who waits for us is not sent away.
        while self.has_room() {
            match self.listener.accept() {
                Ok((stream, _)) => self.welcome(stream, now),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // No descriptors: the backlog stays readable, so look away for a while.
                Err(_) => {
                    self.accept_again = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.conversations.len() < self.most
    }

    fn welcome(&mut self, stream: UnixStream, now: Instant) {
        let own_uid = rustix::process::geteuid().as_raw();
        let own = control::peer(&stream).is_ok_and(|(uid, _)| uid == own_uid);
        if !own || stream.set_nonblocking(true).is_err() {
            return;
        }
        self.next_ticket += 1;
        self.conversations.push_back(Conversation {
            ticket: Ticket(self.next_ticket),
            stream,
            phase: Phase::Asking {
                line: Vec::new(),
                until: now + PATIENCE,
            },
        });
    }
}

/// Who waits must not take the descriptors without which the session cannot be ended.
fn room_for_conversations() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = files.unwrap_or(u64::MAX);
    let room = match files.checked_sub(2 * OTHER_FILES) {
        Some(_) => files - OTHER_FILES,
        None => files / 4,
    };
    usize::try_from(room.min(MAX_CONVERSATIONS)).unwrap_or(usize::MAX)
}

/// A listening socket in `folder`. One that a dead owner left there is replaced:
/// who calls this holds the lease.
fn listen(folder: &OwnedFd) -> io::Result<UnixListener> {
    use rustix::fs::{AtFlags, Mode};
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    match rustix::fs::unlinkat(folder, CONTROL_SOCKET, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &socket_address(folder)?)?;
    // The directory is ours alone; the socket's own mode is a second lock.
    rustix::fs::chmodat(
        folder,
        CONTROL_SOCKET,
        Mode::RUSR | Mode::WUSR,
        AtFlags::empty(),
    )?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

enum Turn {
    Goes,
    Asks(Request),
    Over,
}

impl Conversation {
    fn turn(&mut self, now: Instant) -> Turn {
        // Whoever gave up waiting must not get what it asked for later.
        if self.client_is_gone() || self.expires().is_some_and(|until| until <= now) {
            return Turn::Over;
        }
        match &mut self.phase {
            Phase::Asking { line, .. } => match read_line(&mut self.stream, line) {
                Ok(true) => self.understand(),
                Ok(false) => Turn::Goes,
                Err(_) => Turn::Over,
            },
            Phase::Waiting => Turn::Goes,
            Phase::Answering { .. } => self.write(),
        }
    }

    fn expires(&self) -> Option<Instant> {
        match self.phase {
            Phase::Asking { until, .. } | Phase::Answering { until, .. } => Some(until),
            Phase::Waiting => None,
        }
    }

    /// Whether the client has closed its end: not only for writing, as one may
    /// that has nothing more to say.
    fn client_is_gone(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(
            self.stream.as_fd(),
            PollFlags::empty(),
        )];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let polled = rustix::event::poll(&mut fds, Some(&now));
        polled.is_ok() && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    fn understand(&mut self) -> Turn {
        let Phase::Asking { line, .. } = std::mem::replace(&mut self.phase, Phase::Waiting) else {
            return Turn::Goes;
        };
        match serde_json::from_slice(&line) {
            Ok(request) => Turn::Asks(request),
            Err(error) => self.answer(&Reply::refused(format!(
                "this request cannot be read: {error}"
            ))),
        }
    }

    fn answer(&mut self, reply: &Reply) -> Turn {
        self.phase = Phase::Answering {
            rest: reply.to_line(),
            until: Instant::now() + PATIENCE,
        };
        self.write()
    }

    fn write(&mut self) -> Turn {
        let Phase::Answering { rest, .. } = &mut self.phase else {
            return Turn::Goes;
        };
        match self.stream.write(rest) {
            Ok(n) => drop(rest.drain(..n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Turn::Over,
        }
        if rest.is_empty() {
            Turn::Over
        } else {
            Turn::Goes
        }
    }
}

/// Reads what is there; tells whether the line is whole.
fn read_line(stream: &mut UnixStream, line: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                line.extend_from_slice(&chunk[..n]);
                if chunk[..n].contains(&b'\n') {
                    return Ok(true);
                }
                if line.len() > MAX_REQUEST_LEN {
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
