//! `GET /api/v1/sessions/{id}/log`: what an agent printed, or what it prints. Any
//! length costs one chunk of memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use session_core::SessionId;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::IntoParams;

use super::super::input::{Id, Query};
use super::super::problem::{Problem, Refusal, SessionRefusal};
use super::super::{App, UNBUFFERED, answer};
use super::act::blocking;
use super::find;
use crate::growth::Growing;

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// Which part of the log, and whether to go on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Part {
    /// The project's directory; needed only where two projects have sessions of one id.
    project: Option<String>,
    /// How many bytes to leave out at the beginning.
    offset: Option<u64>,
    /// How many bytes at most.
    limit: Option<u64>,
    /// Go on with what the agent prints until the session ends.
    follow: bool,
}

/// What the agent printed
///
/// A part of it with `Range: bytes=…`, or with `offset` and `limit`.
#[utoipa::path(
    get, path = "/sessions/{id}/log", tag = "sessions",
    params(("id" = String, Path, description = "The session's id", pattern = "^[a-z0-9][a-z0-9_-]{0,63}$"), Part),
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "The log, or the part that was asked for"),
        (status = 206, body = String, content_type = "text/plain", description = "The range that was asked for"),
        (status = 304, description = "The client has it"),
        (status = 416, body = Problem, content_type = "application/problem+json", description = "The range lies behind the end"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Too many clients follow already"),
        Refusal, SessionRefusal
    )
)]
pub(super) async fn log(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Id(id): Id,
    Query(part): Query<Part>,
) -> Result<Response, Problem> {
    let entry = find(&app, &id, part.project.as_deref())?;
    let project = Arc::clone(&entry.project);
    // Nobody can have a part of it that surely fits: its tags are weak (RFC 9110, 13.1.5).
    let range = headers.get(header::RANGE);
    let range = range.filter(|_| !headers.contains_key(header::IF_RANGE));
    let picked = part.offset.is_some() || part.limit.is_some();
    if range.is_some() && (picked || part.follow) {
        return Err(Problem::bad_request(
            "a Range cannot be combined with offset, limit or follow",
        ));
    }
    if part.follow {
        return follow(&app, project, id, &part).await;
    }
    let Some(log) = open(&project, &id).await? else {
        // It has printed nothing: nobody has begun to start it.
        return Ok(text(StatusCode::OK, None, Body::empty()));
    };
    let metadata = log.metadata().map_err(|error| unreadable(&error))?;
    let len = metadata.len();
    let changed = (metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), len);
    let tag = answer::tag_of(changed);
    if answer::is_known(&headers, &tag) {
        return Ok(answer::not_modified(&tag));
    }
    let asked = range.and_then(|range| range.to_str().ok());
    let (status, start, end) = match asked.and_then(|range| parse_range(range, len)) {
        Some(Some((start, end))) => (StatusCode::PARTIAL_CONTENT, start, end),
        Some(None) => return Err(Problem::range_not_satisfiable(len)),
        // What is not understood is not there (RFC 9110, 14.2).
        None => {
            let start = part.offset.unwrap_or(0).min(len);
            let end = start
                .saturating_add(part.limit.unwrap_or(u64::MAX))
                .min(len);
            (StatusCode::OK, start, end)
        }
    };
    let reader = Reader { log, offset: start };
    let chunks = stream::unfold((reader, end), async |(mut reader, end)| {
        match reader.next(end).await {
            Ok(chunk) if chunk.is_empty() => None,
            chunk => Some((chunk, (reader, end))),
        }
    });
    // Fused: whoever compresses it asks again after its end.
    let body = Body::from_stream(chunks.fuse());
    let mut answer = text(status, Some(end - start), body);
    let headers = answer.headers_mut();
    headers.extend([answer::etag(&tag)]);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{len}", end - 1);
        let range = HeaderValue::from_str(&range).expect("digits");
        headers.insert(header::CONTENT_RANGE, range);
    }
    Ok(answer)
}

async fn open(project: &Arc<Path>, id: &SessionId) -> Result<Option<Arc<File>>, Problem> {
    let id = id.clone();
    let log = blocking(project, move |manager| {
        manager.open_log(&id).map_err(|error| unreadable(&error))
    });
    Ok(log.await?.map(Arc::new))
}

fn unreadable(error: &io::Error) -> Problem {
    Problem::internal(format!("cannot read the log: {error}"))
}

/// Text, whatever an agent printed: a browser must not take it for a page.
fn text(status: StatusCode, len: Option<u64>, body: Body) -> Response {
    let content_type = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
    let mut answer = (status, [content_type], body).into_response();
    if let Some(len) = len {
        answer
            .headers_mut()
            .insert(header::CONTENT_LENGTH, len.into());
    }
    answer
}

/// The one range that was asked for, from its first byte to behind its last;
/// `Some(None)` when it lies behind the end, `None` when it is not understood.
fn parse_range(range: &str, len: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = range.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More than any file has is behind its end.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (start, end) = match (first, last) {
        ("", last) => (len.saturating_sub(number(last)?), len),
        (first, "") => (number(first)?, len),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(len))
        }
    };
    Some((start < end).then_some((start, end)))
}

/// A log that is read in order.
struct Reader {
    log: Arc<File>,
    offset: u64,
}

