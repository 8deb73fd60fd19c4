//! The file-backed manager of a project's sessions.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::claim::{Claim, ClaimError};
use crate::control::{Control, ControlError, DEADLINE};
use crate::feed::Feed;
use crate::id::SessionId;
use crate::lease::{self, Probe};
use crate::listing::{self, Damaged, Listing, RecordFile};
use crate::observe::{Liveness, Observation, Observer};
use crate::orphan;
use crate::process::Pid;
use crate::reconcile::{self, Action, Report};
use crate::runtime::RuntimeSession;
use crate::session::NewSession;
use crate::storage::Durability;
use crate::store::{Damage, Store, StoreError};

/// How long a process that died is given to let go of its lease.
const DEATH_PATIENCE: Duration = Duration::from_secs(2);

/// The sessions of one project.
///
/// A manager holds no state but the project's path: every call reads what is on
/// disk, so it sees at once what any other process does.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use session_core::{NewSession, SessionManager};
///
/// let manager = SessionManager::create(dir.path())?;
/// let claim = manager.claim_new(NewSession { issue_id: Some("FEAT-101".into()), ..NewSession::default() })?;
/// for seen in manager.list()?.sessions {
///     println!("{} {} {}", seen.session.id, seen.session.issue_id, seen.session.status());
/// }
/// assert_eq!(manager.get(&claim.session().id)?.session.issue_id, "FEAT-101");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SessionManager {
    project: PathBuf,
}

