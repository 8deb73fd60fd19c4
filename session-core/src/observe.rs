//! The observer: what is true of a session, decided from facts.
//!
//! An observer never writes, never waits for an owner, and never concludes more
//! than it can prove: `Unknown` is an answer.

use std::cell::OnceCell;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::id::SessionId;
use crate::lease::{self, Probe};
use crate::original::{Whose, whose};
use crate::outcome::{LostCause, Outcome};
use crate::process::{Host, Pid, ProcessState, Unknowable};
use crate::session::{Session, State};
use crate::status::Status;
use crate::store::{Damage, Store};

/// How often a record that changes under our eyes is read anew.
const MAX_READS: usize = 16;

/// Whether the record can be believed, and what is true where it cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    /// The session has ended; its record is final.
    Ended,
    /// An owner lives; the record is true.
    Owned,
    /// Recorded, and nobody has begun to start it.
    Unclaimed,
    /// Whoever was starting it died before the agent ran.
    Abandoned,
    /// The owner is dead; the agent still runs.
    Orphan,
    /// A record of the original format; a process with its pid exists, but it
    /// may be any. It is shown, and never signalled.
    Unverified,
    /// The owner is dead and so is the agent; nobody saw how it ended.
    Lost(LostCause),
    /// It cannot be told from here.
    Unknown(Unknowable),
}

impl Liveness {
    /// The word for it in JSON and tables.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Owned => "owned",
            Self::Unclaimed => "unclaimed",
            Self::Abandoned => "abandoned",
            Self::Orphan => "orphan",
            Self::Unverified => "unverified",
            Self::Lost(_) => "lost",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Whether to believe the record, in a sentence.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Ended => "ended; the record is final".to_owned(),
            Self::Owned => "its owner lives; the record is true".to_owned(),
            Self::Unclaimed => "recorded, but nobody has begun to start it".to_owned(),
            Self::Abandoned => "whoever was starting it died before its agent ran".to_owned(),
            Self::Orphan => "its owner is dead, its agent still runs".to_owned(),
            Self::Unverified => {
                "another program recorded it; some process has its pid, which may be any".to_owned()
            }
            Self::Lost(_) => "its owner is dead, and so is its agent".to_owned(),
            Self::Unknown(why) => format!("unknown: {why}"),
        }
    }
}

/// A session as it was found at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// What the record says.
    pub session: Session,
    /// Whether to believe it.
    pub liveness: Liveness,
}

impl Observation {
    /// What is true: the record, or, where it is provably out of date, the end
    /// that [`reconcile`](crate::SessionManager::reconcile) would write.
    #[must_use]
    pub fn shown(&self) -> Session {
        let mut session = self.session.clone();
        if let Some(outcome) = self.unrecorded_end() {
            let now = session.updated_at;
            session
                .settle(outcome, now)
                .expect("only sessions that have not ended have an unrecorded end");
        }
        session
    }

    /// The status that is true; `None` when it cannot be told.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match (&self.liveness, self.unrecorded_end()) {
            (Liveness::Unknown(_), _) => None,
            (_, Some(outcome)) => Some(Status::of(&outcome)),
            (_, None) => Some(self.session.status()),
        }
    }

    /// The status that is true, in a few words: `running`, `running (orphan)`,
    /// `unknown (other host)`.
    #[must_use]
    pub fn status_in_words(&self) -> String {
        let recorded = self.session.status();
        match &self.liveness {
            Liveness::Ended | Liveness::Owned | Liveness::Unclaimed => recorded.to_string(),
            Liveness::Orphan => format!("{recorded} (orphan)"),
            Liveness::Unverified => format!("{recorded} (unverified)"),
            Liveness::Unknown(why) => format!("unknown ({})", short_reason(why)),
            Liveness::Lost(_) | Liveness::Abandoned => self.shown().status().to_string(),
        }
    }

    /// The end that is certain, but stands in no record yet.
    #[must_use]
    pub fn unrecorded_end(&self) -> Option<Outcome> {
        match self.liveness {
            Liveness::Lost(cause) => Some(Outcome::Lost { cause }),
            Liveness::Abandoned => Some(Outcome::never_ran(
                "whoever was starting the session died before the agent ran",
            )),
            _ => None,
        }
    }

    /// Whether the session lives, or may live: false only where its end is certain.
    #[must_use]
    pub fn may_live(&self) -> bool {
        !matches!(
            self.liveness,
            Liveness::Ended | Liveness::Lost(_) | Liveness::Abandoned
        )
    }
}

