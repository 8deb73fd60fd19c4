//! Accepting connections, and serving each with its limits: a deadline for its
//! headers, a length for them, and a client that must go on reading.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use session_core::control;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;

use crate::connections::{Busy, Connection, Connections, Patient};
use crate::http::{App, Peer};
use crate::listen::Listeners;

/// How long a client may take to send a request's headers.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// How much of them is read, in bytes.
const MAX_HEADERS_LEN: usize = 16 << 10;
/// How many there may be.
const MAX_HEADERS: usize = 64;
/// How long clients may take to finish once the daemon ends.
const DRAIN: Duration = Duration::from_secs(4);
/// The pause after the system refused a connection.
const BREATH: Duration = Duration::from_millis(50);

/// A server that accepts connections.
pub(crate) struct Server {
    /// Closed once the last connection is.
    alive: mpsc::Receiver<()>,
}

impl Server {
    /// Waits until all clients have finished, or a few seconds.
    pub(crate) async fn ended(mut self) {
        // Nobody ever sends anything: it ends with the last sender.
        let _ = tokio::time::timeout(DRAIN, self.alive.recv()).await;
    }
}

/// What all connections share.
#[derive(Clone)]
struct Shared {
    router: Router,
    app: Arc<App>,
    connections: Arc<Connections>,
    numbers: Arc<AtomicU64>,
    ending: watch::Receiver<bool>,
    /// Dropped with the last connection.
    _alive: mpsc::Sender<()>,
}

/// Serves `router` on all sockets until the app is ending.
pub(crate) fn serve(listeners: &Listeners, router: Router, app: &Arc<App>) -> io::Result<Server> {
    let (sender, alive) = mpsc::channel(1);
    let shared = Shared {
        router,
        app: Arc::clone(app),
        connections: Arc::new(Connections::new()),
        numbers: Arc::default(),
        ending: app.ending.clone(),
        _alive: sender,
    };
    for listener in &listeners.tcp {
        let listener = TcpListener::from_std(listener.try_clone()?)?;
        tokio::spawn(accept_tcp(listener, shared.clone()));
    }
    for listener in &listeners.unix {
        let listener = UnixListener::from_std(listener.try_clone()?)?;
        tokio::spawn(accept_unix(listener, shared.clone()));
    }
    Ok(Server { alive })
}

async fn accept_tcp(listener: TcpListener, mut shared: Shared) {
    while let Some(accepted) = shared.accept(listener.accept()).await {
        let Some((stream, _)) = accepted else {
            continue;
        };
        // What is sent is sent whole; where that is refused, it is only slower.
        let _ = stream.set_nodelay(true);
        shared.take_in(stream, Peer::Anybody);
    }
}

async fn accept_unix(listener: UnixListener, mut shared: Shared) {
    while let Some(accepted) = shared.accept(listener.accept()).await {
        let Some((stream, _)) = accepted else {
            continue;
        };
        match control::peer(&stream) {
            Ok((uid, _)) if uid == rustix::process::geteuid().as_raw() => {
                shared.take_in(stream, Peer::Ourselves);
            }
            Ok((uid, _)) => tracing::warn!(uid, "refused another user"),
            Err(error) => tracing::warn!(%error, "refused a connection of nobody"),
        }
    }
}

impl Shared {
    /// The next connection; `Some(None)` when there was none to be had, `None` once
    /// the daemon ends.
    async fn accept<T>(
        &mut self,
        accepted: impl Future<Output = io::Result<T>>,
    ) -> Option<Option<T>> {
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            _ = self.ending.wait_for(|ending| *ending) => return None,
        };
        match accepted {
            Ok(accepted) => Some(Some(accepted)),
            // It went away before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Some(None),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                self.connections.make_room();
                tokio::time::sleep(BREATH).await;
                Some(None)
            }
        }
    }

    fn take_in<S>(&self, stream: S, peer: Peer)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let Some(admission) = self.connections.admit(number) else {
            // Every connection is in use: this one is closed.
            return;
        };
        let counters = &self.app.counters;
        counters.connections_ever.fetch_add(1, Ordering::Relaxed);
        counters
            .evicted
            .fetch_add(admission.evicted.into(), Ordering::Relaxed);
        let shared = self.clone();
        tokio::spawn(async move {
            let counters = &shared.app.counters;
            counters.connections.fetch_add(1, Ordering::Relaxed);
            shared.attend(stream, peer, &admission.connection).await;
            shared.connections.forget(&admission.connection);
            counters.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Serves one connection until its end.
    async fn attend<S>(&self, stream: S, peer: Peer, connection: &Arc<Connection>)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let busy = connection.busy();
            let router = self.router.clone();
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(peer);
                let answer = router.oneshot(request).await?;
                Ok::<_, std::convert::Infallible>(answer.map(|body| Answer { body, _busy: busy }))
            }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_DEADLINE)
            .max_buf_size(MAX_HEADERS_LEN)
            .max_headers(MAX_HEADERS)
            .serve_connection(Patient::new(TokioIo::new(stream)), service);
        let mut served = std::pin::pin!(served);
        let mut ending = self.ending.clone();
        tokio::select! {
            ended = served.as_mut() => return told(ended),
            () = connection.closed() => return,
            _ = ending.wait_for(|ending| *ending) => {}
        }
        served.as_mut().graceful_shutdown();
        told(served.await);
    }
}

/// An answer's body. Its connection is in use until the last of it is on its way.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What ends a connection is the client's business.
fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {}", session_core::error_chain(&error));
    }
}
