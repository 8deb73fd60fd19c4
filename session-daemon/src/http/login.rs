//! `GET /login/{link}`: a browser exchanges a one-time link for a cookie.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::App;
use super::guard::COOKIE;
use super::problem::Problem;
use crate::access::COOKIE_LIFETIME;

pub(super) async fn login(
    State(app): State<Arc<App>>,
    method: Method,
    link: Result<Path<String>, PathRejection>,
) -> Response {
    if method == Method::HEAD {
        // Whoever only looks does not use it up.
        return Problem::method_not_allowed().into_response();
    }
    // What is not even text is no link of ours.
    let link = link.map_or_else(|_| String::new(), |Path(link)| link);
    let cookie = match app.access.redeem(&link) {
        Ok(Some(cookie)) => cookie,
        Ok(None) => {
            return Problem::wrong_link(
                "it was used already, or is too old; restart for a new one",
            )
            .into_response();
        }
        Err(error) => return Problem::internal(error.to_string()).into_response(),
    };
    let seconds = COOKIE_LIFETIME.as_secs();
    let cookie = format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}");
    (
        StatusCode::SEE_OTHER,
        [
            (header::SET_COOKIE, cookie),
            (header::LOCATION, "/api/v1/sessions".to_owned()),
            (header::CACHE_CONTROL, "no-store".to_owned()),
        ],
    )
        .into_response()
}