fn short_reason(why: &Unknowable) -> &'static str {
    match why {
        Unknowable::OtherHost(_) => "other host",
        Unknowable::OtherPidNamespace(_) => "other pid namespace",
        Unknowable::OtherProject(_) => "agent of another project",
        Unknowable::Hidden(_) => "not visible from here",
    }
}

/// What stands beside a record's fields, here or where many projects are listed,
/// and so cannot be an unknown field's name.
const OURS: &[&str] = &["liveness", "liveness_reason", "project"];

/// The record as it is true, with `liveness` beside it: what every listing
/// shows as JSON. Where it cannot be told, the status is `unknown`, and
/// `liveness_reason` says why.
impl Serialize for Observation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let status = self.status().map_or("unknown", Status::as_str);
        match self.unrecorded_end() {
            Some(_) => self.shown().serialize_with_status(&mut map, status, OURS)?,
            None => self.session.serialize_with_status(&mut map, status, OURS)?,
        }
        map.serialize_entry("liveness", self.liveness.as_str())?;
        if let Liveness::Unknown(why) = &self.liveness {
            map.serialize_entry("liveness_reason", &why.to_string())?;
        }
        map.end()
    }
}

/// Looks at sessions of one project.
#[derive(Debug)]
pub(crate) struct Observer {
    store: Store,
    host: OnceCell<Result<Host, String>>,
}

impl Observer {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            host: OnceCell::new(),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Reads and judges one session; `None` when there is none.
    pub(crate) fn observe(&self, id: &SessionId) -> Result<Option<Observation>, Damage> {
        match self.store.read_record(id)? {
            Some(session) => self.judge(session),
            None => Ok(None),
        }
    }

    /// Judges a session that was just read. The record is read again once its
    /// lease was seen free: an owner writes first and lets go then, so what
    /// stands there now is the last word of a dead owner.
    pub(crate) fn judge(&self, session: Session) -> Result<Option<Observation>, Damage> {
        self.judge_by(session, |session, probe| self.without_owner(session, probe))
    }

    /// As [`judge`](Self::judge); `look` tells what is true without an owner.
    fn judge_by(
        &self,
        mut session: Session,
        look: impl Fn(&Session, &Probe) -> Liveness,
    ) -> Result<Option<Observation>, Damage> {
        for _ in 0..MAX_READS {
            if session.status().is_terminal() {
                return Ok(Some(Observation {
                    session,
                    liveness: Liveness::Ended,
                }));
            }
            let probe = match lease::probe(&self.store, &session.id) {
                Probe::Held => {
                    return Ok(Some(Observation {
                        session,
                        liveness: Liveness::Owned,
                    }));
                }
                Probe::Unknown(error) => {
                    let liveness = Liveness::Unknown(Unknowable::Hidden(error.to_string()));
                    return Ok(Some(Observation { session, liveness }));
                }
                probe => probe,
            };
            let Some(again) = self.store.read_record(&session.id)? else {
                return Ok(None);
            };
            if again != session {
                session = again;
                continue;
            }
            let liveness = look(&session, &probe);
            // Whoever took the session since its lease was seen free may have seen
            // the end that nobody else did: no end is certain before both are as they were.
            let is_end = matches!(liveness, Liveness::Lost(_) | Liveness::Abandoned);
            if !is_end || self.is_still_free(&session)? {
                return Ok(Some(Observation { session, liveness }));
            }
        }
        // It changes faster than it can be read, so somebody writes it.
        Ok(Some(Observation {
            session,
            liveness: Liveness::Owned,
        }))
    }

