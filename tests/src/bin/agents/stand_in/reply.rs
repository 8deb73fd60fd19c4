//! What is answered, before it is said in some API's words.

use std::convert::Infallible;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::http::{HeaderName, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{AppendHeaders, IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream;
use serde_json::Value;

pub(super) enum Reply {
    Text(String),
    /// A text that nobody ends.
    Beginning(String),
    /// A call of the tool that runs a command.
    Tool(String),
    Refused(Refusal),
}

pub(super) enum Refusal {
    RateLimited { until: u64 },
    Failed { status: u16 },
    TooLong,
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLong => StatusCode::BAD_REQUEST,
            Self::Failed { status } => {
                StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// The refusal with `body`, in some API's words, and with what tells when to come back.
    pub(super) fn response(&self, body: Value) -> Response {
        let mut headers = Vec::new();
        if let Self::RateLimited { until } = self {
            let wait = until.saturating_sub(now());
            let tell = |name, value: String| (HeaderName::from_static(name), value);
            headers.push(tell("retry-after", wait.to_string()));
            headers.push(tell("x-should-retry", "false".to_owned()));
            headers.push(tell(
                "anthropic-ratelimit-unified-status",
                "rejected".into(),
            ));
            headers.push(tell("anthropic-ratelimit-unified-reset", until.to_string()));
            let claim = "anthropic-ratelimit-unified-representative-claim";
            headers.push(tell(claim, "five_hour".to_owned()));
        }
        (self.status(), AppendHeaders(headers), Json(body)).into_response()
    }
}

/// Server-sent events, each with its name (empty: none); without an end if not `whole`.
pub(super) fn events(events: Vec<(&'static str, Value)>, whole: bool) -> Response {
    let event = |(name, data): (&'static str, Value)| {
        let event = Event::default().data(data.to_string());
        Ok::<_, Infallible>(if name.is_empty() {
            event
        } else {
            event.event(name)
        })
    };
    let events = stream::iter(events.into_iter().map(event).collect::<Vec<_>>());
    match whole {
        true => Sse::new(events).into_response(),
        false => Sse::new(events.chain(stream::pending())).into_response(),
    }
}

/// The texts of a message's content: a string, or an array of blocks with `text`.
pub(super) fn texts(content: &Value) -> Vec<String> {
    let text = |block: &Value| block["text"].as_str().map(str::to_owned);
    match content {
        Value::String(text) => vec![text.clone()],
        Value::Array(blocks) => blocks.iter().filter_map(text).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
