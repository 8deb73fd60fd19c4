//! What anybody may do to a session that somebody else owns: stop, kill, suspend,
//! resume, discard.
//!
//! An observer asks the owner. Where the owner is dead and its agent is not, it
//! acts in the owner's stead, if it is proven whose the process is. It signals
//! nothing of which that is not proven.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::claim::ClaimError;
use crate::control::{ControlError, Request};
use crate::id::SessionId;
use crate::manager::{LookError, RemoveError, SessionManager};
use crate::observe::{Liveness, Observation};
use crate::process::{Host, ProcessHandle, SignalError};
use crate::runtime::{Asked, MAX_RIVALS, RuntimeError, ask_owner, is_rivals, terminate_observed};
use crate::session::Session;
use crate::status::Status;
use crate::store::StoreError;
use crate::sys;

/// How long an owner is waited for that still ends what its agent left running.
const ENDING_PATIENCE: Duration = Duration::from_secs(15);

/// Something could not be done to a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActError {
    /// It could not be looked at: not there, damaged, or the project cannot be used.
    #[error(transparent)]
    Look(#[from] LookError),
    /// There is nothing to act on any more.
    #[error("session {id} has ended ({status})")]
    Ended {
        /// The session.
        id: SessionId,
        /// How it ended.
        status: Status,
    },
    /// Its agent runs, but its owner is dead, and only an owner could do it.
    #[error("session {0} has lost its owner")]
    Orphan(SessionId),
    /// It was recorded, but nobody has begun to start it.
    #[error("session {0} has not been started")]
    NotStarted(SessionId),
    /// Nothing is known that would allow to touch it. (Where it is to be stopped,
    /// this is [`RuntimeError::HandsOff`].)
    #[error("session {id} cannot be told from here: {why}")]
    HandsOff {
        /// The session.
        id: SessionId,
        /// What is known instead.
        why: String,
    },
    /// It lives, or may live, and is not removed unless that is forced.
    #[error("session {id} is {what}; it is not removed unless forced")]
    Living {
        /// The session.
        id: SessionId,
        /// What it is, as [`Observation::status_in_words`] says it.
        what: String,
    },
    /// Whether it lives cannot be told from here, and it is not removed unless that is
    /// forced.
    #[error("session {id} is {what}; only its record can be removed, and is not unless forced")]
    Untold {
        /// The session.
        id: SessionId,
        /// What it is, as [`Observation::status_in_words`] says it.
        what: String,
    },
    /// It has ended, but its owner takes long to end what the agent left running.
    #[error("session {0} has ended, but its owner still ends what its agent left running")]
    Ending(SessionId),
    /// The owner did not do it.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The orphan could not be signalled.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// It could not be ended.
    #[error(transparent)]
    Runtime(RuntimeError),
    /// It could not be taken or written.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// Its files could not be removed.
    #[error(transparent)]
    Remove(RemoveError),
    /// The system refused.
    #[error("cannot {attempt} of session {id}")]
    Io {
        /// The session.
        id: SessionId,
        /// What was attempted, and at what.
        attempt: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// What was discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discarded {
    /// A session that has ended, if only by this.
    Session,
    /// A record that could not be read.
    DamagedRecord,
    /// Only the record of a session that may still run elsewhere; its process,
    /// wherever it is, was left alone.
    RecordOnly,
}

impl SessionManager {
    /// Ends a session: asks the whole tree to end (TERM), and kills what is left
    /// after `grace`. `by` stands in the outcome. A session that has ended is
    /// returned as it is; what a lost agent left running is ended also then.
    ///
    /// # Errors
    /// [`ActError`]: not there, the owner does not do it, or
    /// [`RuntimeError::HandsOff`] where nothing allows a signal.
    pub fn stop(&self, id: &SessionId, grace: Duration, by: &str) -> Result<Session, ActError> {
        Ok(terminate_observed(self, id, grace, by)?.session)
    }

    /// Sends `signal`, by its number, to the agent's first process; KILL goes to
    /// the whole tree, and ends the session. `by` stands in the outcome then.
    /// Returns the session as it is after that.
    ///
    /// # Errors
    /// [`ActError`]: ended or not started, hands off, the owner does not do it, or
    /// there is no such signal.
    pub fn kill(&self, id: &SessionId, signal: i32, by: &str) -> Result<Session, ActError> {
        for _ in 1..MAX_RIVALS {
            match self.kill_as_seen(id, signal, by) {
                // Somebody else took the orphan in this moment.
                Err(ActError::Claim(error)) if is_rivals(&error) => {}
                done => return done,
            }
        }
        self.kill_as_seen(id, signal, by)
    }

    fn kill_as_seen(&self, id: &SessionId, signal: i32, by: &str) -> Result<Session, ActError> {
        // An owner who still ends what the agent left running can be hurried.
        let is_hurry = signal == Signal::KILL.as_raw();
        let seen = match self.get_unless_owned(id, is_hurry)? {
            Some(seen) => seen,
            None => {
                let by = by.to_owned();
                match ask_owner(self, id, &Request::Kill { signal, by })? {
                    Asked::Done(session) => return Ok(*session),
                    Asked::OwnerDied(without) => *without,
                }
            }
        };
        match &seen.liveness {
            Liveness::Orphan if signal == Signal::KILL.as_raw() => {
                self.stop(id, Duration::ZERO, by)
            }
            Liveness::Orphan
                if signal == Signal::CONT.as_raw()
                    && seen.session.status() == Status::Suspended =>
            {
                let why = "the session is suspended; once adopted, `resume` lets it go on";
                Err(ControlError::Refused(why.to_owned()).into())
            }
            Liveness::Orphan => {
                signal_orphan(self, id, signal)?;
                // It was signalled, whatever became of its record since.
                Ok(self
                    .get(id)
                    .map_or(seen.session, |seen_again| seen_again.shown()))
            }
            _ => Err(refusal(&seen)),
        }
    }

    /// Stops the whole tree where it is; a session that is suspended already stays
    /// so. Returns the session as it is after that.
    ///
    /// # Errors
    /// [`ActError`]: ended, not started, without an owner, or the owner does not
    /// do it.
    pub fn suspend(&self, id: &SessionId) -> Result<Session, ActError> {
        self.bring_to(id, &Request::Suspend, Status::Suspended)
    }

    /// Lets the whole tree go on; a session that runs already goes on running.
    /// Returns the session as it is after that.
    ///
    /// # Errors
    /// As [`suspend`](Self::suspend).
    pub fn resume(&self, id: &SessionId) -> Result<Session, ActError> {
        self.bring_to(id, &Request::Resume, Status::Running)
    }

    /// Asks the owner for `request`, unless the session is in the state that it
    /// leads to.
    fn bring_to(
        &self,
        id: &SessionId,
        request: &Request,
        goal: Status,
    ) -> Result<Session, ActError> {
        let seen = self.get(id)?;
        if seen.liveness != Liveness::Owned {
            return Err(refusal(&seen));
        }
        match ask_owner(self, id, request) {
            Ok(Asked::Done(session)) => Ok(*session),
            Ok(Asked::OwnerDied(seen)) => Err(refusal(&seen)),
            Err(RuntimeError::Control(refused @ ControlError::Refused(_))) => {
                let now = self.get(id)?;
                if now.status() == Some(goal) {
                    Ok(now.session)
                } else {
                    Err(refused.into())
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the record and the log of a session that has ended, and whose agent left
    /// nothing running. With `force` also of others: they are killed first, as by `by`.
    /// A record that cannot be read, and has no owner, or of which nothing can be told
    /// from here, is removed by force as well, and no process is touched then. An owner
    /// that still ends what the agent left running is waited for, 15 s at most.
    ///
    /// # Errors
    /// [`ActError::Living`] or [`ActError::Untold`] where only force would do it,
    /// [`ActError::Ending`] when the owner takes too long; whatever else stands in the way.
    pub fn discard(&self, id: &SessionId, force: bool, by: &str) -> Result<Discarded, ActError> {
        let seen = match self.get(id) {
            Err(LookError::Damaged { .. }) if force => {
                if self.has_owner(id)? {
                    self.stop(id, Duration::ZERO, by)?;
                    self.remove_ended(id)?;
                } else {
                    self.forget(id)?;
                }
                return Ok(Discarded::DamagedRecord);
            }
            seen => seen?,
        };
        let living = |what| ActError::Living {
            id: id.clone(),
            what,
        };
        match &seen.liveness {
            Liveness::Ended | Liveness::Lost(_) | Liveness::Abandoned => {
                let left = self.left_running(std::slice::from_ref(&seen));
                let left = left.map_err(io_error(id, "look for what its agent left running"))?;
                if let Some(pids) = left.get(id) {
                    if !force {
                        let pids: Vec<_> = pids.iter().map(ToString::to_string).collect();
                        let pids = pids.join(", ");
                        return Err(living(format!("lost, but left processes running ({pids})")));
                    }
                    self.stop(id, Duration::ZERO, by)?;
                }
            }
            Liveness::Owned | Liveness::Orphan | Liveness::Unclaimed => {
                if !force {
                    return Err(living(seen.status_in_words()));
                }
                self.stop(id, Duration::ZERO, by)?;
            }
            Liveness::Unverified | Liveness::Unknown(_) => {
                if !force {
                    return Err(ActError::Untold {
                        id: id.clone(),
                        what: seen.status_in_words(),
                    });
                }
                self.forget(id)?;
                return Ok(Discarded::RecordOnly);
            }
        }
        self.remove_ended(id)?;
        Ok(Discarded::Session)
    }

    /// Removes a session that has ended. Its owner may still be ending what the
    /// agent left running; the end of that is the end of its control connection.
    fn remove_ended(&self, id: &SessionId) -> Result<(), ActError> {
        let deadline = Instant::now() + ENDING_PATIENCE;
        loop {
            match self.remove(id) {
                Ok(()) => return Ok(()),
                // Removed by its owner (`remove_at_end`), or by somebody else.
                Err(RemoveError::Look(LookError::NotFound(_))) => return Ok(()),
                Err(RemoveError::Living { .. }) if self.get(id)?.liveness == Liveness::Ended => {}
                Err(error) => return Err(error.into()),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ActError::Ending(id.clone()));
            }
            // No owner to reach means that there is none in the way any more.
            if let Ok(control) = self.control(id) {
                sys::poll_readable(control.as_fd(), Some(left))
                    .map_err(io_error(id, "wait for the owner"))?;
            }
        }
    }
}

/// Why nothing can be done to a session that is not its owner's to do.
fn refusal(seen: &Observation) -> ActError {
    let id = seen.session.id.clone();
    match &seen.liveness {
        Liveness::Ended | Liveness::Lost(_) | Liveness::Abandoned => ActError::Ended {
            id,
            status: seen.shown().status(),
        },
        Liveness::Orphan => ActError::Orphan(id),
        Liveness::Unclaimed => ActError::NotStarted(id),
        Liveness::Owned | Liveness::Unverified | Liveness::Unknown(_) => ActError::HandsOff {
            id,
            why: seen.liveness.in_words(),
        },
    }
}

/// Under its lease, so that nobody adopts or ends it meanwhile, and through a pidfd
/// whose identity was checked after it was opened.
fn signal_orphan(manager: &SessionManager, id: &SessionId, signal: i32) -> Result<(), ActError> {
    let look = || io_error(id, "look at the agent");
    let claim = manager.claim(id)?;
    let hands_off = || ActError::HandsOff {
        id: id.clone(),
        why: "its agent is gone".to_owned(),
    };
    let process = claim.session().process().ok_or_else(hands_off)?;
    let host = Host::current().map_err(look())?;
    match ProcessHandle::open_verified(process, &host).map_err(look())? {
        Ok(agent) => Ok(agent.signal(signal)?),
        Err(_) => Err(hands_off()),
    }
    // The claim of a session that runs is only let go of: it has no owner still.
}

fn io_error(id: &SessionId, attempt: &'static str) -> impl FnOnce(io::Error) -> ActError + use<> {
    let id = id.clone();
    move |source| ActError::Io {
        id,
        attempt,
        source,
    }
}

impl From<StoreError> for ActError {
    fn from(error: StoreError) -> Self {
        Self::Look(error.into())
    }
}

/// What has a variant of its own is told by it, not by its wrapper.
impl From<RuntimeError> for ActError {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Look(error) => Self::Look(error),
            RuntimeError::Control(error) => Self::Control(error),
            RuntimeError::Claim(error) => Self::Claim(error),
            error => Self::Runtime(error),
        }
    }
}

/// As for [`RuntimeError`].
impl From<RemoveError> for ActError {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::Look(error) => Self::Look(error),
            RemoveError::Claim(error) => Self::Claim(error),
            RemoveError::Store(error) => Self::Look(error.into()),
            error => Self::Remove(error),
        }
    }
}
