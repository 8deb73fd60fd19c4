//! Waiting for a session's end without polling: by its owner's word, by its
//! agent's pidfd where the owner is dead, or by the project's change feed.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use session_core::process::Host;
use session_core::{
    Control, ControlError, Feed, Liveness, Observation, ProcessHandle, Session, SessionId,
    SessionManager,
};

use crate::error::CliError;
use crate::output;

/// How often a session that changes between two looks is looked at anew.
const MAX_LOOKS: usize = 100;
/// The pause before a look at a session that only just changed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often to look where nothing notifies.
pub(crate) const WITHOUT_NOTIFICATIONS: Duration = Duration::from_secs(1);

/// What becomes readable once there is a reason to look at a session again.
#[derive(Debug)]
pub(crate) enum Ear {
    /// The owner, which was asked to tell the end.
    Owner(Control),
    /// The agent's process, which has no owner.
    Agent(ProcessHandle),
    /// The project's changes.
    Project(Feed),
}

/// What there was to hear.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The end, from the owner itself.
    Ended(Box<Session>),
    /// Something happened.
    LookAgain,
}

/// What is to be done to learn a session's end.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing: this is the session at its end.
    Ended(Box<Session>),
    /// To listen.
    Listen(Ear),
}

impl Ear {
    /// An ear at a living session; `None` where there is nothing to listen to,
    /// or what there was went away in this moment.
    pub(crate) fn at(
        manager: &SessionManager,
        seen: &Observation,
    ) -> Result<Option<Self>, CliError> {
        let id = &seen.session.id;
        match &seen.liveness {
            Liveness::Owned => match subscribe(manager, id) {
                Ok(control) => Ok(Some(Self::Owner(control))),
                Err(ControlError::NoOwner(_) | ControlError::OwnerDied(_)) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Liveness::Orphan | Liveness::Unverified => agent(seen)
                .map(|handle| handle.map(Self::Agent))
                .map_err(CliError::io(format!("watch the agent of session {id}"))),
            Liveness::Unclaimed => Ok(Some(Self::Project(manager.feed()?))),
            Liveness::Unknown(_) | Liveness::Ended | Liveness::Lost(_) | Liveness::Abandoned => {
                Ok(None)
            }
        }
    }

    /// Whether this is where to listen for what becomes of `seen`.
    pub(crate) fn fits(&self, seen: &Observation) -> bool {
        match self {
            Self::Owner(_) => seen.liveness == Liveness::Owned,
            Self::Agent(_) => matches!(seen.liveness, Liveness::Orphan | Liveness::Unverified),
            Self::Project(_) => seen.liveness == Liveness::Unclaimed,
        }
    }

    /// When to look again at the latest, whatever is heard; `None` where everything is.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Project(feed) => feed.deadline(),
            Self::Owner(_) | Self::Agent(_) => None,
        }
    }

    /// The descriptor to wait for; `None` where nothing notifies.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        match self {
            Self::Owner(control) => Some(control.as_fd()),
            Self::Agent(handle) => Some(handle.as_fd()),
            Self::Project(feed) => feed.as_fd(),
        }
    }

    /// Waits until there is something to hear, at most until `deadline`; tells
    /// whether there is.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> io::Result<bool> {
        let fds: Vec<_> = self.fd().into_iter().collect();
        let first = [deadline, self.deadline()].into_iter().flatten().min();
        let heard = wait_any(&fds, first)?.is_some();
        Ok(heard || deadline.is_none_or(|deadline| Instant::now() < deadline))
    }

    /// Takes what there is to hear.
    pub(crate) fn hear(self) -> Heard {
        match self {
            Self::Owner(control) => match control.ended() {
                Ok(session) if session.status().is_terminal() => Heard::Ended(Box::new(session)),
                // The owner died, and the facts have to be looked at.
                _ => Heard::LookAgain,
            },
            Self::Agent(_) | Self::Project(_) => Heard::LookAgain,
        }
    }
}

