//! `GET /health`: who is here. It needs no token, and tells nothing of sessions.

use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer;

/// Who answers.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`
    status: String,
    /// `monoco`
    pub(crate) server: String,
    /// The daemon's version.
    pub(crate) version: String,
    /// The daemon's process.
    pub(crate) pid: u32,
}

/// Who is here
#[utoipa::path(
    get, path = "/health", tag = "daemon", security(()),
    responses((status = 200, body = Health, description = "Who it is"))
)]
pub(super) async fn health() -> Response {
    let health = Health {
        status: "ok".to_owned(),
        server: "monoco".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
    };
    let body = serde_json::to_vec(&health).expect("string keys only");
    answer::json_now(StatusCode::OK, body)
}
