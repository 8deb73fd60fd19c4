//! `/api/v1/sessions`: one file per verb.

mod act;
mod kill;
mod list;
mod log;
mod remove;
mod resume;
mod show;
mod start;
mod stop;
mod suspend;

use std::path::Path;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use serde::Deserialize;
use session_core::SessionId;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::input::MAX_BODY;
use super::problem::Problem;
use crate::index::Entry;

/// Who stopped a session that was stopped from here.
const BY: &str = "api";

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list::list, start::start))
        .routes(routes!(show::show, remove::remove))
        .routes(routes!(log::log))
        .routes(routes!(stop::stop))
        .routes(routes!(kill::kill))
        .routes(routes!(suspend::suspend))
        .routes(routes!(resume::resume))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Which session is meant where two projects have one of the same id.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct InProject {
    /// The project's directory; needed only where two projects have sessions of one id.
    project: Option<String>,
}

/// The one session that is meant.
fn find(app: &App, id: &SessionId, project: Option<&str>) -> Result<Arc<Entry>, Problem> {
    let mut found = app.index.find(id, project.map(Path::new));
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Problem::no_such_session(format!(
            "no session {id} is served"
        ))),
        n => Err(Problem::ambiguous(format!(
            "{n} projects have a session {id}; say which with ?project=DIR"
        ))),
    }
}
