//! A supervisor that is forked before it is needed.
//!
//! A program that starts one session and ends need not execute itself once more: it
//! forks right at its beginning, and what it learns meanwhile, above all whose
//! supervisor the child is to be, it sends it. The child promises to be nothing but
//! that: it has its own OS session and no descriptor of the parent's, touches nothing
//! of the program, and ends as soon as nobody can send it anything any more.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use session_core::{SessionId, failpoint};

use crate::handover::{CONVERSATION_FD, LEASE_FD, STDIN_FD, SUPERVISE};
use crate::{supervisor, sys};

/// How many descriptors can be sent, the lease first, a conversation last.
const MAX_SENT: usize = (CONVERSATION_FD - LEASE_FD + 1) as usize;

/// Behind all that are sent: the kernel gives the lowest free numbers, in order, so
/// that the lease arrives at the one by which supervisors are told (`unix(7)`).
const EAR_FD: i32 = CONVERSATION_FD + 1;

/// A child that waits to become a session's supervisor.
#[derive(Debug)]
pub struct Spare {
    /// Gone once it has been sent what it waits for.
    mouth: Option<OwnedFd>,
    pid: rustix::process::Pid,
}

/// One that is not used ends, and leaves no zombie for as long as this process lives.
impl Drop for Spare {
    fn drop(&mut self) {
        if self.mouth.take().is_some() {
            let options = rustix::process::WaitOptions::empty();
            // Where somebody else reaps, there is nothing to do.
            let _ = rustix::process::waitpid(Some(self.pid), options);
        }
    }
}

impl Spare {
    /// Forks it. Call it first thing in `main`: what the program has touched before,
    /// the supervisor keeps as long as the session lives.
    ///
    /// # Errors
    /// When this process has more than one thread, or the system refuses. Sessions
    /// can be launched all the same.
    pub fn fork() -> io::Result<Self> {
        // Two names of its own, and one for each thread (`proc_pid_task(5)`).
        if std::fs::metadata("/proc/self/task")?.nlink() != 3 {
            return Err(io::Error::other("a process with threads is not forked"));
        }
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let (mouth, ear) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        match sys::fork_spare(null.as_fd(), ear.as_fd(), EAR_FD)? {
            sys::Side::Parent(pid) => Ok(Self {
                mouth: Some(mouth),
                pid,
            }),
            sys::Side::Child(ear) => {
                if let Ok(id) = hear(ear) {
                    sys::retitle(&[SUPERVISE, id.as_str()]);
                    supervisor::supervise();
                }
                std::process::exit(0);
            }
        }
    }

    /// Makes it the supervisor of session `id`. What was sent is not with us any more:
    /// if the child dies before it takes it, the kernel closes it.
    pub(crate) fn hand_over(mut self, id: &SessionId, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SENT))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let fits = rights.push(SendAncillaryMessage::ScmRights(fds));
        assert!(fits, "there is room for so many");
        let id = [IoSlice::new(id.as_str().as_bytes())];
        let mouth = self.mouth.as_ref().expect("it is used once");
        sendmsg(mouth, &id, &mut rights, SendFlags::NOSIGNAL)?;
        self.mouth = None;
        Ok(())
    }
}

/// Waits to be told whose supervisor this is. Everything that comes with it stays open
/// at the numbers of [`handover`](crate::handover).
fn hear(ear: OwnedFd) -> io::Result<SessionId> {
    failpoint::pass("spare.waits");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SENT))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut id = [0; 64];
    let message = loop {
        let mut id = [IoSliceMut::new(&mut id)];
        match recvmsg(&ear, &mut id, &mut rights, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            message => break message?,
        }
    };
    let sent = rights.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let sent: Vec<OwnedFd> = sent.flatten().collect();
    let numbers = || sent.iter().map(AsRawFd::as_raw_fd);
    if !numbers().eq(LEASE_FD..=STDIN_FD) && !numbers().eq(LEASE_FD..=CONVERSATION_FD) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let id = std::str::from_utf8(&id[..message.bytes]).ok();
    let id = id.and_then(|id| SessionId::parse(id).ok());
    let id = id.ok_or(io::ErrorKind::InvalidData)?;
    sent.into_iter().map(OwnedFd::into_raw_fd).for_each(drop);
    Ok(id)
}
