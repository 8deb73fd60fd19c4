//! Ending an agent whose owner is dead, in the owner's stead.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use crate::claim::{Claim, ClaimError};
use crate::failpoint;
use crate::id::SessionId;
use crate::observe::Observation;
use crate::original::{Whose, whose};
use crate::outcome::{LostCause, Outcome};
use crate::process::{self, Host, Pid, ProcessHandle, ProcessState, Tree, TreeError};
use crate::store::Store;
use crate::sys;

/// How long the kernel is given to tell how a process ended that init reaps.
const REAP_PATIENCE: Duration = Duration::from_secs(2);

/// An orphan could not be ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrphanError {
    /// It is not known who the process is.
    #[error("the agent of session {0} is not an orphan that can be told from other processes")]
    NotVerified(SessionId),
    /// Its tree could not be signalled.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The record could not be written.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The system refused.
    #[error("cannot look at the orphan")]
    Io(#[from] io::Error),
}

/// Ends the orphan of a claimed session and records it. The agent is signalled
/// through a pidfd whose identity was checked after it was opened.
pub(crate) fn end(mut claim: Claim, grace: Duration, by: &str) -> Result<(), OrphanError> {
    let id = claim.session().id.clone();
    let process = claim
        .session()
        .process()
        .cloned()
        .ok_or_else(|| OrphanError::NotVerified(id.clone()))?;
    let outcome = match ProcessHandle::open_verified(&process, &Host::current()?)? {
        Ok(agent) => {
            failpoint::pass("orphan.opened");
            Tree::of(id.clone(), Some(&agent)).end(grace)?;
            failpoint::pass("orphan.ended");
            Outcome::Stopped {
                by: by.to_owned(),
                wait_status: agent.wait_status(REAP_PATIENCE),
            }
        }
        // It ended by itself since it was last seen, and nobody saw how.
        Err(ProcessState::Gone(cause)) => {
            end_leftovers(claim.lease().store(), &id, cause, grace)?;
            Outcome::Lost { cause }
        }
        Err(_) => return Err(OrphanError::NotVerified(id)),
    };
    claim.finish(outcome)?;
    Ok(claim.release()?)
}

/// What the agents of lost sessions left running, as far as it works for this project:
/// processes with the session's id in their environment.
pub(crate) fn left_running(
    store: &Store,
    sessions: &[Observation],
) -> io::Result<BTreeMap<SessionId, Vec<Pid>>> {
    let is_lost = |seen: &&Observation| {
        let end = seen.unrecorded_end();
        let cause = LostCause::OwnerDied;
        end.as_ref().or(seen.session.outcome()) == Some(&Outcome::Lost { cause })
    };
    let lost = sessions.iter().filter(is_lost);
    let lost: BTreeSet<_> = lost.map(|seen| &seen.session.id).collect();
    let mut left: BTreeMap<SessionId, Vec<Pid>> = BTreeMap::new();
    if lost.is_empty() {
        return Ok(left);
    }
    // Where pids would mean others, this fails.
    Host::current()?;
    for (pid, id) in process::marked()? {
        let is_other = pid.get() != sys::own_pid();
        if is_other && lost.contains(&id) && matches!(whose(store, &id, pid)?, Whose::Ours) {
            left.entry(id).or_default().push(pid);
        }
    }
    Ok(left)
}

/// Ends what the agent of a lost session left running, told by the session's id
/// in its environment. What works for another project, of which this one is a copy, is
/// left alone.
pub(crate) fn end_leftovers(
    store: &Store,
    id: &SessionId,
    cause: LostCause,
    grace: Duration,
) -> Result<(), OrphanError> {
    match cause {
        // Nothing lives across it, and pids mean others now.
        LostCause::Reboot => Ok(()),
        LostCause::OwnerDied => {
            // Where pids would mean others, this fails.
            Host::current()?;
            let left = Tree::of(id.clone(), None);
            for pid in left.pids()? {
                if let Whose::Anothers(_) = whose(store, id, pid)? {
                    return Ok(());
                }
            }
            Ok(left.end(grace)?)
        }
    }
}
