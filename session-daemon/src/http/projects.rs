//! `GET /api/v1/projects`: which projects are served, and how they are doing.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Refusal;
use super::{App, answer};
use crate::watch::Condition;

/// The projects that are served.
#[derive(Serialize, ToSchema)]
pub(super) struct ProjectList {
    projects: Vec<Project>,
}

/// A project that is served.
#[derive(Serialize, ToSchema)]
struct Project {
    /// The directory.
    path: String,
    /// `watched`: every change is seen at once. `rescanned`: it is looked through every
    /// few seconds, because nothing tells of changes there. `missing`: there is no
    /// `.monoco` in it now. `unusable`: see `reason`.
    condition: &'static str,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How many sessions there are.
    sessions: usize,
    /// How many of them live, or may live.
    active: usize,
}

/// The projects that are served
#[utoipa::path(
    get, path = "/projects", tag = "projects",
    responses((status = 200, body = ProjectList, description = "The projects"), (status = 304, description = "The client has it"), Refusal)
)]
pub(super) async fn projects(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let mut conditions = app.watcher.conditions();
    let projects = app.index.counts().into_iter().map(|(path, counts)| {
        let (condition, reason) = match conditions.remove(&path) {
            Some(Condition::Watched) => ("watched", None),
            Some(Condition::Rescanned) => ("rescanned", None),
            Some(Condition::Missing) | None => ("missing", None),
            Some(Condition::Unusable(reason)) => ("unusable", Some(reason)),
        };
        Project {
            path: path.to_string_lossy().into_owned(),
            condition,
            reason,
            sessions: counts.by_status.values().sum(),
            active: counts.active,
        }
    });
    let list = ProjectList {
        projects: projects.collect(),
    };
    let body = serde_json::to_vec(&list).expect("string keys only");
    let tag = answer::tag_of(&body);
    answer::json(&headers, &tag, || body.into())
}
