//! `DELETE /api/v1/sessions/{id}`: remove the record and the log of an ended session.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::App;
use super::super::input::{Id, Query};
use super::super::problem::{ChangeRefusal, Problem, Refusal, SessionRefusal};
use super::act::{blocking, problem, turn};
use super::{BY, find};

/// What to remove.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Removal {
    /// The project's directory; needed only where two projects have sessions of one id.
    project: Option<String>,
    /// Kill the session first if it lives; remove a damaged record too.
    force: bool,
}

/// Remove a session that has ended
#[utoipa::path(
    delete, path = "/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session's id", pattern = "^[a-z0-9][a-z0-9_-]{0,63}$"), Removal),
    responses((status = 204, description = "It is removed"), Refusal, SessionRefusal, ChangeRefusal)
)]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Id(id): Id,
    Query(removal): Query<Removal>,
) -> Result<StatusCode, Problem> {
    let entry = find(&app, &id, removal.project.as_deref())?;
    let project = Arc::clone(&entry.project);
    let turn = turn(&app)?;
    let id = blocking(&project, move |manager| {
        let _turn = turn;
        let removed = manager.discard(&id, removal.force, BY);
        removed.map(|_| id).map_err(|error| problem(&error))
    })
    .await?;
    app.watcher.look(project, id).await;
    Ok(StatusCode::NO_CONTENT)
}
