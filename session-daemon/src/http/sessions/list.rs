//! `GET /api/v1/sessions`: a page of what there is, newest first.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::super::input::Query;
use super::super::problem::{Problem, Refusal};
use super::super::schema::SessionList;
use super::super::{App, answer};
use crate::index::{Asked, Cursor, Filter};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 10_000;

/// What to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only sessions of the project with this directory.
    project: Option<String>,
    /// Only sessions of this issue.
    issue_id: Option<String>,
    /// Only sessions in this role.
    role: Option<String>,
    /// Only sessions with this status; may be given more than once.
    #[param(style = Form, explode, inline)]
    status: Vec<WantedStatus>,
    /// Only sessions with this label (`key` or `key=value`); may be given more than once.
    #[param(style = Form, explode)]
    label: Vec<String>,
    /// Only sessions that live, or may live (or only those that do not).
    active: Option<bool>,
    /// How many at most.
    #[param(minimum = 1, maximum = 10_000, default = 100)]
    limit: Option<usize>,
    /// Where to begin: the `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum WantedStatus {
    Pending,
    Running,
    Suspended,
    Completed,
    Failed,
    Timeout,
    Terminated,
    Crashed,
    /// It cannot be told from here.
    Unknown,
    /// The record cannot be read.
    Corrupt,
}

impl WantedStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Terminated => "terminated",
            Self::Crashed => "crashed",
            Self::Unknown => "unknown",
            Self::Corrupt => "corrupt",
        }
    }
}

/// The sessions, newest first
#[utoipa::path(
    get, path = "/sessions", tag = "sessions",
    params(Wanted),
    responses((status = 200, body = SessionList, description = "The page"), (status = 304, description = "The client has it"), Refusal)
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let asked = wanted.check()?;
    let tag = |version| answer::tag(app.index.name_of(version));
    let now = tag(app.index.journal().last());
    if answer::is_known(&headers, &now) {
        return Ok(answer::not_modified(&now));
    }
    let (page, version) = app.index.page(&asked);
    Ok(answer::json(&headers, &tag(version), || page))
}

impl Wanted {
    fn check(self) -> Result<Asked, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            let problem = format!("limit is {limit}; expected 1 to {MAX_LIMIT}");
            return Err(Problem::bad_request(problem));
        }
        let cursor = |text: String| {
            Cursor::decode(&text).ok_or_else(|| {
                Problem::bad_request("the cursor is not one; take next_cursor of the page before")
            })
        };
        let label = |text: &String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (text.clone(), None),
        };
        let status = self.status.iter().map(|status| status.as_str().to_owned());
        Ok(Asked {
            limit,
            after: self.cursor.map(cursor).transpose()?,
            filter: Filter {
                project: self.project.map(Into::into),
                issue_id: self.issue_id,
                role: self.role,
                status: status.collect(),
                labels: self.label.iter().map(label).collect(),
                active: self.active,
            },
        })
    }
}