impl Reader {
    /// The next chunk before `end`; empty when there is none.
    async fn next(&mut self, end: u64) -> io::Result<Bytes> {
        let left = usize::try_from(end.saturating_sub(self.offset)).unwrap_or(CHUNK);
        let (log, offset) = (Arc::clone(&self.log), self.offset);
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; left.min(CHUNK)];
            let n = log.read_at(&mut chunk, offset)?;
            chunk.truncate(n);
            io::Result::Ok(chunk)
        });
        let chunk = read.await.map_err(io::Error::other)??;
        self.offset += chunk.len() as u64;
        Ok(chunk.into())
    }
}

async fn follow(
    app: &Arc<App>,
    project: Arc<Path>,
    id: SessionId,
    part: &Part,
) -> Result<Response, Problem> {
    let Ok(permit) = Arc::clone(&app.followers).try_acquire_owned() else {
        return Err(Problem::too_many(
            "too many clients follow events or logs already",
        ));
    };
    // No file is longer, and beyond it nothing can be read (pread(2)).
    let offset = part.offset.unwrap_or(0).min(i64::MAX as u64);
    let mut follower = Follower {
        news: app.index.journal().subscribe(),
        ending: app.ending.clone(),
        app: Arc::clone(app),
        project,
        id,
        log: None,
        end: offset.saturating_add(part.limit.unwrap_or(u64::MAX)),
        offset,
        was_reached: false,
        is_last: false,
        _permit: permit,
    };
    // What cannot be read is told in an answer, not in the middle of one.
    follower.open().await?;
    let chunks = stream::unfold(follower, async |mut follower| match follower.next().await {
        Ok(chunk) if chunk.is_empty() => None,
        chunk => Some((chunk, follower)),
    });
    let mut answer = text(StatusCode::OK, None, Body::from_stream(chunks.fuse()));
    let no_store = HeaderValue::from_static("no-store");
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, no_store);
    headers.extend([UNBUFFERED]);
    Ok(answer)
}

/// One client that follows one log.
struct Follower {
    app: Arc<App>,
    project: Arc<Path>,
    id: SessionId,
    /// `None` until there is one.
    log: Option<(Reader, Growing)>,
    offset: u64,
    /// Whether the log ever was as long as that.
    was_reached: bool,
    end: u64,
    news: watch::Receiver<u64>,
    ending: watch::Receiver<bool>,
    /// Whether the session had ended before the last look at its log.
    is_last: bool,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// What comes next; nothing once the session has ended.
    async fn next(&mut self) -> io::Result<Bytes> {
        loop {
            self.news.borrow_and_update();
            let chunk = self.read().await?;
            let is_whole = |(reader, _): &(Reader, _)| reader.offset >= self.end;
            if !chunk.is_empty() || self.is_last || self.log.as_ref().is_some_and(is_whole) {
                return Ok(chunk);
            }
            let entry = self.app.index.get(&self.project, self.id.as_str());
            if entry.is_none_or(|entry| !entry.active) {
                // What it printed last may have come since.
                self.is_last = true;
                continue;
            }
            let grown = async {
                match &mut self.log {
                    Some((_, growing)) => growing.grown().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = grown => {}
                _ = self.news.changed() => {}
                _ = self.ending.wait_for(|ending| *ending) => return Ok(Bytes::new()),
            }
        }
    }

    /// Opens the log, if there is one by now.
    async fn open(&mut self) -> Result<(), Problem> {
        self.log = open(&self.project, &self.id).await?.map(|log| {
            let growing = self.app.growth.follow(&log);
            let offset = self.offset;
            (Reader { log, offset }, growing)
        });
        Ok(())
    }

    /// What is there now; nothing where nobody has begun to print.
    async fn read(&mut self) -> io::Result<Bytes> {
        if self.log.is_none() {
            let opened = self.open().await;
            opened.map_err(|_| io::Error::other("cannot open the log"))?;
        }
        let Some((reader, growing)) = &mut self.log else {
            return Ok(Bytes::new());
        };
        growing.seen();
        let chunk = reader.next(self.end).await?;
        let len = reader.log.metadata()?.len();
        self.was_reached |= len >= reader.offset;
        if chunk.is_empty() && len < reader.offset && self.was_reached {
            // Somebody emptied the log: what is there now is all new.
            reader.offset = 0;
            return reader.next(self.end).await;
        }
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_rfc_9110_has_them() {
        let check = |range: &str, expected| assert_eq!(parse_range(range, 10), expected, "{range}");
        check("bytes=0-", Some(Some((0, 10))));
        check("bytes=0-0", Some(Some((0, 1))));
        check("bytes=2-4", Some(Some((2, 5))));
        check("bytes=2-400", Some(Some((2, 10))));
        check("bytes=-3", Some(Some((7, 10))));
        check("bytes=-30", Some(Some((0, 10))));
        check("bytes=10-", Some(None));
        check("bytes=-0", Some(None));
        check("bytes=99999999999999999999-", Some(None));
        for not_understood in [
            "bytes=4-2",
            "bytes=-",
            "bytes=a-b",
            "lines=1-2",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "",
        ] {
            check(not_understood, None);
        }
        assert_eq!(parse_range("bytes=0-", 0), Some(None));
    }
}
