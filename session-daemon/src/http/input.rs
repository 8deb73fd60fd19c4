//! What comes from outside: ids, queries and bodies, each checked before use.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use session_core::SessionId;

use super::problem::Problem;

/// How long a body may take to come.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// The longest body, in bytes: a command line with its prompt fits, and no
/// record holds more.
pub(super) const MAX_BODY: usize = 1 << 20;

/// The id in the path.
pub(super) struct Id(pub(super) SessionId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
        let id = SessionId::parse(&text);
        id.map(Self)
            .map_err(|error| Problem::bad_request(error.to_string()))
    }
}

/// The query, of which every part must be known.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let parsed = serde_html_form::from_str(query);
        parsed
            .map(Self)
            .map_err(|error| Problem::bad_request(format!("in the query: {error}")))
    }
}

/// A JSON body, of which every part must be known. It has to say that it is JSON:
/// a page of another site cannot say so without asking first, and is refused then.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::not_json(
                "send the header `Content-Type: application/json`",
            ));
        }
        // What is announced need not come first.
        if announced(request.headers()).is_some_and(|len| len > MAX_BODY as u64) {
            return Err(too_large());
        }
        let body = Bytes::from_request(request, state);
        let body = match tokio::time::timeout(BODY_DEADLINE, body).await {
            Err(_) => {
                let seconds = BODY_DEADLINE.as_secs();
                return Err(Problem::too_slow(format!("not within {seconds} s")));
            }
            Ok(Err(rejection)) => return Err(body_problem(&rejection)),
            Ok(Ok(body)) => body,
        };
        // serde would take an array for a structure, field by field.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(Problem::bad_request("in the body: expected an object"));
        }
        parse(&body)
            .map(Self)
            .map_err(|why| Problem::bad_request(format!("in the body: {why}")))
    }
}

/// Reads JSON; what is wrong is told with the field that it is in.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    Ok(value)
}

fn body_problem(rejection: &BytesRejection) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => too_large(),
        other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        other => Problem::bad_request(other.body_text()),
    }
}

fn too_large() -> Problem {
    Problem::too_large(format!("at most {MAX_BODY} bytes are read"))
}

/// The length that the body is said to have.
fn announced(headers: &HeaderMap) -> Option<u64> {
    let len = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    len.parse().ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else {
        return false;
    };
    let content_type = content_type.to_str().unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}
