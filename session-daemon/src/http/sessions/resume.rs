//! `POST /api/v1/sessions/{id}/resume`: thaw the whole tree.

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
pub(super) struct Resume {}

/// Let a suspended session go on
#[utoipa::path(
    post, path = "/sessions/{id}/resume", tag = "sessions",
    params(("id" = String, Path, description = "The session's id", pattern = "^[a-z0-9][a-z0-9_-]{0,63}$"), InProject),
    request_body = Resume,
    responses((status = 200, body = Session, description = "The session as it is then"), Refusal, SessionRefusal, ChangeRefusal)
)]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    Id(id): Id,
    Query(which): Query<InProject>,
    Json(Resume {}): Json<Resume>,
) -> Result<Response, Problem> {
    act(&app, id, &which, |manager, id| manager.resume(id)).await
}
