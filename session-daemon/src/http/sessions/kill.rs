//! `POST /api/v1/sessions/{id}/kill`: KILL to the whole tree, or another signal to
//! the agent.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use rustix::process::Signal;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::App;
use super::super::input::{Id, Json, Query};
use super::super::problem::{ChangeRefusal, Problem, Refusal, SessionRefusal};
use super::super::schema::Session;
use super::act::act;
use super::{BY, InProject};

/// The highest number of a signal on Linux (signal(7)).
const MAX_SIGNAL: i32 = 64;

/// How to kill it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Kill {
    /// The signal's number. KILL (9) goes to the agent and all its descendants, any
    /// other to the agent's first process.
    #[serde(default = "sigkill")]
    #[schema(minimum = 1, maximum = 64, default = 9)]
    signal: i32,
}

fn sigkill() -> i32 {
    Signal::KILL.as_raw()
}

/// Kill a session, or send its agent a signal
#[utoipa::path(
    post, path = "/sessions/{id}/kill", tag = "sessions",
    params(("id" = String, Path, description = "The session's id", pattern = "^[a-z0-9][a-z0-9_-]{0,63}$"), InProject),
    request_body = Kill,
    responses((status = 200, body = Session, description = "The session as it is then"), Refusal, SessionRefusal, ChangeRefusal)
)]
pub(super) async fn kill(
    State(app): State<Arc<App>>,
    Id(id): Id,
    Query(which): Query<InProject>,
    Json(Kill { signal }): Json<Kill>,
) -> Result<Response, Problem> {
    if !(1..=MAX_SIGNAL).contains(&signal) {
        return Err(Problem::invalid("signal: expected 1 to 64"));
    }
    act(&app, id, &which, move |manager, id| {
        manager.kill(id, signal, BY)
    })
    .await
}
