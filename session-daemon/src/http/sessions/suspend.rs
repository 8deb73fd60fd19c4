//! `POST /api/v1/sessions/{id}/suspend`: freeze the whole tree.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::App;
use super::super::input::{Id, Json, Query};
use super::super::problem::{ChangeRefusal, Problem, Refusal, SessionRefusal};
use super::super::schema::Session;
use super::InProject;
use super::act::act;

/// Nothing needs to be said: `{}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Suspend {}

/// Freeze a session: the agent with all its descendants
#[utoipa::path(
    post, path = "/sessions/{id}/suspend", tag = "sessions",
    params(("id" = String, Path, description = "The session's id", pattern = "^[a-z0-9][a-z0-9_-]{0,63}$"), InProject),
    request_body = Suspend,
    responses((status = 200, body = Session, description = "The session as it is then"), Refusal, SessionRefusal, ChangeRefusal)
)]
pub(super) async fn suspend(
    State(app): State<Arc<App>>,
    Id(id): Id,
    Query(which): Query<InProject>,
    Json(Suspend {}): Json<Suspend>,
) -> Result<Response, Problem> {
    act(&app, id, &which, |manager, id| manager.suspend(id)).await
}
