//! Refusals as problem documents (RFC 9457), one kind per cause.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// Why a request was not done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Which kind of problem, as a URI: `urn:monoco:problem:` and a word.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The kind, in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What was wrong with this request.
    detail: String,
    #[serde(skip)]
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $status:ident, $kind:literal, $title:literal;)*) => {
        impl Problem {
            $(
                $(#[$doc])*
                pub(crate) fn $name(detail: impl Into<String>) -> Self {
                    Self {
                        kind: concat!("urn:monoco:problem:", $kind),
                        title: $title,
                        status: StatusCode::$status.as_u16(),
                        detail: detail.into(),
                        header: None,
                    }
                }
            )*
        }
    };
}

kinds! {
    bad_request: BAD_REQUEST, "bad-request", "The request cannot be understood";
    wrong_host: FORBIDDEN, "wrong-host", "The request is not for this server";
    wrong_origin: FORBIDDEN, "wrong-origin", "The request comes from another site";
    only_looking: FORBIDDEN, "only-looking", "A browser's cookie is for looking only";
    wrong_link: FORBIDDEN, "wrong-link", "The link is not valid any more";
    not_found: NOT_FOUND, "not-found", "There is no such thing";
    no_such_session: NOT_FOUND, "no-such-session", "There is no such session";
    ambiguous: CONFLICT, "ambiguous", "More than one session has this id";
    conflict: CONFLICT, "conflict", "The session is not in a state that allows it";
    damaged: CONFLICT, "damaged", "The session's record cannot be read";
    too_large: PAYLOAD_TOO_LARGE, "too-large", "The request's body is too large";
    too_slow: REQUEST_TIMEOUT, "too-slow", "The request's body did not come in time";
    not_json: UNSUPPORTED_MEDIA_TYPE, "not-json", "The request's body has to be JSON";
    not_started: UNPROCESSABLE_ENTITY, "not-started", "The session could not be started";
    invalid: UNPROCESSABLE_ENTITY, "invalid", "A value is not allowed";
    internal: INTERNAL_SERVER_ERROR, "internal", "The daemon could not do it";
    too_many: SERVICE_UNAVAILABLE, "too-many", "Too many clients at once";
    no_launcher: NOT_IMPLEMENTED, "no-launcher", "This daemon does not start sessions";
    unresponsive: GATEWAY_TIMEOUT, "unresponsive", "The session's owner does not answer";
}

impl Problem {
    pub(crate) fn unauthorized() -> Self {
        Self {
            kind: "urn:monoco:problem:unauthorized",
            title: "The token is missing or wrong",
            status: StatusCode::UNAUTHORIZED.as_u16(),
            detail: "send `Authorization: Bearer TOKEN`, with the token from the token file"
                .to_owned(),
            header: Some(Box::new((
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"monoco\""),
            ))),
        }
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self {
            kind: "urn:monoco:problem:method-not-allowed",
            title: "The method is not allowed here",
            status: StatusCode::METHOD_NOT_ALLOWED.as_u16(),
            detail: "the Allow header lists the methods that are".to_owned(),
            header: None,
        }
    }

    pub(crate) fn range_not_satisfiable(len: u64) -> Self {
        let range = HeaderValue::from_str(&format!("bytes */{len}")).expect("digits");
        Self {
            kind: "urn:monoco:problem:range-not-satisfiable",
            title: "The range lies behind the end",
            status: StatusCode::RANGE_NOT_SATISFIABLE.as_u16(),
            detail: format!("the log has {len} bytes"),
            header: Some(Box::new((header::CONTENT_RANGE, range))),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("one of the constants above");
        let body = serde_json::to_vec(&self).expect("string keys only");
        let content_type = (header::CONTENT_TYPE, "application/problem+json");
        let mut response = (status, [content_type], body).into_response();
        if let Some((name, value)) = self.header.map(|header| *header) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// What any request may be answered with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described here")]
pub(crate) enum Refusal {
    /// The request cannot be understood.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// The token is missing or wrong.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// The request is for another server, or comes from another site.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
}

/// What a request about one session may be answered with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described here")]
pub(crate) enum SessionRefusal {
    /// There is no such session.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// More than one project has a session with this id, its record is damaged, or
    /// its state does not allow it.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// The daemon could not do it.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Problem),
}

/// What a request to change something may be answered with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described here")]
pub(crate) enum ChangeRefusal {
    /// The body did not come in time.
    #[response(status = 408, content_type = "application/problem+json")]
    TooSlow(Problem),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(Problem),
    /// A value is not allowed, or the program cannot be started.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Problem),
    /// Too many changes have not ended yet.
    #[response(status = 503, content_type = "application/problem+json")]
    TooMany(Problem),
    /// The session's owner does not answer.
    #[response(status = 504, content_type = "application/problem+json")]
    Unresponsive(Problem),
}
