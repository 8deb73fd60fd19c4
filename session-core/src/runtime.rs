//! A session in one of its two modes: owner, who drives its agent through a
//! worker, or observer, who looks, and asks the owner.

use std::time::Duration;

use crate::chain::error_chain;
use crate::claim::{Claim, ClaimError};
use crate::control::{ControlError, DEADLINE, Request};
use crate::failpoint;
use crate::lease::LeaseError;
use crate::manager::{LookError, SessionManager};
use crate::observe::{Liveness, Observation};
use crate::orphan::{self, OrphanError};
use crate::outcome::{Outcome, SpawnFailure};
use crate::session::{Session, State};
use crate::status::Status;
use crate::storage::WriteError;
use crate::worker::{NoWorker, Worker, WorkerError};

/// One session, owned or observed.
///
/// What is loaded from disk is an observer:
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use session_core::{NewSession, RuntimeError, SessionManager};
///
/// let manager = SessionManager::create(dir.path())?;
/// let claim = manager.claim_new(NewSession { issue_id: Some("FEAT-101".into()), ..NewSession::default() })?;
/// let mut session = manager.load(&claim.session().id)?;
/// assert!(!session.is_owner());
/// assert!(matches!(session.suspend(), Err(RuntimeError::ObserverMode { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RuntimeSession<W: Worker = NoWorker> {
    mode: Mode<W>,
}

#[derive(Debug)]
enum Mode<W> {
    Owner {
        claim: Box<Claim>,
        worker: W,
    },
    Observer {
        manager: SessionManager,
        observation: Box<Observation>,
    },
}

