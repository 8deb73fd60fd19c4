//! A session together with its lease: the only thing that writes its record.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::conversation::{InvalidConversationId, check_conversation_id};
use crate::failpoint;
use crate::id::SessionId;
use crate::lease::{Lease, LeaseError, lock_names};
use crate::observe::Observer;
use crate::outcome::Outcome;
use crate::process::Process;
use crate::record::{self, SCHEMA};
use crate::session::{LastWords, NewSession, Session, State, TransitionError};
use crate::storage::{self, Durability, Reserve, WriteError};
use crate::store::{Damage, Store, StoreError};
use crate::timestamp::Timestamp;

/// What a record may grow by until its session has ended.
const HEADROOM: usize = 16 << 10;

/// Ownership of one session.
///
/// Every change goes to disk before it is visible here: a `Claim` never says
/// what its record does not say.
#[derive(Debug)]
pub struct Claim {
    session: Session,
    lease: Option<Lease>,
    reserve: Option<Reserve>,
    durability: Durability,
}

/// A session could not be created, taken or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// There is no such session.
    #[error("no such session: {0}")]
    NotFound(SessionId),
    /// The id is in use.
    #[error("session {0} exists already")]
    Exists(SessionId),
    /// A living session has this name.
    #[error("the name `{name}` is in use by session {id}")]
    NameInUse {
        /// The name.
        name: String,
        /// Who has it.
        id: SessionId,
    },
    /// The session has ended; its record never changes again.
    #[error("session {id} has ended ({status})")]
    Ended {
        /// The session.
        id: SessionId,
        /// How.
        status: crate::Status,
    },
    /// The record was written by a newer version, which alone may change it.
    #[error(
        "session {id} has schema {schema}; this version writes schema {SCHEMA} and leaves it alone"
    )]
    NewerSchema {
        /// The session.
        id: SessionId,
        /// Its schema.
        schema: u32,
    },
    /// The record cannot be read.
    #[error("the record {} is damaged: {damage}", path.display())]
    Damaged {
        /// The record.
        path: std::path::PathBuf,
        /// Why it cannot be read.
        damage: Damage,
    },
    /// The record would be too long to be read.
    #[error("the record would be {len} bytes long, and no more than {} are read: the command is too long; give it a file to read", record::MAX_RECORD_LEN - HEADROOM)]
    TooLong {
        /// How long it would be.
        len: usize,
    },
    /// The lease could not be had.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The project cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The id cannot be a conversation's.
    #[error(transparent)]
    Conversation(#[from] InvalidConversationId),
    /// There is no such arrow.
    #[error(transparent)]
    Transition(#[from] TransitionError),
    /// The record could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The run directory, the record or the log could not be removed.
    #[error("cannot remove the files of session {id}")]
    Release {
        /// The session.
        id: SessionId,
        /// The system's reason.
        source: io::Error,
    },
}

impl Claim {
    /// Records a new session, and owns it.
    pub(crate) fn create(
        project: &Path,
        new: NewSession,
        durability: Durability,
    ) -> Result<Self, ClaimError> {
        if let Some(conversation) = &new.conversation_id {
            check_conversation_id(conversation)?;
        }
        let store = Store::create(project)?;
        let session = new.into_session(Timestamp::now());
        let len = record::to_json(&session).len();
        if len > record::MAX_RECORD_LEN - HEADROOM {
            return Err(ClaimError::TooLong { len });
        }
        let names = match &session.name {
            Some(name) => {
                let lock = lock_names(&store)?;
                refuse_used_name(Store::open(project)?, name, &session.id)?;
                Some(lock)
            }
            None => None,
        };
        let (lease, left_behind) = Lease::obtain(store, &session.id)?;
        failpoint::pass("claim.leased");
        if !matches!(lease.store().read_record(&session.id), Ok(None)) {
            // What a dead owner left tells of its session; what was made here does not.
            if !left_behind {
                // The first error counts; an unlocked directory is cleared later.
                let _ = lease.release();
            }
            return Err(ClaimError::Exists(session.id));
        }
        let mut claim = Self {
            session,
            lease: Some(lease),
            reserve: None,
            durability,
        };
        if let Err(error) = claim.write(&claim.session.clone()) {
            // The first error counts; an unlocked directory is swept later.
            let _ = claim.let_go();
            return Err(error.into());
        }
        drop(names);
        claim.durability = Durability::Durable;
        Ok(claim)
    }

    /// Takes the session `id`, whose owner died or which never had one.
    pub(crate) fn take(project: &Path, id: &SessionId) -> Result<Self, ClaimError> {
        let lease = match Lease::take(Store::create(project)?, id) {
            Err(LeaseError::Absent(_)) => {
                // Not to leave a run directory for a session that is none.
                Self::readable(&Store::open(project)?, id)?;
                Lease::obtain(Store::create(project)?, id)?.0
            }
            lease => lease?,
        };
        let mut claim = Self::with_lease(lease)?;
        claim.reserve = Reserve::left(claim.lease());
        Ok(claim)
    }

    /// Goes on with the session whose lease another process handed over.
    ///
    /// # Errors
    /// When the descriptor is not the lease of `id`, or the record cannot be owned.
    pub fn handed_over(project: &Path, id: &SessionId, lease: OwnedFd) -> Result<Self, ClaimError> {
        Self::with_lease(Lease::handed_over(project, id, lease)?)
    }

    /// Reads the record anew, under the lease.
    fn with_lease(lease: Lease) -> Result<Self, ClaimError> {
        match Self::readable(lease.store(), lease.id()) {
            Ok(session) => Ok(Self {
                session,
                lease: Some(lease),
                reserve: None,
                durability: Durability::Durable,
            }),
            Err(error) => {
                // A run directory without a session to run is litter; the first error counts.
                if matches!(error, ClaimError::NotFound(_) | ClaimError::Ended { .. }) {
                    let _ = lease.release();
                }
                Err(error)
            }
        }
    }

    fn readable(store: &Store, id: &SessionId) -> Result<Session, ClaimError> {
        let damaged = |damage| ClaimError::Damaged {
            path: store.record_path(id),
            damage,
        };
        let session = store
            .read_record(id)
            .map_err(damaged)?
            .ok_or_else(|| ClaimError::NotFound(id.clone()))?;
        match session.schema {
            Some(schema) if schema > SCHEMA => {
                return Err(ClaimError::NewerSchema {
                    id: id.clone(),
                    schema,
                });
            }
            _ => {}
        }
        match session.status() {
            status if status.is_terminal() => Err(ClaimError::Ended {
                id: id.clone(),
                status,
            }),
            _ => Ok(session),
        }
    }

    /// The session, as its record says.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The lease.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        self.lease
            .as_ref()
            .expect("a claim has its lease until it lets go, and letting go consumes the claim")
    }

    /// The session's log, open for appending; made where it is not there yet.
    ///
    /// # Errors
    /// When what stands in its place is not a file, or it cannot be made.
    pub fn append_log(&self) -> io::Result<std::fs::File> {
        self.lease().store().append_log(&self.session.id)
    }

    /// The log of the session's hooks, as [`append_log`](Self::append_log) has its agent's.
    ///
    /// # Errors
    /// As [`append_log`](Self::append_log).
    pub fn append_hooks_log(&self) -> io::Result<std::fs::File> {
        self.lease().store().append_hooks_log(&self.session.id)
    }

    /// The session's log, open for reading; `None` when there is none.
    ///
    /// # Errors
    /// When what stands in its place is not a file of our own, or cannot be read.
    pub fn open_log(&self) -> io::Result<Option<std::fs::File>> {
        self.lease().store().open_log(&self.session.id)
    }

    /// Sets room aside, so that the end can be recorded when the disk is full.
    ///
    /// # Errors
    /// When there is no room now.
    pub fn keep_reserve(&mut self) -> io::Result<()> {
        // The one there was goes first, also where there is no room for another.
        self.reserve = None;
        self.reserve = Some(Reserve::create(
            self.lease(),
            record::to_json(&self.session).len(),
        )?);
        Ok(())
    }

    /// Records pending → running.
    ///
    /// # Errors
    /// When there is no such arrow, or the record cannot be written.
    pub fn start(&mut self, process: Process) -> Result<(), ClaimError> {
        self.change(|session, now| session.start(process, now))
    }

    /// Records running → suspended.
    ///
    /// # Errors
    /// When there is no such arrow, or the record cannot be written.
    pub fn suspend(&mut self) -> Result<(), ClaimError> {
        self.change(Session::suspend)
    }

    /// Records suspended → running.
    ///
    /// # Errors
    /// When there is no such arrow, or the record cannot be written.
    pub fn resume(&mut self) -> Result<(), ClaimError> {
        self.change(Session::resume)
    }

    /// Records the end.
    ///
    /// # Errors
    /// When there is no such arrow, or the record cannot be written.
    pub fn finish(&mut self, outcome: Outcome) -> Result<(), ClaimError> {
        self.change(|session, now| session.finish(outcome, now))
    }

    /// Records an end that was seen at `at`, with what the agent told of itself.
    ///
    /// # Errors
    /// When there is no such arrow, or the record cannot be written.
    pub fn finish_at(
        &mut self,
        outcome: Outcome,
        words: LastWords,
        at: Timestamp,
    ) -> Result<(), ClaimError> {
        self.change(|session, _| session.finish_saying(outcome, words, at))
    }

    /// Records, durably, the conversation that the agent has been heard to hold.
    /// One that is known is never changed.
    ///
    /// # Errors
    /// When it cannot be a conversation's id; when no agent lives, or another
    /// conversation is known; when the record cannot be written.
    pub fn note_conversation(&mut self, conversation_id: &str) -> Result<(), ClaimError> {
        check_conversation_id(conversation_id)?;
        if self.session.conversation_id.as_deref() == Some(conversation_id) {
            return Ok(());
        }
        self.change(|session, now| session.learn_conversation(conversation_id, now))
    }

    /// Records an end that nobody saw, and that is certain now.
    ///
    /// # Errors
    /// When there is no such arrow, or the record cannot be written.
    pub(crate) fn settle(&mut self, outcome: Outcome) -> Result<(), ClaimError> {
        self.change(|session, now| session.settle(outcome, now))
    }

    /// Writes the record again as it is: for an owner who finds it gone.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn rewrite(&mut self) -> Result<(), ClaimError> {
        Ok(self.write(&self.session.clone())?)
    }

    /// Takes a new lease after the old one's file was removed from under us, and
    /// writes the record as it was: what lies there now is older, or damaged.
    ///
    /// # Errors
    /// [`LeaseError::Held`] when somebody else was faster and owns the session
    /// now; [`ClaimError::Ended`] when somebody else was, and ended it; whatever
    /// else stands in the way.
    pub fn reestablish(&mut self) -> Result<(), ClaimError> {
        let store = Store::create(self.lease().store().project())?;
        let lease = self
            .lease
            .as_mut()
            .expect("a claim has its lease until it lets go");
        // Only the records' directory may have gone, and the lease still be ours.
        if let Err(store) = lease.move_to(store) {
            let (lease, _) = Lease::obtain(store, &self.session.id)?;
            match Self::readable(lease.store(), &self.session.id) {
                Err(error @ ClaimError::Ended { .. }) => {
                    // A run directory without a session to run is litter; the first error counts.
                    let _ = lease.release();
                    return Err(error);
                }
                Err(error @ ClaimError::NewerSchema { .. }) => return Err(error),
                // Whoever owned it all the time knows better than what was put there.
                _ => {
                    self.reserve = None;
                    self.lease = Some(lease);
                    return self.rewrite();
                }
            }
        }
        if self.has_record() {
            Ok(())
        } else {
            self.rewrite()
        }
    }

    /// Whether there is something in the record's place.
    #[must_use]
    pub fn has_record(&self) -> bool {
        self.lease().store().has_record(&self.session.id)
    }

    /// Whether the whole project was removed, so that there is nowhere to write.
    #[must_use]
    pub fn is_homeless(&self) -> bool {
        self.lease().store().is_removed()
    }

    /// Lets go: removes the run directory and frees the lease. A session that is
    /// still running then has no owner.
    ///
    /// # Errors
    /// When the directory cannot be removed; the lease is free all the same.
    pub fn release(mut self) -> Result<(), ClaimError> {
        self.let_go()
    }

    /// Removes the record and the log of a session that has ended, then lets go.
    ///
    /// # Errors
    /// When it has not ended; when something cannot be removed.
    pub fn remove(mut self) -> Result<(), ClaimError> {
        if self.session.end().is_none() {
            return Err(self.session.no_arrow("be removed").into());
        }
        let removed = self.lease().store().remove_files(&self.session.id);
        self.let_go()?;
        removed.map_err(|source| ClaimError::Release {
            id: self.session.id.clone(),
            source,
        })
    }

    /// The lease without the claim: for the one who hands it on.
    #[must_use]
    pub fn into_lease(mut self) -> Lease {
        self.lease
            .take()
            .expect("a claim has its lease until it lets go, and letting go consumes the claim")
    }

    /// Goes as an owner does who dies: for one who cannot record the end, as on a full
    /// disk. The lease is freed and the run directory left, so that observers see a start
    /// that was abandoned, and whoever has room can settle it.
    pub fn abandon(self) {
        drop(self.into_lease());
    }

    fn let_go(&mut self) -> Result<(), ClaimError> {
        self.reserve = None;
        match self.lease.take().map(Lease::release) {
            Some(Err(source)) => Err(ClaimError::Release {
                id: self.session.id.clone(),
                source,
            }),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn change(
        &mut self,
        arrow: impl FnOnce(&mut Session, Timestamp) -> Result<(), TransitionError>,
    ) -> Result<(), ClaimError> {
        let mut changed = self.session.clone();
        arrow(&mut changed, Timestamp::now())?;
        match self.write(&changed) {
            // The new record stands: to say anything else would be made up.
            Err(error @ WriteError::DurabilityUnknown { .. }) => {
                self.session = changed;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
            Ok(()) => {
                self.session = changed;
                Ok(())
            }
        }
    }

    fn write(&mut self, session: &Session) -> Result<(), WriteError> {
        let json = record::to_json(session);
        let lease = self
            .lease
            .as_mut()
            .expect("a claim has its lease until it lets go");
        let written = storage::write_record(lease, &json, self.durability, &mut self.reserve);
        match written {
            // The directory of the records was removed; the lease beside it was not.
            Err(error) if error.is_for_want_of_a_place() && matches!(lease.reopen(), Ok(true)) => {
                storage::write_record(lease, &json, self.durability, &mut self.reserve)
            }
            written => written,
        }
    }
}

/// A session that was claimed but never started, or has ended, needs no owner.
impl Drop for Claim {
    fn drop(&mut self) {
        if matches!(self.session.state(), State::Pending | State::Ended(_)) {
            // Nobody is left to tell; an unlocked directory is swept later.
            let _ = self.let_go();
        }
    }
}

fn refuse_used_name(store: Store, name: &str, own: &SessionId) -> Result<(), ClaimError> {
    let in_use = |id| ClaimError::NameInUse {
        name: name.to_owned(),
        id,
    };
    // Whoever is called by it would be another.
    if let Ok(id) = SessionId::parse(name)
        && id != *own
        && store.has_record(&id)
    {
        return Err(in_use(id));
    }
    let observer = Observer::new(store);
    for id in observer.store().running_ids()? {
        // What cannot be read has no name that could be compared.
        if let Ok(Some(observation)) = observer.observe(&id)
            && observation.session.name.as_deref() == Some(name)
            && observation.may_live()
        {
            return Err(in_use(id));
        }
    }
    Ok(())
}
