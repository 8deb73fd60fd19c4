//! Connections, few enough for any machine: one that does nothing has to make room
//! for one that may, and one that stops reading is closed.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// How many connections there are at most, where enough files may be open.
const MAX_CONNECTIONS: usize = 1024;
/// Their share of the files that may be open: the rest is for the sessions.
const SHARE: u64 = 4;
/// How long a client may let us wait that reads nothing of what it asked for.
const STALL: Duration = Duration::from_secs(20);

/// All connections.
#[derive(Debug)]
pub(crate) struct Connections {
    all: Mutex<HashMap<u64, Arc<Connection>>>,
    max: usize,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Connection {
    number: u64,
    /// Requests that are being answered.
    busy: AtomicUsize,
    /// When there last was one.
    idle_since: Mutex<Instant>,
    closed: Notify,
}

/// As long as this is there, a request is being answered.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Connection>);

impl Connections {
    /// As many as the limit of open files leaves room for.
    pub(crate) fn new() -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let share = files.map_or(MAX_CONNECTIONS as u64, |files| files / SHARE);
        Self {
            all: Mutex::default(),
            max: usize::try_from(share).map_or(MAX_CONNECTIONS, |share| share.min(MAX_CONNECTIONS)),
        }
    }

    /// Takes a new connection in; `None` when all others are in use.
    pub(crate) fn admit(&self, number: u64) -> Option<Admission> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let evicted = if all.len() >= self.max {
            Some(evict(&mut all)?)
        } else {
            None
        };
        let connection = Arc::new(Connection {
            number,
            busy: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
            closed: Notify::new(),
        });
        all.insert(number, Arc::clone(&connection));
        Some(Admission {
            connection,
            evicted: evicted.is_some(),
        })
    }

    /// Closes the connection that has been idle the longest, if one is.
    pub(crate) fn make_room(&self) -> bool {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        evict(&mut all).is_some()
    }

    /// Forgets a connection that has ended.
    pub(crate) fn forget(&self, connection: &Connection) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&connection.number);
    }
}

/// A connection that was taken in.
pub(crate) struct Admission {
    pub(crate) connection: Arc<Connection>,
    /// Whether another had to go for it.
    pub(crate) evicted: bool,
}

fn evict(all: &mut HashMap<u64, Arc<Connection>>) -> Option<()> {
    let idle = all
        .values()
        .filter(|connection| connection.busy.load(Ordering::Relaxed) == 0);
    let oldest = idle.min_by_key(|connection| connection.idle_since())?;
    let oldest = Arc::clone(oldest);
    oldest.closed.notify_one();
    all.remove(&oldest.number);
    Some(())
}

impl Connection {
    /// Marks the connection as in use until what is returned is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Waits until it has to make room.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    fn idle_since(&self) -> Instant {
        *self
            .idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut idle_since = self
            .0
            .idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *idle_since = Instant::now();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that fails once nobody has taken anything from it for [`STALL`].
pub(crate) struct Patient<T> {
    inner: T,
    /// Running while the other side lets us wait.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Patient<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self {
            inner,
            stalled: None,
        }
    }

    fn watch<R>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: Read + Unpin> Read for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for Patient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch(cx, polled)
    }
}
