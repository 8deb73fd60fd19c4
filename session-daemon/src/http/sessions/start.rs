//! `POST /api/v1/sessions`: start a session, through the launcher that the daemon
//! was handed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use session_core::{SessionManager, error_chain};
use utoipa::ToSchema;

use super::super::App;
use super::super::input::{Json, Query};
use super::super::problem::{ChangeRefusal, Problem, Refusal};
use super::super::schema::Session;
use super::act::{seen, turn, waiting};
use crate::launch::{LaunchError, Start as Order};

/// A session to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    /// The agent's program and its arguments.
    #[schema(min_items = 1)]
    command: Vec<String>,
    /// The project's directory; needed only where more than one project is served.
    #[serde(default)]
    project: Option<String>,
    /// The agent's working directory; the project's when it is not named.
    #[serde(default)]
    cwd: Option<String>,
    /// The issue the agent works on.
    #[serde(default)]
    issue_id: Option<String>,
    /// The agent's role.
    #[serde(default)]
    role_name: Option<String>,
    /// A name; no two living sessions share one.
    #[serde(default)]
    name: Option<String>,
    #[serde(default, deserialize_with = "once")]
    labels: BTreeMap<String, String>,
    /// Variables added to the agent's environment. They are not recorded.
    #[serde(default, deserialize_with = "once")]
    env: BTreeMap<String, String>,
    /// How long the agent may run, not counting suspensions.
    #[serde(default)]
    #[schema(exclusive_minimum = 0)]
    timeout_seconds: Option<f64>,
    /// Let live what the agent leaves running when it exits.
    #[serde(default)]
    leave_children: bool,
    /// Remove the record and the log once the session has ended.
    #[serde(default)]
    remove_at_end: bool,
}

/// A map of which no key comes twice: serde keeps the last without a word, and
/// whoever checked the first would have checked another.
fn once<'de, D: Deserializer<'de>>(source: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Once;
    impl<'de> Visitor<'de> for Once {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of strings")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = pairs.next_entry::<String, String>()? {
                if map.insert(key.clone(), value).is_some() {
                    return Err(A::Error::custom(format_args!("duplicate key `{key}`")));
                }
            }
            Ok(map)
        }
    }
    source.deserialize_map(Once)
}

/// No query is understood here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

/// Start a session
///
/// Answers once the agent runs and the record that says so is durable.
#[utoipa::path(
    post, path = "/sessions", tag = "sessions",
    request_body = Start,
    responses(
        (status = 201, body = Session, description = "It is started", headers(("Location" = String, description = "The session"))),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "The project is not served"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "A living session has this name, or more than one project is served"),
        (status = 500, body = Problem, content_type = "application/problem+json", description = "The daemon could not do it"),
        (status = 501, body = Problem, content_type = "application/problem+json", description = "This daemon does not start sessions"),
        Refusal, ChangeRefusal
    )
)]
pub(super) async fn start(
    State(app): State<Arc<App>>,
    Query(NoQuery {}): Query<NoQuery>,
    Json(start): Json<Start>,
) -> Result<Response, Problem> {
    let Some(launcher) = app.launcher.clone() else {
        return Err(Problem::no_launcher("start it with `monoco run`"));
    };
    let project = project(&app, start.project.as_deref())?;
    let order = start.order()?;
    let made = Arc::clone(&project);
    let turn = turn(&app)?;
    // As `monoco run` does, where nobody has begun yet.
    let session = waiting(move || {
        let _turn = turn;
        let manager = SessionManager::create(&*made)
            .map_err(|error| Problem::internal(error_chain(&error)))?;
        launcher.launch(&manager, order).map_err(problem)
    })
    .await?;
    let mut answer = seen(&app, &project, &session.id, &session, StatusCode::CREATED).await;
    let location = format!("/api/v1/sessions/{}", session.id);
    let location = HeaderValue::from_str(&location).expect("an id is plain ASCII");
    answer.headers_mut().insert(header::LOCATION, location);
    Ok(answer)
}

/// The project that is meant.
fn project(app: &App, named: Option<&str>) -> Result<Arc<Path>, Problem> {
    let mut projects = app.index.counts().into_keys();
    match named {
        Some(named) => projects
            .find(|project| **project == *Path::new(named))
            .ok_or_else(|| Problem::not_found(format!("the project {named} is not served"))),
        None => match (projects.next(), projects.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(Problem::not_found("no project is served")),
            (Some(_), Some(_)) => Err(Problem::conflict(
                "more than one project is served; name one as `project`",
            )),
        },
    }
}

impl Start {
    fn order(self) -> Result<Order, Problem> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err(Problem::invalid("command: expected a program"));
        }
        let timeout = |seconds: f64| {
            let timeout = Duration::try_from_secs_f64(seconds).ok();
            timeout
                .filter(|timeout| !timeout.is_zero())
                .ok_or_else(|| Problem::invalid("timeout_seconds: expected more than 0"))
        };
        Ok(Order {
            command: self.command,
            cwd: self.cwd.map(Into::into),
            issue_id: self.issue_id,
            role_name: self.role_name,
            name: self.name,
            labels: self.labels,
            env: self.env,
            timeout: self.timeout_seconds.map(timeout).transpose()?,
            leave_children: self.leave_children,
            remove_at_end: self.remove_at_end,
        })
    }
}

fn problem(error: LaunchError) -> Problem {
    match error {
        LaunchError::Invalid(text) => Problem::invalid(text),
        LaunchError::Conflict(text) => Problem::conflict(text),
        LaunchError::NotStarted(text) => Problem::not_started(text),
        LaunchError::Failed(text) => Problem::internal(text),
    }
}
