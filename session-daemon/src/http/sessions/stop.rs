//! `POST /api/v1/sessions/{id}/stop`: ask the whole tree to end, kill it when the
//! time is up.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::App;
use super::super::input::{Id, Json, Query};
use super::super::problem::{ChangeRefusal, Problem, Refusal, SessionRefusal};
use super::super::schema::Session;
use super::act::act;
use super::{BY, InProject};

/// The longest grace period: a day.
const MAX_GRACE: f64 = 86_400.0;

/// How to stop it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stop {
    /// How long the agent may take to end by itself.
    #[serde(default = "default_grace")]
    #[schema(minimum = 0, maximum = 86400, default = 10)]
    grace_seconds: f64,
}

fn default_grace() -> f64 {
    10.0
}

/// Stop a session
///
/// Answers once it has ended. A session that has ended already stays as it is.
#[utoipa::path(
    post, path = "/sessions/{id}/stop", tag = "sessions",
    params(("id" = String, Path, description = "The session's id", pattern = "^[a-z0-9][a-z0-9_-]{0,63}$"), InProject),
    request_body = Stop,
    responses((status = 200, body = Session, description = "The session as it is then"), Refusal, SessionRefusal, ChangeRefusal)
)]
pub(super) async fn stop(
    State(app): State<Arc<App>>,
    Id(id): Id,
    Query(which): Query<InProject>,
    Json(how): Json<Stop>,
) -> Result<Response, Problem> {
    if !(0.0..=MAX_GRACE).contains(&how.grace_seconds) {
        return Err(Problem::invalid("grace_seconds: expected 0 to 86400"));
    }
    let grace = Duration::from_secs_f64(how.grace_seconds);
    act(&app, id, &which, move |manager, id| {
        manager.stop(id, grace, BY)
    })
    .await
}
