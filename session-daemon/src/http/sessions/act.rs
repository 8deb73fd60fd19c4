//! What all verbs that change a session have in common: they ask its owner, on a
//! thread that may wait, and answer with the session as it is then.

use std::path::Path;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use session_core::{
    ActError, ControlError, LookError, Observation, Session, SessionId, SessionManager, error_chain,
};

use tokio::sync::OwnedSemaphorePermit;

use super::super::problem::Problem;
use super::super::{App, answer};
use super::{InProject, find};
use crate::index::Entry;

/// Does `verb` to the session that is meant, and answers with what became of it.
pub(super) async fn act(
    app: &App,
    id: SessionId,
    which: &InProject,
    verb: impl FnOnce(&SessionManager, &SessionId) -> Result<Session, ActError> + Send + 'static,
) -> Result<Response, Problem> {
    let entry = find(app, &id, which.project.as_deref())?;
    let project = Arc::clone(&entry.project);
    let turn = turn(app)?;
    let (session, id) = blocking(&project, move |manager| {
        let _turn = turn;
        let session = verb(manager, &id).map_err(|error| problem(&error))?;
        Ok((session, id))
    })
    .await?;
    Ok(seen(app, &project, &id, &session, StatusCode::OK).await)
}

/// Lets one more change begin. It goes on until its owner has answered, also when its
/// client is gone; whatever does it takes what is returned along.
pub(super) fn turn(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    let turn = Arc::clone(&app.changes).try_acquire_owned();
    turn.map_err(|_| Problem::too_many("too many changes have not ended yet"))
}

/// Calls `work` with the project's manager on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    project: &Arc<Path>,
    work: impl FnOnce(&SessionManager) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let project = Arc::clone(project);
    waiting(move || {
        let manager = SessionManager::open(&*project)
            .map_err(|error| Problem::internal(error_chain(&error)))?;
        work(&manager)
    })
    .await
}

/// Calls `work` on a thread that may block.
pub(super) async fn waiting<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work);
    done.await
        .unwrap_or_else(|_| Err(Problem::internal("it was given up")))
}

/// The session as it is now, once the index knows it as well: who reads a listing
/// after this answer finds in it what was done.
pub(super) async fn seen(
    app: &App,
    project: &Arc<Path>,
    id: &SessionId,
    session: &Session,
    status: StatusCode,
) -> Response {
    app.watcher.look(Arc::clone(project), id.clone()).await;
    let json = match app.index.get(project, id.as_str()) {
        Some(entry) => entry.json.clone(),
        // It was removed at its end; this is how it was.
        None => {
            let liveness = session_core::Liveness::Ended;
            let session = session.clone();
            Entry::of_session(project, &Observation { session, liveness }, None).json
        }
    };
    answer::json_now(status, json)
}

/// What went wrong, as the client is told.
pub(super) fn problem(error: &ActError) -> Problem {
    let text = error_chain(error);
    match error {
        ActError::Look(LookError::NotFound(_)) => Problem::no_such_session(text),
        ActError::Look(LookError::Damaged { .. }) => Problem::damaged(text),
        ActError::Control(ControlError::Unresponsive { .. }) => Problem::unresponsive(text),
        ActError::Ended { .. }
        | ActError::Orphan(_)
        | ActError::NotStarted(_)
        | ActError::HandsOff { .. }
        | ActError::Living { .. }
        | ActError::Untold { .. }
        | ActError::Ending(_)
        | ActError::Control(
            ControlError::NoOwner(_) | ControlError::OwnerDied(_) | ControlError::Refused(_),
        ) => Problem::conflict(text),
        _ => Problem::internal(text),
    }
}
