//! `GET /api/v1/events`: what changes, as server-sent events.
//!
//! A client handles three events: `upserted` and `removed`, of one session each,
//! and `resync`, which says: read the listing now, and take what follows from
//! there. It comes first, unless the client names the last event that it has; and
//! whenever more was missed than is remembered.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::problem::{Problem, Refusal};
use super::{App, UNBUFFERED};
use crate::index::{Missed, Sequence};

/// How often a client hears something, so that a broken connection is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How much is sent at once.
const CHUNK: usize = 64 << 10;
/// How long a client waits before it connects again, in milliseconds.
const RETRY: &str = "retry: 1000\n\n";

/// What changes, as it happens
///
/// Server-sent events. `resync`: read `/api/v1/sessions` now; what follows happened
/// after. `upserted`: the session is new or has changed, its data is an element of
/// that listing. `removed`: its data is `project` and `id` (or `file`, for a record
/// that had no id).
#[utoipa::path(
    get, path = "/events", tag = "events",
    params(("Last-Event-ID" = Option<String>, Header, description = "The last event that the client has: what was missed is sent")),
    responses(
        (status = 200, body = String, content_type = "text/event-stream", description = "The events, for as long as the client listens"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Too many clients follow already"),
        Refusal
    )
)]
pub(super) async fn events(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let Ok(permit) = Arc::clone(&app.followers).try_acquire_owned() else {
        return Problem::too_many("too many clients follow events or logs already").into_response();
    };
    let last = headers.get("last-event-id");
    let last = last.and_then(|last| app.index.version_of(last.to_str().ok()?));
    let mut heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let client = Client {
        news: app.index.journal().subscribe(),
        ending: app.ending.clone(),
        heartbeat,
        place: last.map_or(Place::Unknown, Place::Behind),
        greeted: false,
        app,
        _permit: permit,
    };
    let events = stream::unfold(client, async |mut client| {
        let chunk = client.next().await?;
        Some((Ok::<_, Infallible>(chunk), client))
    });
    let content_type = (header::CONTENT_TYPE, "text/event-stream");
    let cache = (header::CACHE_CONTROL, "no-store");
    let body = Body::from_stream(events);
    ([content_type, cache], [UNBUFFERED], body).into_response()
}

/// One client, and how far it has come.
struct Client {
    app: Arc<App>,
    news: watch::Receiver<Sequence>,
    ending: watch::Receiver<bool>,
    heartbeat: tokio::time::Interval,
    place: Place,
    greeted: bool,
    _permit: OwnedSemaphorePermit,
}

#[derive(Clone, Copy)]
enum Place {
    /// It has everything up to this event.
    Behind(Sequence),
    /// It has to read everything.
    Unknown,
}

impl Client {
    /// What to send next; `None` once the daemon ends.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Bytes::from_static(RETRY.as_bytes()));
        }
        loop {
            // From before the look on: what comes after it wakes us.
            self.news.borrow_and_update();
            if let Some(chunk) = self.missed() {
                return Some(chunk);
            }
            tokio::select! {
                news = self.news.changed() => news.ok()?,
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(b": heartbeat\n\n")),
                _ = self.ending.wait_for(|ending| *ending) => return None,
            }
        }
    }

    fn missed(&mut self) -> Option<Bytes> {
        let journal = self.app.index.journal();
        let missed = match self.place {
            Place::Behind(sequence) => journal.since(sequence, CHUNK),
            Place::Unknown => Missed::TooMuch(journal.last()),
        };
        match missed {
            Missed::Events(events, _) if events.is_empty() => None,
            Missed::Events(mut events, last) => {
                self.place = Place::Behind(last);
                if events.len() == 1 {
                    return events.pop();
                }
                let mut chunk = BytesMut::new();
                for event in events {
                    chunk.extend_from_slice(&event);
                }
                Some(chunk.freeze())
            }
            Missed::TooMuch(last) => {
                self.place = Place::Behind(last);
                let id = self.app.index.name_of(last);
                let event = format!("id: {id}\nevent: resync\ndata: {{\"version\":\"{id}\"}}\n\n");
                Some(event.into())
            }
        }
    }
}
