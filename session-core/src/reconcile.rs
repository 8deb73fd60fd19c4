//! Giving sessions their end that nobody recorded: decide, then do.
//!
//! The plan is made from observations alone. Carrying it out takes each lease,
//! looks again, and writes only what still is certain then; so it can be run at
//! any time, twice at once, and be killed anywhere.

use std::collections::BTreeSet;

use crate::claim::{Claim, ClaimError};
use crate::failpoint;
use crate::id::SessionId;
use crate::lease::{Lease, LeaseError, sweep};
use crate::observe::{Observation, Observer};
use crate::outcome::Outcome;
use crate::store::{Store, StoreError};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Record this end of a session.
    Settle {
        /// The session.
        id: SessionId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Remove what a dead owner left of a session whose end is recorded, or
    /// which was never recorded.
    Clear {
        /// The session.
        id: SessionId,
    },
}

/// What was done.
#[derive(Debug, Default)]
pub struct Report {
    /// Sessions that were given their end.
    pub settled: Vec<(SessionId, Outcome)>,
    /// Run directories that were removed.
    pub cleared: usize,
    /// What could not be done, and why. It is left as it was.
    pub failed: Vec<(SessionId, ClaimError)>,
}

/// What is to be done about `observations`. Pure: it looks at nothing else.
/// `running` are the ids that have a run directory.
#[must_use]
pub fn plan(observations: &[Observation], running: &[SessionId]) -> Vec<Action> {
    let mut unseen: BTreeSet<_> = running.iter().collect();
    let mut actions = Vec::new();
    for observation in observations {
        let id = &observation.session.id;
        let has_run_directory = unseen.remove(id);
        match observation.unrecorded_end() {
            Some(outcome) => actions.push(Action::Settle {
                id: id.clone(),
                outcome,
            }),
            None if has_run_directory && !observation.may_live() => {
                actions.push(Action::Clear { id: id.clone() });
            }
            None => {}
        }
    }
    for id in unseen {
        actions.push(Action::Clear { id: id.clone() });
    }
    actions
}

/// Carries `actions` out.
pub(crate) fn execute(observer: &Observer, actions: Vec<Action>) -> Result<Report, StoreError> {
    let project = observer.store().project().to_owned();
    let mut report = Report::default();
    for action in actions {
        match action {
            Action::Settle { id, .. } => match settle(observer, &id) {
                Ok(Some(outcome)) => report.settled.push((id, outcome)),
                Ok(None) => {}
                Err(error) => report.failed.push((id, error)),
            },
            Action::Clear { id } => match clear(Store::open(&project)?, &id) {
                Ok(true) => report.cleared += 1,
                Ok(false) => {}
                Err(error) => report.failed.push((id, error)),
            },
        }
    }
    // Litter that cannot be removed harms nobody; the next run finds it again.
    report.cleared += sweep(observer.store()).unwrap_or(0);
    Ok(report)
}

/// Records the end of one session, if under its lease it still is certain.
pub(crate) fn settle(observer: &Observer, id: &SessionId) -> Result<Option<Outcome>, ClaimError> {
    let mut claim = match Claim::take(observer.store().project(), id) {
        Ok(claim) => claim,
        Err(error) if is_settled_already(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    failpoint::pass("settle.taken");
    match observer.unowned(claim.session()) {
        Some(outcome) => {
            if let Err(error) = claim.settle(outcome.clone()) {
                claim.abandon();
                return Err(error);
            }
            failpoint::pass("settle.recorded");
            claim.release()?;
            Ok(Some(outcome))
        }
        None => Ok(None),
    }
}

/// Somebody else settles it, or owns it by now: both are fine.
fn is_settled_already(error: &ClaimError) -> bool {
    match error {
        ClaimError::NotFound(_) | ClaimError::Ended { .. } | ClaimError::NewerSchema { .. } => true,
        ClaimError::Lease(error) => matches!(error, LeaseError::Held(_)),
        _ => false,
    }
}

/// Removes the run directory of a session that has ended or is none.
pub(crate) fn clear(store: Store, id: &SessionId) -> Result<bool, ClaimError> {
    match Lease::take(store, id) {
        Ok(lease) => {
            failpoint::pass("clear.taken");
            let over = match lease.store().read_record(id) {
                Ok(Some(session)) => session.status().is_terminal(),
                Ok(None) => true,
                // What cannot be read is not over.
                Err(_) => false,
            };
            if !over {
                return Ok(false);
            }
            match lease.release() {
                Ok(()) => Ok(true),
                Err(source) => Err(ClaimError::Release {
                    id: id.clone(),
                    source,
                }),
            }
        }
        // The owner only just ends the rest of its tree, or is gone by now.
        Err(LeaseError::Held(_) | LeaseError::Absent(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Liveness;
    use crate::outcome::LostCause;
    use crate::process::{Pid, Process, Unknowable};
    use crate::session::NewSession;
    use crate::timestamp::Timestamp;

    fn check(liveness: Liveness, expected: &[Outcome]) {
        let mut session = NewSession::default().into_session(Timestamp::now());
        let process = Process {
            pid: Pid::new(4242).expect("a pid"),
            identity: None,
        };
        if !matches!(liveness, Liveness::Abandoned | Liveness::Unclaimed) {
            session
                .start(process, Timestamp::now())
                .expect("pending → running");
        }
        let planned = plan(&[Observation { session, liveness }], &[]);
        let planned: Vec<_> = planned
            .into_iter()
            .map(|action| match action {
                Action::Settle { outcome, .. } => outcome,
                Action::Clear { .. } => panic!("nothing to clear"),
            })
            .collect();
        assert_eq!(planned, expected);
    }

    #[test]
    fn only_what_is_certain_is_planned() {
        check(Liveness::Owned, &[]);
        check(Liveness::Orphan, &[]);
        check(Liveness::Unverified, &[]);
        check(Liveness::Unclaimed, &[]);
        check(
            Liveness::Unknown(Unknowable::OtherHost("other".into())),
            &[],
        );
        check(
            Liveness::Lost(LostCause::Reboot),
            &[Outcome::Lost {
                cause: LostCause::Reboot,
            }],
        );
        check(
            Liveness::Lost(LostCause::OwnerDied),
            &[Outcome::Lost {
                cause: LostCause::OwnerDied,
            }],
        );
    }

    #[test]
    fn an_ended_session_that_left_a_run_directory_is_cleared() {
        let mut session = NewSession::default().into_session(Timestamp::now());
        session
            .finish(Outcome::never_ran("no"), Timestamp::now())
            .expect("pending → failed");
        let id = session.id.clone();
        let ended = [Observation {
            session,
            liveness: Liveness::Ended,
        }];
        assert_eq!(plan(&ended, &[]), []);
        assert_eq!(
            plan(&ended, std::slice::from_ref(&id)),
            [Action::Clear { id: id.clone() }]
        );
        let nobodys = [Action::Clear { id: id.clone() }];
        assert_eq!(plan(&[], &[id]), nobodys, "no record was written");
    }
}
