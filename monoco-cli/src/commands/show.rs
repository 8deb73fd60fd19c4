//! `monoco show`: the whole record, and whether to believe it.

use std::io::Write;

use session_core::{Damaged, LookError, Observation, Session, SessionManager, Timestamp};

use crate::args::Show;
use crate::describe;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::ago::{ago, length};
use crate::output::json::{self, Element};
use crate::output::{self, Terminal, sanitise};

/// No column of keys is narrower, so that those of different sessions stand alike.
const NARROWEST: usize = 10;

pub(super) fn show(manager: &SessionManager, args: &Show) -> Result<Exit, CliError> {
    let (mut seen, mut damaged, mut exit) = (Vec::new(), Vec::new(), Exit::SUCCESS);
    for name in &args.ids {
        match look(manager, name) {
            Ok(Ok(session)) => seen.push(session),
            Ok(Err(record)) => {
                output::words(&describe::damage(&record));
                damaged.push(record);
                exit = Exit::FAILURE;
            }
            Err(error) => {
                output::failure(&error);
                exit = Exit::of_error(&error);
            }
        }
    }
    let mut out = output::stdout();
    let written = if args.json {
        let elements = seen
            .iter()
            .map(Element::Seen)
            .chain(damaged.iter().map(Element::Damaged));
        let terminal = Terminal::of_stdout().is_some();
        let elements = elements.map(|element| json::to_text(&element, terminal));
        json::write_array(&mut out, elements)
    } else {
        let mut between = "";
        seen.iter().try_for_each(|seen| {
            write!(out, "{}", std::mem::replace(&mut between, "\n"))?;
            let now = Timestamp::now();
            let fields = fields(manager, seen, now);
            let longest = fields.iter().map(|(key, _)| key.len()).max();
            let width = longest.unwrap_or(0).max(NARROWEST) + 1;
            fields.iter().try_for_each(|(key, value)| {
                writeln!(out, "{key:<width$}{}", sanitise::line(value))
            })
        })
    };
    output::written(written.and_then(|()| out.flush()))?;
    Ok(exit)
}

fn look(manager: &SessionManager, name: &str) -> Result<Result<Observation, Damaged>, CliError> {
    let id = manager.resolve(name)?;
    match manager.get(&id) {
        Ok(seen) => Ok(Ok(seen)),
        Err(LookError::Damaged { path, damage }) => Ok(Err(Damaged {
            id: Some(id),
            path,
            damage,
        })),
        Err(error) => Err(error.into()),
    }
}

/// What there is to say, in the order of importance.
fn fields(
    manager: &SessionManager,
    seen: &Observation,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let session = &seen.shown();
    let id = &session.id;
    let time = |time: Timestamp| format!("{time} ({})", ago(time, now));
    let labels = || {
        let labels = session
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        labels.collect::<Vec<_>>().join(", ")
    };
    let ended_at = session.end().and_then(|end| end.ended_at);
    let all = [
        ("ID", Some(id.to_string())),
        ("Name", session.name.clone()),
        ("Issue", Some(session.issue_id.clone())),
        ("Role", Some(session.role_name.clone())),
        ("Status", Some(describe::status(seen))),
        ("Liveness", Some(describe::liveness(&seen.liveness))),
        ("Outcome", session.outcome().map(describe::outcome)),
        ("Verdict", session.verdict().map(describe::verdict)),
        (
            "Command",
            (!session.command.is_empty()).then(|| describe::command(&session.command)),
        ),
        (
            "Directory",
            session.cwd.as_ref().map(|cwd| cwd.display().to_string()),
        ),
        ("Branch", Some(session.branch_name.clone())),
        ("Engine", session.engine.clone()),
        ("Conversation", session.conversation_id.clone()),
        ("Resumes", session.resumes.as_ref().map(ToString::to_string)),
        ("Labels", (!session.labels.is_empty()).then(labels)),
        (
            "Parent",
            session.parent_id.as_ref().map(ToString::to_string),
        ),
        ("PID", session.pid().map(|pid| pid.to_string())),
        ("Created", Some(time(session.created_at))),
        ("Started", session.started_at().map(time)),
        ("Ended", ended_at.map(time)),
        ("Updated", Some(time(session.updated_at))),
        ("Run time", run_time(session, now)),
        (
            "Suspended",
            (!session.suspended_for.is_zero()).then(|| length(session.suspended_for)),
        ),
        ("Timeout", session.timeout.map(length)),
        (
            "Record",
            manager
                .record_path(id)
                .ok()
                .map(|path| path.display().to_string()),
        ),
        ("Log", log(manager, session)),
        (
            "Hooks log",
            manager
                .hooks_log_path(id)
                .ok()
                .flatten()
                .map(|path| path.display().to_string()),
        ),
    ];
    all.into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
}

/// Not told of a session whose end nobody saw.
fn run_time(session: &Session, now: Timestamp) -> Option<String> {
    session.started_at()?;
    if session.end().is_some_and(|end| end.ended_at.is_none()) {
        return None;
    }
    Some(length(session.active_for(now)))
}

fn log(manager: &SessionManager, session: &Session) -> Option<String> {
    let path = manager.log_path(&session.id).ok()?;
    let size = path.symlink_metadata().ok()?.len();
    Some(format!("{} ({size} bytes)", path.display()))
}