/// A session could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// Only the owner has a worker.
    #[error("cannot {attempt} session {id} in observer mode: it has no worker here")]
    ObserverMode {
        /// The session.
        id: crate::SessionId,
        /// What was attempted.
        attempt: &'static str,
    },
    /// Nothing is known of the agent that would allow a signal.
    #[error("session {id} cannot be stopped from here: {why}")]
    HandsOff {
        /// The session.
        id: crate::SessionId,
        /// What is not known.
        why: String,
    },
    /// The owner did not do it.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The record could not be taken or written.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The agent could not be driven.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The orphan could not be ended.
    #[error(transparent)]
    Orphan(#[from] OrphanError),
    /// The record could not be read.
    #[error(transparent)]
    Look(#[from] LookError),
}

impl RuntimeSession {
    pub(crate) fn observer(manager: SessionManager, observation: Observation) -> Self {
        Self {
            mode: Mode::Observer {
                manager,
                observation: Box::new(observation),
            },
        }
    }
}

impl<W: Worker> RuntimeSession<W> {
    /// The owner of a claimed session.
    pub fn owner(claim: Claim, worker: W) -> Self {
        Self {
            mode: Mode::Owner {
                claim: Box::new(claim),
                worker,
            },
        }
    }

    /// Whether this is the owner.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        matches!(self.mode, Mode::Owner { .. })
    }

    /// The session: as the owner recorded it, or as the observer last saw it.
    #[must_use]
    pub fn session(&self) -> &Session {
        match &self.mode {
            Mode::Owner { claim, .. } => claim.session(),
            Mode::Observer { observation, .. } => &observation.session,
        }
    }

    /// Starts the agent. When this returns, it runs, and the record says so durably.
    ///
    /// # Errors
    /// For observers; when the agent cannot be started, which then is the
    /// session's outcome; when the record cannot be written, and then no agent runs.
    pub fn start(&mut self) -> Result<(), RuntimeError> {
        let (claim, worker) = self.owned("start")?;
        if !matches!(claim.session().state(), State::Pending) {
            return Err(ClaimError::from(claim.session().no_arrow("start")).into());
        }
        let started = worker
            .prepare(claim.session())
            .map_err(RuntimeError::from)
            .and_then(|process| {
                // The pid is durable before the gate opens: a crash in between leaves a
                // gate that kills itself, never an agent that no record knows.
                failpoint::pass("start.held");
                claim.start(process)?;
                failpoint::pass("start.recorded");
                worker.release()?;
                failpoint::pass("start.released");
                Ok(())
            });
        match &started {
            Ok(()) => {}
            Err(RuntimeError::Worker(error)) => claim.finish(spawn_failed(error))?,
            // The pid is not durable, so the gate stays shut.
            Err(error) => {
                drop(worker.terminate(Duration::ZERO));
                if matches!(claim.session().state(), State::Running { .. }) {
                    claim.finish(Outcome::never_ran(error_chain(error)))?;
                }
            }
        }
        started
    }

    /// Stops the whole tree where it is.
    ///
    /// # Errors
    /// For observers; when the session is not running; when the tree could not
    /// be stopped or the record not be written.
    pub fn suspend(&mut self) -> Result<(), RuntimeError> {
        let (claim, worker) = self.owned("suspend")?;
        claim
            .session()
            .clone()
            .suspend(claim.session().updated_at)
            .map_err(ClaimError::from)?;
        worker.suspend()?;
        failpoint::pass("suspend.frozen");
        if let Err(error) = claim.suspend() {
            // What the record does not say must not be; the first error counts.
            if !is_written(&error) {
                drop(worker.resume());
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Lets the whole tree go on.
    ///
    /// # Errors
    /// For observers; when the session is not suspended; when the tree could not
    /// be signalled or the record not be written.
    pub fn resume(&mut self) -> Result<(), RuntimeError> {
        let (claim, worker) = self.owned("resume")?;
        claim
            .session()
            .clone()
            .resume(claim.session().updated_at)
            .map_err(ClaimError::from)?;
        worker.resume()?;
        failpoint::pass("resume.thawed");
        if let Err(error) = claim.resume() {
            if !is_written(&error) {
                drop(worker.suspend());
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Looks again: the owner at its agent, the observer at the record and the
    /// facts. Returns the status that is true; `None` when it cannot be told.
    ///
    /// # Errors
    /// When the record cannot be read, or (for the owner) not be written.
    pub fn refresh_status(&mut self) -> Result<Option<Status>, RuntimeError> {
        match &mut self.mode {
            Mode::Owner { claim, worker } => {
                if let State::Running { .. } | State::Suspended { .. } = claim.session().state()
                    && let Some(status) = worker.poll()?
                {
                    claim.finish(status.into())?;
                }
                Ok(Some(claim.session().status()))
            }
            Mode::Observer {
                manager,
                observation,
            } => {
                **observation = manager.get(&observation.session.id)?;
                Ok(observation.status())
            }
        }
    }

    /// Ends the session: the owner through its worker; the observer by asking
    /// the owner, or, where the owner is dead and its agent is not, in the
    /// owner's stead. `by` stands in the outcome. A session that has ended stays
    /// as it is.
    ///
    /// # Errors
    /// When the agent cannot be ended, or nothing allows a signal.
    pub fn terminate(&mut self, grace: Duration, by: &str) -> Result<&Session, RuntimeError> {
        match &mut self.mode {
            Mode::Owner { claim, worker } => match claim.session().state() {
                State::Ended(_) => {}
                State::Pending => claim.finish(never_started(by))?,
                State::Running { .. } | State::Suspended { .. } => {
                    // What ended by itself was not stopped; the rest of its tree is.
                    let own_end = worker.poll()?;
                    let wait_status = worker.terminate(grace)?;
                    claim.finish(match own_end {
                        Some(status) => status.into(),
                        None => Outcome::Stopped {
                            by: by.to_owned(),
                            wait_status,
                        },
                    })?;
                }
            },
            Mode::Observer {
                manager,
                observation,
            } => {
                **observation = terminate_observed(manager, &observation.session.id, grace, by)?;
            }
        }
        Ok(self.session())
    }

    /// The claim and the worker of an owner.
    #[must_use]
    pub fn as_owner(&self) -> Option<(&Claim, &W)> {
        match &self.mode {
            Mode::Owner { claim, worker } => Some((claim, worker)),
            Mode::Observer { .. } => None,
        }
    }

    /// The claim and the worker of an owner, to drive them.
    #[must_use]
    pub fn as_owner_mut(&mut self) -> Option<(&mut Claim, &mut W)> {
        match &mut self.mode {
            Mode::Owner { claim, worker } => Some((claim, worker)),
            Mode::Observer { .. } => None,
        }
    }

    /// The claim and the worker, for an owner that wants to go on by itself.
    ///
    /// # Errors
    /// Gives an observer back.
    pub fn into_owner(self) -> Result<(Claim, W), Self> {
        match self.mode {
            Mode::Owner { claim, worker } => Ok((*claim, worker)),
            observer @ Mode::Observer { .. } => Err(Self { mode: observer }),
        }
    }

    fn owned(&mut self, attempt: &'static str) -> Result<(&mut Claim, &mut W), RuntimeError> {
        match &mut self.mode {
            Mode::Owner { claim, worker } => Ok((claim, worker)),
            Mode::Observer { observation, .. } => Err(RuntimeError::ObserverMode {
                id: observation.session.id.clone(),
                attempt,
            }),
        }
    }
}

/// Why an agent never ran.
fn spawn_failed(error: &WorkerError) -> Outcome {
    let reason = match error {
        WorkerError::NotFound(_) => Some(SpawnFailure::NotFound),
        WorkerError::NotExecutable { .. } => Some(SpawnFailure::NotExecutable),
        _ => None,
    };
    Outcome::SpawnFailed {
        error: error_chain(error),
        reason,
    }
}

/// Whether the record says what was to be recorded, if only not for certain on disk.
fn is_written(error: &ClaimError) -> bool {
    matches!(
        error,
        ClaimError::Write(WriteError::DurabilityUnknown { .. })
    )
}

/// How a session ends that is stopped before its agent ran.
fn never_started(by: &str) -> Outcome {
    Outcome::never_ran(format!("stopped by {by} before it was started"))
}

/// What became of a request.
pub(crate) enum Asked {
    /// The owner did it.
    Done(Box<Session>),
    /// The owner died before it answered; this is the session without it.
    OwnerDied(Box<Observation>),
}

/// How many owners in a row may die while they are asked.
const MAX_OWNERS: usize = 3;
/// How many may be faster, one after the other, in taking a session that has no owner.
pub(crate) const MAX_RIVALS: usize = 16;

/// Asks whoever owns the session; an owner who took a dead one's place as well.
pub(crate) fn ask_owner(
    manager: &SessionManager,
    id: &crate::SessionId,
    request: &Request,
) -> Result<Asked, RuntimeError> {
    for _ in 0..MAX_OWNERS {
        // Who ends an orphan is its owner, and has no ear.
        let patience = match request {
            Request::Stop { .. } => request.deadline().unwrap_or(DEADLINE),
            _ => DEADLINE,
        };
        let owner = manager.control_within(id, patience);
        match owner.and_then(|owner| owner.ask(request)) {
            Ok(session) => return Ok(Asked::Done(Box::new(session))),
            Err(ControlError::NoOwner(_) | ControlError::OwnerDied(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let seen = manager.get_after_death(id)?;
        if seen.liveness != Liveness::Owned {
            return Ok(Asked::OwnerDied(Box::new(seen)));
        }
    }
    Err(ControlError::OwnerDied(id.clone()).into())
}

/// Ends a session that another process owns, or nobody.
pub(crate) fn terminate_observed(
    manager: &SessionManager,
    id: &crate::SessionId,
    grace: Duration,
    by: &str,
) -> Result<Observation, RuntimeError> {
    for _ in 0..MAX_RIVALS {
        match terminate_as_seen(manager, id, grace, by) {
            // Somebody else took the orphan first, to end or to adopt it.
            Err(RuntimeError::Claim(error)) if is_rivals(&error) => {}
            done => return done,
        }
    }
    Err(ControlError::OwnerDied(id.clone()).into())
}

/// Whether a session could not be taken because somebody else was faster.
pub(crate) fn is_rivals(error: &ClaimError) -> bool {
    match error {
        ClaimError::Lease(error) => matches!(error, LeaseError::Held(_)),
        ClaimError::Ended { .. } => true,
        _ => false,
    }
}

fn terminate_as_seen(
    manager: &SessionManager,
    id: &crate::SessionId,
    grace: Duration,
    by: &str,
) -> Result<Observation, RuntimeError> {
    let observation = match manager.get_unless_owned(id, true)? {
        Some(seen) => seen,
        None => {
            let stop = Request::Stop {
                grace_seconds: grace.as_secs_f64(),
                by: by.to_owned(),
            };
            match ask_owner(manager, id, &stop)? {
                // Not to be read again: a session may be removed at its end.
                Asked::Done(session) => {
                    let liveness = Liveness::Ended;
                    return Ok(Observation {
                        session: *session,
                        liveness,
                    });
                }
                Asked::OwnerDied(seen) => *seen,
            }
        }
    };
    match &observation.liveness {
        Liveness::Ended => {
            manager.sync_records();
            if let Some(Outcome::Lost { cause }) = observation.session.outcome() {
                orphan::end_leftovers(
                    &manager.store().map_err(LookError::from)?,
                    id,
                    *cause,
                    grace,
                )?;
            }
        }
        Liveness::Owned => return Err(ControlError::OwnerDied(id.clone()).into()),
        Liveness::Orphan => orphan::end(manager.claim(id)?, grace, by)?,
        Liveness::Unclaimed => {
            let mut claim = manager.claim(id)?;
            claim.finish(never_started(by))?;
            claim.release()?;
        }
        Liveness::Lost(cause) => {
            orphan::end_leftovers(
                &manager.store().map_err(LookError::from)?,
                id,
                *cause,
                grace,
            )?;
            manager.settle(id)?;
            manager.sync_records();
        }
        Liveness::Abandoned => {
            manager.settle(id)?;
            manager.sync_records();
        }
        Liveness::Unverified => {
            let why =
                "another program recorded its pid, and nothing proves that the process is the same"
                    .to_owned();
            return Err(RuntimeError::HandsOff {
                id: id.clone(),
                why,
            });
        }
        Liveness::Unknown(why) => {
            return Err(RuntimeError::HandsOff {
                id: id.clone(),
                why: why.to_string(),
            });
        }
    }
    Ok(manager.get(id)?)
}
