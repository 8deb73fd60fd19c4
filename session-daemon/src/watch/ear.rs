//! What tells that a session's owner, or its orphaned agent, has died.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use session_core::{
    Control, ControlError, Host, Liveness, Observation, ProcessHandle, SessionManager,
};

/// Readable once there is a reason to look at the session again.
#[derive(Debug)]
pub(super) enum Ear {
    /// A process: the owner, or the agent that lost it.
    Process(ProcessHandle),
    /// An owner whose pid is not seen from here, asked to tell the end.
    Owner(Control),
}

/// What there is to listen to.
pub(super) enum Found {
    Ear(Ear),
    /// Nothing can die any more.
    Nothing,
    /// Somebody is there who cannot be listened to now.
    NotNow,
}

impl Ear {
    /// Where to listen for the death of whoever keeps `seen` alive.
    pub(super) fn at(manager: &SessionManager, seen: &Observation) -> Found {
        match &seen.liveness {
            Liveness::Owned => match owner(manager, seen) {
                Ok(Some(ear)) => Found::Ear(ear),
                Ok(None) | Err(_) => Found::NotNow,
            },
            Liveness::Orphan | Liveness::Unverified => match agent(seen) {
                Ok(Some(handle)) => Found::Ear(Self::Process(handle)),
                Ok(None) | Err(_) => Found::NotNow,
            },
            Liveness::Unknown(_) => Found::NotNow,
            Liveness::Ended | Liveness::Unclaimed | Liveness::Lost(_) | Liveness::Abandoned => {
                Found::Nothing
            }
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Process(handle) => handle.as_fd(),
            Self::Owner(control) => control.as_fd(),
        }
    }
}

/// The owner's process: the pid that the kernel tells of its socket. The socket
/// is still open after the pidfd is, so no other process came to that pid.
fn owner(manager: &SessionManager, seen: &Observation) -> Result<Option<Ear>, ControlError> {
    let Some(mut control) = manager.try_control(&seen.session.id)? else {
        return Ok(None);
    };
    let handle = control.owner_pid().map(ProcessHandle::open);
    if let Some(Ok(Some(handle))) = handle
        && control.is_open()
    {
        return Ok(Some(Ear::Process(handle)));
    }
    control.subscribe_end()?;
    Ok(Some(Ear::Owner(control)))
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
