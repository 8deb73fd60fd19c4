//! Sessions that their owners left, and the processes that their records name.

use std::process::Command;

use session_core::{Host, NewSession, Pid, Process, SessionId, SessionManager, error_chain};

/// The process that has this pid now, as an honest record would name it.
pub(crate) fn process_of(pid: i32) -> Result<Process, String> {
    let pid = Pid::new(pid.into()).ok_or("a pid")?;
    let host = Host::current().map_err(|error| error.to_string())?;
    let identity = host.identify(pid).map_err(|error| error.to_string())?;
    Ok(Process { pid, identity })
}

/// This process, likewise.
pub(crate) fn own_process() -> Result<Process, String> {
    process_of(std::process::id().cast_signed())
}

/// A process that has been.
pub(crate) fn dead_process() -> Result<Process, String> {
    let mut child = Command::new("true").spawn().map_err(|e| e.to_string())?;
    let process = process_of(child.id().cast_signed());
    child.wait().map_err(|error| error.to_string())?;
    process
}

/// A session whose record says that `process` is its agent, which runs, and whose
/// owner is dead.
pub(crate) fn ownerless(manager: &SessionManager, process: Process) -> Result<SessionId, String> {
    let mut claim = manager
        .claim_new(NewSession::default())
        .map_err(|error| error_chain(&error))?;
    claim.start(process).map_err(|error| error_chain(&error))?;
    let id = claim.session().id.clone();
    // Closed and not released, as by a death.
    drop(claim.into_lease());
    Ok(id)
}
