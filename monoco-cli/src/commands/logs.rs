//! `monoco logs`: what an agent printed.

use session_core::{SessionId, SessionManager};
use session_worker::Reading;

use crate::args::Logs;
use crate::ear::{Ear, Heard, Next, Watch, wait_any};
use crate::engines::reading_for;
use crate::error::CliError;
use crate::exit::Exit;
use crate::follow::{Follower, LogOutput};
use crate::{output, tail};

pub(super) fn logs(manager: &SessionManager, args: &Logs) -> Result<Exit, CliError> {
    let id = manager.resolve(&args.id)?;
    let mut out = LogOutput::stdout(args.raw, reading(manager, &id));
    let mut log = open(manager, &id, args.tail)?;
    if args.follow {
        follow(manager, &id, &mut log, args.tail, &mut out)?;
    }
    match &mut log {
        Some(log) => log.rest(&mut out)?,
        None => output::words(&format!("session {id} has no log")),
    }
    out.finish()?;
    Ok(Exit::SUCCESS)
}

/// How to read what the session's agent prints; of a record that cannot be read the log
/// is shown as it is.
fn reading(manager: &SessionManager, id: &SessionId) -> Option<Reading> {
    let seen = manager.get(id).ok()?;
    reading_for(manager.project(), seen.session.engine.as_deref())
}

/// Copies the log until the session has ended. What was written last may still
/// have to be copied then.
fn follow(
    manager: &SessionManager,
    id: &SessionId,
    log: &mut Option<Follower>,
    lines: Option<u64>,
    out: &mut LogOutput,
) -> Result<(), CliError> {
    let mut watch = Watch::new(manager, id.clone());
    loop {
        let ear = match watch.next()? {
            Next::Ended(_) => return Ok(()),
            Next::Listen(ear) => ear,
        };
        let Some(follower) = log.as_mut() else {
            wait_for_log(manager, id, &ear)?;
            *log = open(manager, id, lines)?;
            continue;
        };
        match ear.fd() {
            Some(fd) => {
                follower.until(&[fd], out)?;
            }
            None => {
                ear.wait(None)
                    .map_err(CliError::io(format!("wait for session {id}")))?;
                follower.rest(out)?;
            }
        }
        if let Heard::Ended(_) = ear.hear() {
            return Ok(());
        }
    }
}

/// Waits for the session's end, or for anything to happen in the project: there
/// is a log before the record says that an agent runs.
fn wait_for_log(manager: &SessionManager, id: &SessionId, ear: &Ear) -> Result<(), CliError> {
    let waiting = || CliError::io(format!("wait for session {id}"));
    let feed = manager.feed()?;
    if manager.open_log(id).map_err(waiting())?.is_some() {
        return Ok(());
    }
    let deadline = [ear.deadline(), feed.deadline()]
        .into_iter()
        .flatten()
        .min();
    let fds: Vec<_> = [ear.fd(), feed.as_fd()].into_iter().flatten().collect();
    wait_any(&fds, deadline).map(|_| ()).map_err(waiting())
}

/// The session's log, from the last `lines` on.
fn open(
    manager: &SessionManager,
    id: &SessionId,
    lines: Option<u64>,
) -> Result<Option<Follower>, CliError> {
    let reading = || CliError::io(format!("read the log of session {id}"));
    let Some(log) = manager.open_log(id).map_err(reading())? else {
        return Ok(None);
    };
    let offset = match lines {
        Some(lines) => tail::offset(&log, lines).map_err(reading())?,
        None => 0,
    };
    Ok(Some(Follower::new(log, offset)))
}
