//! Ending an agent whose owner is dead, in the owner's stead.

use std::io;
use std::time::{Duration, Instant};

use crate::claim::{Claim, ClaimError};
use crate::outcome::{Outcome, WaitStatus};
use crate::process::{Host, Process, ProcessHandle, ProcessState, Tree, TreeError, libc_signal};

/// How long the kernel is given to tell how a process ended that init reaps.
const REAP_PATIENCE: Duration = Duration::from_secs(2);
/// How long KILL is repeated before what is left is reported.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two looks at what KILL has left.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// An orphan could not be ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrphanError {
    /// It is not known who the process is.
    #[error("the agent of session {0} is not an orphan that can be told from other processes")]
    NotVerified(crate::SessionId),
    /// Its tree could not be signalled.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Some of its tree outlived every KILL.
    #[error("processes of the orphan's tree are still there after KILL: {0:?}")]
    Survivors(Vec<i32>),
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
            let wait_status = end_tree(&agent, &process, &id, grace)?;
            Outcome::Stopped {
                by: by.to_owned(),
                wait_status,
            }
        }
        // It ended by itself since it was last seen, and nobody saw how.
        Err(ProcessState::Gone(cause)) => Outcome::Lost { cause },
        Err(_) => return Err(OrphanError::NotVerified(id)),
    };
    claim.finish(outcome)?;
    Ok(claim.release()?)
}

fn end_tree(
    agent: &ProcessHandle,
    process: &Process,
    id: &crate::SessionId,
    grace: Duration,
) -> Result<Option<WaitStatus>, OrphanError> {
    let whole = Tree::Marked {
        agent: Some(process.pid),
        id: id.clone(),
    };
    let graceful = Instant::now() + grace;
    // Who is given no time is not asked: a kill is KILL alone.
    if !grace.is_zero() {
        whole.ask_to_end()?;
        agent.wait(Some(grace))?;
    }
    let wait_status = if agent.has_ended()? {
        agent.wait_status(REAP_PATIENCE)
    } else {
        None
    };
    // From here on the agent's pid may be handed out anew: only the mark counts.
    let rest = |ended: bool| Tree::Marked {
        agent: (!ended).then_some(process.pid),
        id: id.clone(),
    };
    while Instant::now() < graceful && !rest(agent.has_ended()?).members()?.is_empty() {
        std::thread::sleep(LOOK_AGAIN);
    }
    let deadline = Instant::now() + KILL_PATIENCE;
    loop {
        let tree = rest(agent.has_ended()?);
        if tree.signal(libc_signal::KILL)? == 0 && agent.has_ended()? {
            return Ok(wait_status.or_else(|| agent.wait_status(REAP_PATIENCE)));
        }
        if Instant::now() >= deadline {
            let left = tree
                .members()?
                .iter()
                .map(|member| member.handle().pid().get())
                .collect();
            return Err(OrphanError::Survivors(left));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