/// A session could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookError {
    /// There is no such session.
    #[error("no such session: {}", .0.escape_debug())]
    NotFound(String),
    /// More than one session's id begins so.
    #[error("`{prefix}` is ambiguous: {} sessions begin so, such as {} and {}", ids.len(), ids[0], ids[1])]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Whose ids begin so; two or more.
        ids: Vec<SessionId>,
    },
    /// The record cannot be read.
    #[error("the record {} is damaged: {damage}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        damage: Damage,
    },
    /// The project cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A session could not be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// It lives, or it cannot be told.
    #[error("session {id} is {what}; it is not removed")]
    Living {
        /// The session.
        id: SessionId,
        /// What it is instead of ended.
        what: String,
    },
    /// It could not be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// Its end could not be recorded first.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The project cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused.
    #[error("cannot remove {}", path.display())]
    Io {
        /// The record.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl SessionManager {
    /// The manager of a project that has a `.monoco` directory. Creates nothing.
    ///
    /// # Errors
    /// [`StoreError`] when there is none, or it cannot be trusted.
    pub fn open(project: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let project = project.into();
        Store::open(&project)?;
        Ok(Self { project })
    }

    /// The manager of `project`, whose `.monoco` is made where it is not there yet.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be made, or cannot be trusted.
    pub fn create(project: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let project = project.into();
        Store::create(&project)?;
        Ok(Self { project })
    }

    /// The project that `start` is in: the nearest directory upwards that holds
    /// `.monoco`, else the nearest that holds `.git`.
    #[must_use]
    pub fn find_project(start: &Path) -> Option<PathBuf> {
        let holding = |name: &str| {
            start
                .ancestors()
                .find(|dir| dir.join(name).symlink_metadata().is_ok())
        };
        holding(".monoco")
            .or_else(|| holding(".git"))
            .map(Path::to_owned)
    }

    /// The project's directory.
    #[must_use]
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// Where the record of `id` is, or would be.
    ///
    /// # Errors
    /// When the project cannot be used.
    pub fn record_path(&self, id: &SessionId) -> Result<PathBuf, StoreError> {
        Ok(self.store()?.record_path(id))
    }

    /// Records a new pending session, durably, and owns it.
    ///
    /// # Errors
    /// [`ClaimError`]: the id or the name is in use, the filesystem does not
    /// lock, or the record cannot be written.
    pub fn claim_new(&self, new: NewSession) -> Result<Claim, ClaimError> {
        Claim::create(&self.project, new, Durability::Durable)
    }

    /// As [`claim_new`](Self::claim_new), for a launcher that tells nobody of the
    /// session before the next, durable write: spares two fsyncs.
    ///
    /// # Errors
    /// As [`claim_new`](Self::claim_new).
    pub fn claim_unannounced(&self, new: NewSession) -> Result<Claim, ClaimError> {
        Claim::create(&self.project, new, Durability::Visible)
    }

    /// Takes an unfinished session that nobody owns.
    ///
    /// # Errors
    /// [`ClaimError`]: it has an owner, has ended, is damaged, or is not there.
    pub fn claim(&self, id: &SessionId) -> Result<Claim, ClaimError> {
        Claim::take(&self.project, id)
    }

    /// One session, as an observer.
    ///
    /// # Errors
    /// [`LookError`]: not there, or damaged.
    pub fn load(&self, id: &SessionId) -> Result<RuntimeSession, LookError> {
        Ok(RuntimeSession::observer(self.clone(), self.get(id)?))
    }

    /// Looks at one session.
    ///
    /// # Errors
    /// [`LookError`]: not there, or damaged.
    pub fn get(&self, id: &SessionId) -> Result<Observation, LookError> {
        let observer = self.observer()?;
        match observer.observe(id) {
            Ok(Some(observation)) => Ok(observation),
            Ok(None) => Err(LookError::NotFound(id.to_string())),
            Err(damage) => Err(LookError::Damaged {
                path: observer.store().record_path(id),
                damage,
            }),
        }
    }

    /// Looks at one session whose owner was just heard to die. A dying process
    /// closes its sockets before its lease is free, so this waits for that, 2 s at
    /// most; a session that has an owner then has another.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_after_death(&self, id: &SessionId) -> Result<Observation, LookError> {
        let deadline = Instant::now() + DEATH_PATIENCE;
        loop {
            let seen = self.get(id)?;
            if seen.liveness != Liveness::Owned || Instant::now() >= deadline {
                return Ok(seen);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Looks at every session there is a record of.
    ///
    /// # Errors
    /// When the project cannot be used. A damaged record is no error: it is listed.
    pub fn list(&self) -> Result<Listing, StoreError> {
        self.list_with(|seen| seen)
    }

    /// As [`list`](Self::list), keeping of each session only what `each` makes of
    /// it. It is called on all cores at once, so that what it does costs no extra
    /// pass over a hundred thousand sessions.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn list_with<T: Send>(
        &self,
        each: impl Fn(Observation) -> T + Sync,
    ) -> Result<Listing<T>, StoreError> {
        let store = self.store()?;
        let (ids, strange) = store.record_names()?;
        let unnamed = unnamed(&store, strange);
        let mut listing = listing::look_at_all(store, &ids, &each)?;
        listing.damaged.extend(unnamed);
        Ok(listing)
    }

    /// The files of all records, unread, and those whose names are no ids.
    ///
    /// # Errors
    /// When the project cannot be used.
    pub fn record_files(&self) -> Result<(Vec<RecordFile>, Vec<Damaged>), StoreError> {
        let store = self.store()?;
        let (ids, strange) = store.record_names()?;
        // Gone since its name was read.
        let file = |id| store.stamp(&id).map(|stamp| RecordFile { id, stamp });
        let files = ids.into_iter().filter_map(file).collect();
        Ok((files, unnamed(&store, strange)))
    }

    /// Looks at these sessions, as [`list_with`](Self::list_with) does at all.
    /// Those of which there is no record are left out.
    ///
    /// # Errors
    /// When the project cannot be used.
    pub fn look_at_with<T: Send>(
        &self,
        ids: &[SessionId],
        each: impl Fn(Observation) -> T + Sync,
    ) -> Result<Listing<T>, StoreError> {
        listing::look_at_all(self.store()?, ids, &each)
    }

    /// Looks at the sessions that have a run directory: all that live, and those
    /// whose owner died. Costs what lives, not what ever was. Records that another
    /// program wrote have none; [`list`](Self::list) finds them.
    ///
    /// # Errors
    /// When the project cannot be used.
    pub fn living(&self) -> Result<Listing, StoreError> {
        self.living_with(|seen| seen)
    }

    /// As [`living`](Self::living), keeping of each session only what `each` makes
    /// of it.
    ///
    /// # Errors
    /// As [`living`](Self::living).
    pub fn living_with<T: Send>(
        &self,
        each: impl Fn(Observation) -> T + Sync,
    ) -> Result<Listing<T>, StoreError> {
        let store = self.store()?;
        let ids = store.running_ids()?;
        listing::look_at_all(store, &ids, &each)
    }

    /// Looks at every session of one issue.
    ///
    /// # Errors
    /// When the project cannot be used.
    pub fn list_by_issue(&self, issue_id: &str) -> Result<Listing, StoreError> {
        let mut listing = self.list()?;
        listing
            .sessions
            .retain(|seen| seen.session.issue_id == issue_id);
        Ok(listing)
    }

    /// The session that a person means: by id, by name, or by a prefix of the id
    /// that no other session shares, in this order. Of sessions with one name the
    /// living one is meant, else the newest.
    ///
    /// # Errors
    /// [`LookError`]: none is meant, or more than one.
    pub fn resolve(&self, text: &str) -> Result<SessionId, LookError> {
        let store = self.store()?;
        if let Ok(id) = SessionId::parse(text)
            && store.has_record(&id)
        {
            return Ok(id);
        }
        if let Some(id) = self.living_named(text)? {
            return Ok(id);
        }
        // A short id as listings show it is no name that anybody gives: to look
        // for one would mean to read every record there is.
        let short_id = text.len() >= 8 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if !short_id && let Some(id) = self.newest_named(text)? {
            return Ok(id);
        }
        let (ids, _) = store.record_names()?;
        let begins = |id: &SessionId| !text.is_empty() && id.as_str().starts_with(text);
        let mut with_prefix: Vec<_> = ids.into_iter().filter(begins).collect();
        match with_prefix.len() {
            0 if short_id => self.newest_named(text)?.ok_or_else(|| not_found(text)),
            0 => Err(not_found(text)),
            1 => Ok(with_prefix.remove(0)),
            _ => Err(LookError::Ambiguous {
                prefix: text.to_owned(),
                ids: with_prefix,
            }),
        }
    }

    fn living_named(&self, name: &str) -> Result<Option<SessionId>, LookError> {
        let is_named = |seen: Observation| {
            let is = seen.session.name.as_deref() == Some(name) && seen.may_live();
            is.then_some(seen.session.id)
        };
        Ok(self
            .living_with(is_named)?
            .sessions
            .into_iter()
            .flatten()
            .next())
    }

    fn newest_named(&self, name: &str) -> Result<Option<SessionId>, LookError> {
        let named = |seen: Observation| {
            let is = seen.session.name.as_deref() == Some(name);
            is.then_some((seen.session.created_at, seen.session.id))
        };
        let newest = self.list_with(named)?.sessions.into_iter().flatten().max();
        Ok(newest.map(|(_, id)| id))
    }

    /// Reaches the owner of `id`.
    ///
    /// # Errors
    /// [`ControlError`]: nobody owns it, or the owner does not listen.
    pub fn control(&self, id: &SessionId) -> Result<Control, ControlError> {
        self.control_within(id, DEADLINE)
    }

    /// As [`control`](Self::control), for an owner who may have no ear for so long.
    pub(crate) fn control_within(
        &self,
        id: &SessionId,
        patience: Duration,
    ) -> Result<Control, ControlError> {
        let store = self.store().map_err(|error| ControlError::Io {
            id: id.clone(),
            source: io::Error::other(error),
        })?;
        Control::connect(&store, id, patience)
    }

    /// As [`control`](Self::control), without waiting: `None` when there is an
    /// owner who does not listen yet, or whose ear is full.
    ///
    /// # Errors
    /// [`ControlError`]: nobody owns it, or the owner is not to be trusted.
    pub fn try_control(&self, id: &SessionId) -> Result<Option<Control>, ControlError> {
        let store = self.store().map_err(|error| ControlError::Io {
            id: id.clone(),
            source: io::Error::other(error),
        })?;
        Control::try_connect(&store, id)
    }

    /// Gives sessions whose end nobody recorded that end, and removes what dead
    /// owners left. Looks at every record.
    ///
    /// # Errors
    /// When the project cannot be used; what fails for one session is in the report.
    pub fn reconcile(&self) -> Result<Report, StoreError> {
        let listing = self.list()?;
        self.reconcile_seen(&listing.sessions)
    }

    /// As [`reconcile`](Self::reconcile), for sessions that were just looked at.
    ///
    /// # Errors
    /// When the project cannot be used; what fails for one session is in the report.
    pub fn reconcile_seen(&self, sessions: &[Observation]) -> Result<Report, StoreError> {
        let observer = self.observer()?;
        let running = observer.store().running_ids()?;
        reconcile::execute(&observer, reconcile::plan(sessions, &running))
    }

    /// What [`reconcile`](Self::reconcile) would do now.
    ///
    /// # Errors
    /// When the project cannot be used.
    pub fn reconcile_plan(&self) -> Result<Vec<Action>, StoreError> {
        let running = self.store()?.running_ids()?;
        Ok(reconcile::plan(&self.list()?.sessions, &running))
    }

    /// Makes durable what was read of the records: for whoever tells others of what
    /// an owner has written, and may be about to sync. Where that cannot be done,
    /// what was read is true all the same.
    pub fn sync_records(&self) {
        if let Ok(store) = self.store()
            && let Ok(sessions) = store.sessions()
        {
            // Nothing better is to be had on a disk that fails.
            let _ = rustix::fs::fsync(sessions);
        }
    }

    /// The session as it is, unless there is an owner to ask: `None` then. The owner of a
    /// damaged record is one, since it knows what the record said, and, where that is
    /// `ending`, also one that still ends what its agent left running.
    pub(crate) fn get_unless_owned(
        &self,
        id: &SessionId,
        ending: bool,
    ) -> Result<Option<Observation>, LookError> {
        match self.get(id) {
            Ok(seen) if seen.liveness == Liveness::Owned => Ok(None),
            Ok(seen) if ending && seen.liveness == Liveness::Ended && self.has_owner(id)? => {
                Ok(None)
            }
            Err(LookError::Damaged { .. }) if self.has_owner(id)? => Ok(None),
            seen => seen.map(Some),
        }
    }

    /// Whether somebody owns `id`, or may, whatever its record says.
    pub(crate) fn has_owner(&self, id: &SessionId) -> Result<bool, StoreError> {
        let probe = lease::probe(&self.store()?, id);
        Ok(matches!(probe, Probe::Held | Probe::Unknown(_)))
    }

    /// What the agents of those of `sessions` left running that are lost: processes of
    /// this project that carry the session's id in their environment.
    ///
    /// # Errors
    /// When the project cannot be used, or the system does not let us look.
    pub fn left_running(
        &self,
        sessions: &[Observation],
    ) -> io::Result<BTreeMap<SessionId, Vec<Pid>>> {
        let store = self.store().map_err(io::Error::other)?;
        orphan::left_running(&store, sessions)
    }

    /// Settles one session, if its end is certain.
    ///
    /// # Errors
    /// When the record cannot be taken or written.
    pub fn settle(&self, id: &SessionId) -> Result<(), ClaimError> {
        reconcile::settle(&self.observer()?, id).map(|_| ())
    }

    /// Removes the record and the log of a session that has ended.
    ///
    /// # Errors
    /// [`RemoveError::Living`] when it has not, or when its owner is still ending
    /// what is left of the agent's tree.
    pub fn remove(&self, id: &SessionId) -> Result<(), RemoveError> {
        let mut seen = self.get(id)?;
        if seen.unrecorded_end().is_some() {
            self.settle(id)?;
            seen = self.get(id)?;
        }
        let living = |what: &str| RemoveError::Living {
            id: id.clone(),
            what: what.to_owned(),
        };
        match seen.liveness {
            Liveness::Ended => {}
            Liveness::Unclaimed => {
                // Owned until its files are gone: nobody can start it in between.
                let claim = self.claim(id)?;
                self.remove_files(id)?;
                return Ok(claim.release()?);
            }
            Liveness::Unknown(why) => return Err(living(&format!("unknown ({why})"))),
            _ => return Err(living(seen.session.status().as_str())),
        }
        if self.has_owner(id)? {
            return Err(living("ending what its agent left running"));
        }
        self.remove_files(id)
    }

    fn remove_files(&self, id: &SessionId) -> Result<(), RemoveError> {
        let store = self.store()?;
        store.remove_files(id).map_err(|source| RemoveError::Io {
            path: store.record_path(id),
            source,
        })
    }

    /// Removes the files of a session that nobody owns, whatever they say: a record
    /// that cannot be read, or one of which nothing can be told from here. Nothing
    /// is signalled.
    ///
    /// # Errors
    /// When the system refuses, or an owner lives.
    pub fn forget(&self, id: &SessionId) -> Result<(), RemoveError> {
        if self.has_owner(id)? {
            return Err(RemoveError::Living {
                id: id.clone(),
                what: "owned".to_owned(),
            });
        }
        self.remove_files(id)?;
        reconcile::clear(self.store()?, id)?;
        Ok(())
    }

    /// A session's log, open for reading; `None` when there is none.
    ///
    /// # Errors
    /// When what stands in its place is not a file of our own, or cannot be read.
    pub fn open_log(&self, id: &SessionId) -> io::Result<Option<std::fs::File>> {
        self.store().map_err(io::Error::other)?.open_log(id)
    }

    /// A session's log, open for appending; made where it is not there yet.
    ///
    /// # Errors
    /// When what stands in its place is not a file, or it cannot be made.
    pub fn append_log(&self, id: &SessionId) -> io::Result<std::fs::File> {
        self.store().map_err(io::Error::other)?.append_log(id)
    }

    /// Where the log of `id` is, or would be.
    ///
    /// # Errors
    /// When the project cannot be used.
    pub fn log_path(&self, id: &SessionId) -> Result<PathBuf, StoreError> {
        Ok(self.store()?.log_path(id))
    }

    /// Where what the hooks of `id` printed is, if they printed anything, or one of them
    /// failed; `None` when there is no such file.
    ///
    /// # Errors
    /// When the project cannot be used.
    pub fn hooks_log_path(&self, id: &SessionId) -> Result<Option<PathBuf>, StoreError> {
        let path = self.store()?.hooks_log_path(id);
        Ok(path.symlink_metadata().is_ok().then_some(path))
    }

    /// What changes from now on.
    ///
    /// # Errors
    /// When the project cannot be used.
    pub fn feed(&self) -> Result<Feed, StoreError> {
        Ok(Feed::open(&self.store()?))
    }

    pub(crate) fn store(&self) -> Result<Store, StoreError> {
        Store::open(&self.project)
    }

    fn observer(&self) -> Result<Observer, StoreError> {
        Ok(Observer::new(self.store()?))
    }
}

/// What is in the place of records, but has no session's name.
fn unnamed(store: &Store, names: Vec<String>) -> Vec<Damaged> {
    let folder = store.sessions_path();
    let damaged = |name| Damaged {
        id: None,
        path: folder.join(name),
        damage: Damage::Name,
    };
    names.into_iter().map(damaged).collect()
}

fn not_found(text: &str) -> LookError {
    LookError::NotFound(text.chars().take(80).collect())
}
