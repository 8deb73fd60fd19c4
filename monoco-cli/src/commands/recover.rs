//! `monoco recover`: go on with the conversations of sessions that were lost.

use serde::Serialize;
use session_core::{Observation, Session, SessionId, SessionManager, Timestamp, error_chain};
use session_worker::Launcher;

use super::run::{parent, tell_added};
use super::start::note;
use crate::args::Recover;
use crate::continuation::{Continuation, NotContinued, lost, successor};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::ago;
use crate::output::table::{Cell, Style, Table};
use crate::output::{self, json};

pub(super) fn recover(manager: &SessionManager, args: &Recover) -> Result<Exit, CliError> {
    let lost = asked_for(manager, &manager.list()?.sessions, &args.ids)?;
    let continuation = Continuation::of(manager)?;
    continuation.tell_warnings();
    if lost.is_empty() && !args.json {
        output::words("there is nothing to recover");
        return Ok(Exit::SUCCESS);
    }
    if args.yes {
        return act(manager, &continuation, &lost);
    }
    let problems: Vec<_> = lost
        .iter()
        .map(|old| continuation.check(old).err().map(|why| error_chain(&why)))
        .collect();
    let planned = lost.iter().zip(&problems);
    if args.json {
        let planned = planned.map(|(old, problem)| Planned::of(old, problem.as_deref()));
        json::print_array(&planned.collect::<Vec<_>>())?;
        return Ok(Exit::SUCCESS);
    }
    table(planned).print()?;
    let n = problems.iter().filter(|problem| problem.is_none());
    output::words(&match n.count() {
        0 => "none of these can go on by itself; `monoco rm` forgets one".to_owned(),
        n => format!(
            "nothing was done; `monoco recover --yes` goes on with {n} of {}",
            lost.len()
        ),
    });
    Ok(Exit::SUCCESS)
}

/// Of those that were lost the ones that were named, if any were.
fn asked_for(
    manager: &SessionManager,
    seen: &[Observation],
    names: &[String],
) -> Result<Vec<Session>, CliError> {
    let lost = lost(seen);
    if names.is_empty() {
        return Ok(lost);
    }
    let successor_of = |session: &Session| successor(seen, session);
    let find = |name: &String| {
        let id = manager.resolve(name)?;
        if let Some(found) = lost.iter().find(|session| session.id == id) {
            return Ok(found.clone());
        }
        let session = seen.iter().find(|seen| seen.session.id == id);
        match session.and_then(|seen| successor_of(&seen.session)) {
            Some(by) => Err(NotContinued::Already { id, by: by.clone() }.into()),
            None => Err(CliError::NotLost(id)),
        }
    };
    names.iter().map(find).collect()
}

fn act(
    manager: &SessionManager,
    continuation: &Continuation<'_>,
    lost: &[Session],
) -> Result<Exit, CliError> {
    let launcher = Launcher::current_exe()
        .map_err(CliError::io("find this program, which is the supervisor"))?
        .short_lived();
    let mut exit = Exit::SUCCESS;
    for old in lost {
        match go_on(manager, continuation, &launcher, old) {
            Ok(id) => output::line(id.as_str())?,
            Err(CliError::NotContinued(why)) if why.goes_on_elsewhere() => {
                output::words(&format!("session {} is not continued here: {why}", old.id));
            }
            Err(error) => {
                output::failure(&error);
                exit = Exit::of_error(&error);
            }
        }
    }
    note(manager);
    Ok(exit)
}

fn go_on(
    manager: &SessionManager,
    continuation: &Continuation<'_>,
    launcher: &Launcher,
    old: &Session,
) -> Result<SessionId, CliError> {
    let (mut launch, added) = continuation.launch_once(old)?;
    // Nobody else will record how it ended.
    manager.settle(&old.id)?;
    tell_added(old.engine.as_deref().unwrap_or_default(), &added);
    launch.session.parent_id = parent();
    Ok(launcher.launch(manager, launch)?.session.id)
}

/// What would be done, as programs are told.
#[derive(Debug, Serialize)]
struct Planned<'a> {
    id: &'a SessionId,
    issue_id: &'a str,
    engine: Option<&'a str>,
    conversation_id: Option<&'a str>,
    cwd: Option<String>,
    created_at: String,
    /// Why it will not be done.
    problem: Option<&'a str>,
}

impl<'a> Planned<'a> {
    fn of(session: &'a Session, problem: Option<&'a str>) -> Self {
        Self {
            id: &session.id,
            issue_id: &session.issue_id,
            engine: session.engine.as_deref(),
            conversation_id: session.conversation_id.as_deref(),
            cwd: cwd(session),
            created_at: session.created_at.to_string(),
            problem,
        }
    }
}

fn cwd(session: &Session) -> Option<String> {
    let cwd = session.cwd.as_ref();
    cwd.map(|cwd| cwd.display().to_string())
}

fn table<'a>(planned: impl Iterator<Item = (&'a Session, &'a Option<String>)>) -> Table<7> {
    let now = Timestamp::now();
    let mut table = Table::new([
        "ID",
        "NAME",
        "ISSUE",
        "ENGINE",
        "CREATED",
        "DIRECTORY",
        "WHY NOT",
    ]);
    for (session, problem) in planned {
        table.push([
            Cell::new(session.id.as_str()),
            Cell::new(session.name.as_deref().unwrap_or_default()),
            Cell::new(&*session.issue_id),
            Cell::new(session.engine.as_deref().unwrap_or_default()),
            Cell::new(ago::ago(session.created_at, now)),
            Cell::new(cwd(session).unwrap_or_default()),
            Cell::styled(problem.as_deref().unwrap_or_default(), Style::Yellow),
        ]);
    }
    table
}