    /// Whether nobody owns the session, and nobody has since its record was read.
    fn is_still_free(&self, session: &Session) -> Result<bool, Damage> {
        let is_free = matches!(
            lease::probe(&self.store, &session.id),
            Probe::Free | Probe::Absent
        );
        Ok(is_free && self.store.read_record(&session.id)?.as_ref() == Some(session))
    }

    /// The end of a session whose lease the caller holds, and which nobody else
    /// can be running; `None` where its agent may still live.
    pub(crate) fn unowned(&self, session: &Session) -> Option<Outcome> {
        let liveness = self.without_owner(session, &Probe::Free);
        Observation {
            session: session.clone(),
            liveness,
        }
        .unrecorded_end()
    }

    /// What is true of an unfinished session that nobody owns.
    fn without_owner(&self, session: &Session, probe: &Probe) -> Liveness {
        match session.state() {
            State::Pending if matches!(probe, Probe::Absent) => Liveness::Unclaimed,
            State::Pending => Liveness::Abandoned,
            State::Ended(_) => Liveness::Ended,
            State::Running { process, .. } | State::Suspended { process, .. } => {
                match self.host() {
                    Ok(host) => match of_process(host.state_of(process)) {
                        Liveness::Orphan => self.orphan_or_anothers(session, process.pid),
                        liveness => liveness,
                    },
                    Err(reason) => Liveness::Unknown(Unknowable::Hidden(reason.clone())),
                }
            }
        }
    }

    fn orphan_or_anothers(&self, session: &Session, agent: Pid) -> Liveness {
        match whose(&self.store, &session.id, agent) {
            Ok(Whose::Ours) => Liveness::Orphan,
            Ok(Whose::Anothers(project)) => Liveness::Unknown(Unknowable::OtherProject(project)),
            Err(error) => Liveness::Unknown(Unknowable::Hidden(error.to_string())),
        }
    }

    fn host(&self) -> Result<&Host, &String> {
        self.host
            .get_or_init(|| Host::current().map_err(|error| error.to_string()))
            .as_ref()
    }
}

fn of_process(state: ProcessState) -> Liveness {
    match state {
        ProcessState::Alive => Liveness::Orphan,
        ProcessState::Gone(cause) => Liveness::Lost(cause),
        ProcessState::Unverified => Liveness::Unverified,
        ProcessState::Unknown(why) => Liveness::Unknown(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Claim;
    use crate::process::Process;
    use crate::session::NewSession;
    use crate::storage::Durability;

    #[test]
    fn an_end_that_a_new_owner_saw_meanwhile_is_not_lost() {
        let project = tempfile::tempdir().expect("a temporary directory");
        let new = NewSession::default();
        let mut claim = Claim::create(project.path(), new, Durability::Visible).expect("a session");
        let pid = Pid::new(4242).expect("a pid");
        let process = Process {
            pid,
            identity: None,
        };
        claim.start(process).expect("pending → running");
        let session = claim.session().clone();
        // Its owner dies.
        drop(claim.into_lease());
        let observer = Observer::new(Store::open(project.path()).expect("a project"));
        let adopted = |session: &Session, _: &Probe| {
            if let Ok(mut adopter) = Claim::take(project.path(), &session.id) {
                let outcome = Outcome::Exited { code: 5 };
                adopter.finish(outcome).expect("running → failed");
            }
            Liveness::Lost(LostCause::OwnerDied)
        };
        // What another test forks has the lease as well, until it is executed.
        let seen = loop {
            let seen = observer.judge_by(session.clone(), adopted);
            let seen = seen.expect("it is whole").expect("it is there");
            if seen.liveness != Liveness::Owned {
                break seen;
            }
        };
        assert_eq!(seen.liveness, Liveness::Ended);
    }
}
