//! `GET /openapi.json`: the API's description, made from its handlers.

use std::sync::Arc;

use axum::Extension;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::answer;

/// What stands above the paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "monoco",
        description = "Sessions of AI coding agents, as they are now. Errors are problem documents (RFC 9457).",
    ),
    security(("token" = [])),
    modifiers(&Token),
    tags(
        (name = "sessions", description = "Looking at sessions, and asking their owners"),
        (name = "projects", description = "What is served"),
        (name = "events", description = "What changes"),
        (name = "daemon", description = "The daemon itself"),
    )
)]
pub(super) struct Api;

struct Token;

impl Modify for Token {
    fn modify(&self, api: &mut Description) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token from the daemon's token file"));
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    }
}

/// The description as it is sent.
#[derive(Clone)]
pub(super) struct Document {
    json: Bytes,
    tag: Arc<str>,
}

impl Document {
    pub(super) fn new(api: &Description) -> Self {
        let json = api.to_pretty_json().expect("string keys only");
        Self {
            tag: answer::tag_of(&json).into(),
            json: json.into(),
        }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.json).into_owned()
    }
}

pub(super) async fn openapi(
    Extension(document): Extension<Document>,
    headers: HeaderMap,
) -> Response {
    answer::json(&headers, &document.tag, || document.json.clone())
}
