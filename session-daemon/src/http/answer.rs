//! Answers that are JSON already, and those that a client has already.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

/// A weak entity tag: equal as long as the answer means the same (RFC 9110, 8.8.3).
pub(super) fn tag(version: impl std::fmt::Display) -> String {
    format!("W/\"{version}\"")
}

/// The tag of an answer that is known by its content.
pub(super) fn tag_of(content: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    tag(format_args!("{:016x}", hasher.finish()))
}

/// Whether the client has the answer with this tag.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim() == "*" || weak(known) == weak(tag))
}

/// JSON with its tag, or the word that the client has it.
pub(super) fn json(request: &HeaderMap, tag: &str, body: impl FnOnce() -> Bytes) -> Response {
    if is_known(request, tag) {
        return not_modified(tag);
    }
    let content_type = (
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    ([content_type, etag(tag)], Body::from(body())).into_response()
}

/// The word that the client has what it asks for.
pub(super) fn not_modified(tag: &str) -> Response {
    (StatusCode::NOT_MODIFIED, [etag(tag)]).into_response()
}

/// The header of a tag.
pub(super) fn etag(tag: &str) -> (HeaderName, HeaderValue) {
    let tag = HeaderValue::from_str(tag).expect("a tag of digits and dashes");
    (header::ETAG, tag)
}

/// JSON that is true of this moment only.
pub(super) fn json_now(status: StatusCode, body: impl Into<Body>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (status, content_type, body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_has() {
        let check = |header: &str, expected| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, header.parse().expect("a header"));
            assert_eq!(is_known(&headers, "W/\"a-1\""), expected, "{header}");
        };
        check("W/\"a-1\"", true);
        check("\"a-1\"", true);
        check("\"b\", W/\"a-1\"", true);
        check("*", true);
        check("\"a-2\"", false);
        check("a-1", false);
        assert!(!is_known(&HeaderMap::new(), "W/\"a-1\""));
    }
}
