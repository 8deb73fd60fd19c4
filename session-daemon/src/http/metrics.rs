//! `GET /metrics`: figures in the text format of Prometheus.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::problem::Refusal;
use super::{App, MAX_FOLLOWERS};

/// Figures for Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "daemon",
    responses((status = 200, body = String, content_type = "text/plain", description = "The figures, as Prometheus reads them"), Refusal)
)]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], text(&app)).into_response()
}

fn text(app: &App) -> String {
    let mut page = Page(String::new());
    let version = env!("CARGO_PKG_VERSION");
    page.family("monoco_build_info", "gauge", "The version of the daemon.");
    page.sample("monoco_build_info", &[("version", version)], 1);

    let projects = app.index.counts();
    page.family(
        "monoco_sessions",
        "gauge",
        "Sessions by project and status.",
    );
    for (project, counts) in &projects {
        let project = project.to_string_lossy();
        for (status, n) in &counts.by_status {
            let labels = [("project", &*project), ("status", *status)];
            page.sample("monoco_sessions", &labels, *n as u64);
        }
    }
    page.single(
        "monoco_projects",
        "gauge",
        "Projects served.",
        projects.len() as u64,
    );
    let changes = app.index.journal().last();
    page.single(
        "monoco_changes_total",
        "counter",
        "Changes of sessions seen.",
        changes,
    );

    let watcher = app.watcher.counters();
    let http = &app.counters;
    let followers = MAX_FOLLOWERS - app.followers.available_permits();
    for (name, kind, help, value) in [
        (
            "monoco_looks_total",
            "counter",
            "Sessions looked at because something hinted at them.",
            get(&watcher.looks),
        ),
        (
            "monoco_scans_total",
            "counter",
            "Projects looked through as a whole.",
            get(&watcher.scans),
        ),
        (
            "monoco_deaths_total",
            "counter",
            "Owners and orphans seen to die.",
            get(&watcher.deaths),
        ),
        (
            "monoco_http_connections",
            "gauge",
            "Connections now.",
            get(&http.connections),
        ),
        (
            "monoco_http_connections_total",
            "counter",
            "Connections so far.",
            get(&http.connections_ever),
        ),
        (
            "monoco_http_evictions_total",
            "counter",
            "Idle connections that had to make room.",
            get(&http.evicted),
        ),
        (
            "monoco_followers",
            "gauge",
            "Clients that follow events or logs.",
            followers as u64,
        ),
    ] {
        page.single(name, kind, help, value);
    }
    page.family(
        "monoco_http_answers_total",
        "counter",
        "Answers by the class of their status.",
    );
    for (counter, class) in http.answers.iter().zip(["1xx", "2xx", "3xx", "4xx", "5xx"]) {
        page.sample(
            "monoco_http_answers_total",
            &[("class", class)],
            get(counter),
        );
    }
    page.0
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The text as it grows (Prometheus, "exposition formats").
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let _ = match labels.as_slice() {
            [] => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{}}} {value}", labels.join(",")),
        };
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