/// Looks at a session until it has ended.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    manager: &'a SessionManager,
    id: SessionId,
    told_orphan: bool,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(manager: &'a SessionManager, id: SessionId) -> Self {
        Self {
            manager,
            id,
            told_orphan: false,
        }
    }

    /// The end, or what to listen to until there may be one. An end that nobody
    /// recorded is recorded, where the project can be written.
    pub(crate) fn next(&mut self) -> Result<Next, CliError> {
        for _ in 0..MAX_LOOKS {
            let seen = self.manager.get(&self.id)?;
            match &seen.liveness {
                Liveness::Ended => {
                    self.manager.sync_records();
                    return Ok(Next::Ended(Box::new(seen.session)));
                }
                Liveness::Lost(_) | Liveness::Abandoned => {
                    settle(self.manager, &self.id);
                    // What stands there now counts, if another settled or adopted it.
                    let now = self.manager.get(&self.id).unwrap_or(seen);
                    if now.may_live() {
                        continue;
                    }
                    self.manager.sync_records();
                    return Ok(Next::Ended(Box::new(now.shown())));
                }
                Liveness::Unknown(why) => {
                    return Err(CliError::HandsOff {
                        id: self.id.clone(),
                        why: why.to_string(),
                    });
                }
                Liveness::Orphan => self.tell_orphan(),
                Liveness::Owned | Liveness::Unclaimed | Liveness::Unverified => {}
            }
            match Ear::at(self.manager, &seen)? {
                // What is heard of a project began before this look.
                Some(ear @ Ear::Project(_)) if !self.is_unclaimed()? => drop(ear),
                Some(ear) => return Ok(Next::Listen(ear)),
                None => std::thread::sleep(LOOK_AGAIN),
            }
        }
        let why = "it changes faster than it can be looked at".to_owned();
        Err(CliError::HandsOff {
            id: self.id.clone(),
            why,
        })
    }

    fn is_unclaimed(&self) -> Result<bool, CliError> {
        Ok(self.manager.get(&self.id)?.liveness == Liveness::Unclaimed)
    }

    fn tell_orphan(&mut self) {
        if !std::mem::replace(&mut self.told_orphan, true) {
            let id = &self.id;
            output::words(&format!(
                "the owner of session {id} is dead, its agent still runs; `monoco adopt {id}` \
                 gives it a new owner"
            ));
        }
    }
}

/// Waits until one of `fds` is readable, and tells which; `None` once `deadline`
/// has come.
pub(crate) fn wait_any(
    fds: &[BorrowedFd<'_>],
    deadline: Option<Instant>,
) -> io::Result<Option<usize>> {
    let mut fds: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match poll(&mut fds, left.map(timespec).as_ref()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(fds.iter().position(|fd| !fd.revents().is_empty())),
        }
    }
}

/// `duration` for poll(2); more than it can express means very long.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec {
        tv_sec: i64::from(u32::MAX),
        tv_nsec: 0,
    })
}

/// Records an end that nobody recorded. Where it cannot be written it is just as
/// true, and found again.
pub(crate) fn settle(manager: &SessionManager, id: &SessionId) {
    if let Err(error) = manager.settle(id)
        && !CliError::is_read_only(&error)
    {
        output::failure(&error);
    }
}

fn subscribe(manager: &SessionManager, id: &SessionId) -> Result<Control, ControlError> {
    let mut control = manager.control(id)?;
    control.subscribe_end()?;
    Ok(control)
}

/// The agent's process. One that is not verified is only ever watched.
fn agent(seen: &Observation) -> io::Result<Option<ProcessHandle>> {
    let Some(process) = seen.session.process() else {
        return Ok(None);
    };
    match &seen.liveness {
        Liveness::Unverified => ProcessHandle::open(process.pid),
        _ => Ok(ProcessHandle::open_verified(process, &Host::current()?)?.ok()),
    }
}
