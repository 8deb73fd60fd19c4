//! The HTTP API, version 1: one file per resource, one per verb of sessions.

mod answer;
mod events;
mod guard;
mod health;
mod input;
mod login;
mod metrics;
mod openapi;
mod problem;
mod projects;
mod schema;
mod sessions;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{Semaphore, watch};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use guard::{Hosts, Peer};
pub(crate) use health::Health;

use self::problem::Problem;
use crate::access::Access;
use crate::growth::Growth;
use crate::index::Index;
use crate::launch::Launcher;
use crate::watch::Watcher;

/// How many clients may follow events or logs at once.
pub(crate) const MAX_FOLLOWERS: usize = 512;

/// How many changes may wait for owners at once. An owner listens to 256; the rest is
/// for who is not a client of ours, above all to kill what others wait for.
pub(crate) const MAX_CHANGES: usize = 128;

/// All that requests are answered with.
pub(crate) struct App {
    pub(crate) index: Arc<Index>,
    pub(crate) watcher: Watcher,
    pub(crate) access: Access,
    pub(crate) hosts: Hosts,
    pub(crate) launcher: Option<Arc<dyn Launcher>>,
    pub(crate) growth: Growth,
    pub(crate) counters: Counters,
    pub(crate) followers: Arc<Semaphore>,
    pub(crate) changes: Arc<Semaphore>,
    /// True once the daemon is ending.
    pub(crate) ending: watch::Receiver<bool>,
}

/// What was served so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Answers by the first digit of their status: 1xx to 5xx.
    pub(crate) answers: [AtomicU64; 5],
    pub(crate) connections: AtomicU64,
    pub(crate) connections_ever: AtomicU64,
    /// Connections that had to make room.
    pub(crate) evicted: AtomicU64,
}

/// The API as a service.
pub(crate) fn router(app: Arc<App>) -> Router {
    let (open, guarded) = described();
    let (open, mut api) = open.split_for_parts();
    let (guarded, guarded_api) = guarded.split_for_parts();
    api.merge(guarded_api);
    let guarded = guarded
        .route("/openapi.json", get(openapi::openapi))
        .layer(axum::Extension(openapi::Document::new(&api)))
        .fallback(not_found)
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            guard::check_access,
        ));
    let open = open
        .route("/login/{link}", get(login::login))
        .method_not_allowed_fallback(async || Problem::method_not_allowed());
    open.merge(guarded)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            guard::check_host,
        ))
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(is_whole)))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), finish))
        .with_state(app)
}

/// What the API's document describes: what needs no token, and what does.
fn described() -> (OpenApiRouter<Arc<App>>, OpenApiRouter<Arc<App>>) {
    let open = OpenApiRouter::with_openapi(openapi::Api::openapi()).routes(routes!(health::health));
    let v1 = OpenApiRouter::new()
        .merge(sessions::router())
        .routes(routes!(projects::projects))
        .routes(routes!(events::events));
    let guarded = OpenApiRouter::new()
        .routes(routes!(metrics::metrics))
        .nest("/api/v1", v1);
    (open, guarded)
}

/// The API's document, as `/openapi.json` gives it.
#[must_use]
pub fn openapi_document() -> String {
    let (mut open, mut guarded) = described();
    let mut api = open.to_openapi();
    api.merge(guarded.to_openapi());
    openapi::Document::new(&api).text()
}

async fn not_found() -> Response {
    Problem::not_found("the API is described at /openapi.json").into_response()
}

/// The header of what is sent as it happens: nothing in between may hold it back.
/// (nginx knows it; we take it for a reason not to compress.)
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

fn is_whole(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    !headers.contains_key(UNBUFFERED.0)
}

/// Counts the answer, and tells browsers to do nothing with it but show it.
async fn finish(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let line = tracing::enabled!(tracing::Level::DEBUG)
        .then(|| format!("{} {}", request.method(), request.uri().path()));
    let mut response = next.run(request).await;
    let status = response.status();
    let class = usize::from(status.as_u16() / 100) - 1;
    if let Some(counter) = app.counters.answers.get(class) {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    // A link is a secret until it was used.
    if let Some(line) = line.filter(|line| !line.contains("/login/")) {
        tracing::debug!(status = status.as_u16(), "{line}");
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; sandbox",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-cache"));
    response
}
