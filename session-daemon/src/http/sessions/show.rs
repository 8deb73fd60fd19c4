//! `GET /api/v1/sessions/{id}`: one session.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::super::input::{Id, Query};
use super::super::problem::{Problem, Refusal, SessionRefusal};
use super::super::schema::Element;
use super::super::{App, answer};
use super::{InProject, find};

/// One session: its record, and whether to believe it
#[utoipa::path(
    get, path = "/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session's id", pattern = "^[a-z0-9][a-z0-9_-]{0,63}$"), InProject),
    responses((status = 200, body = Element, description = "The session"), (status = 304, description = "The client has it"), Refusal, SessionRefusal)
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Id(id): Id,
    Query(which): Query<InProject>,
) -> Result<Response, Problem> {
    let entry = find(&app, &id, which.project.as_deref())?;
    let tag = answer::tag_of(&entry.json);
    Ok(answer::json(&headers, &tag, || entry.json.clone()))
}
