//! The daemon as a whole: from its configuration to its end.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use crate::access::{Access, TokenError};
use crate::growth::Growth;
use crate::http::{self, App, Counters, Hosts, MAX_CHANGES, MAX_FOLLOWERS};
use crate::index::Index;
use crate::launch::Launcher;
use crate::listen::{ListenError, Listeners};
use crate::server;
use crate::watch::{Projects, Watcher};

/// What the daemon is to do.
pub struct Config {
    /// What it serves.
    pub projects: Projects,
    /// The port that it listens on, where the service manager opened none for it.
    pub listen: Option<SocketAddr>,
    /// The Unix socket that it listens on, as well.
    pub unix: Option<PathBuf>,
    /// Where the token stands.
    pub token_file: PathBuf,
    /// Whether a token is made where there is none.
    pub create_token: bool,
    /// Further names (`NAME` or `NAME:PORT`) by which clients call this server.
    pub allowed_hosts: Vec<String>,
    /// What starts sessions; without one, none are started from here.
    pub launcher: Option<Arc<dyn Launcher>>,
}

/// The daemon could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It cannot be reached.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// It has no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The system refused.
    #[error("cannot {attempt}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

fn cannot(attempt: &'static str) -> impl FnOnce(io::Error) -> ServeError {
    move |source| ServeError::Io { attempt, source }
}

/// A daemon that listens, and has read everything once.
pub struct Daemon {
    listeners: Listeners,
    unix: Option<PathBuf>,
    index: Arc<Index>,
    watcher: Watcher,
    access: Access,
    hosts: Hosts,
    launcher: Option<Arc<dyn Launcher>>,
    runtime: Runtime,
    signals: Signals,
}

impl Daemon {
    /// Opens the sockets, the token, and the projects.
    ///
    /// # Errors
    /// [`ServeError`] when one of the first two cannot be had. A project that cannot
    /// be used is served as soon as it can.
    pub fn start(config: Config) -> Result<Self, ServeError> {
        let mut listeners = Listeners::default();
        let inherited = listeners
            .inherit()
            .map_err(cannot("take the sockets of the service manager"))?;
        if !inherited {
            if let Some(address) = config.listen {
                listeners.listen_tcp(address)?;
            }
            if let Some(path) = &config.unix {
                listeners.listen_unix(path)?;
            }
        }
        listeners
            .set_nonblocking()
            .map_err(cannot("prepare the sockets"))?;
        let access = Access::open(config.token_file, config.create_token)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(cannot("start the runtime"))?;
        let epoch = epoch().map_err(cannot("take random bytes"))?;
        let index = Arc::new(Index::new(epoch));
        let watcher = Watcher::start(config.projects, Arc::clone(&index))
            .map_err(cannot("watch the projects"))?;
        // Until here a signal ends it as it ends any program; from here on in order.
        let signals = {
            let _inside = runtime.enter();
            Signals::take().map_err(cannot("listen to signals"))?
        };
        Ok(Self {
            hosts: Hosts::new(listeners.addresses(), config.allowed_hosts),
            listeners,
            unix: config.unix,
            index,
            watcher,
            access,
            launcher: config.launcher,
            runtime,
            signals,
        })
    }

    /// The addresses under which it is reached.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.addresses()
    }

    /// The Unix socket on which it is reached.
    #[must_use]
    pub fn unix(&self) -> Option<&Path> {
        self.unix.as_deref()
    }

    /// The path of a page that signs one browser in, once, within ten minutes.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn login_path(&self) -> io::Result<String> {
        Ok(format!("/login/{}", self.access.new_link()?))
    }

    /// Serves until SIGTERM or SIGINT, then lets clients finish for a few seconds.
    /// SIGHUP reads the token, the registry and all projects again.
    ///
    /// # Errors
    /// When the system takes a socket back.
    pub fn run(self) -> Result<(), ServeError> {
        let Self {
            listeners,
            index,
            watcher,
            access,
            hosts,
            launcher,
            runtime,
            signals,
            ..
        } = self;
        let (end, ending) = watch::channel(false);
        let app = Arc::new(App {
            index,
            watcher,
            access,
            hosts,
            launcher,
            growth: Growth::default(),
            counters: Counters::default(),
            followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            changes: Arc::new(Semaphore::new(MAX_CHANGES)),
            ending,
        });
        let ended = runtime.block_on(serve(&listeners, app, signals, end));
        // What still waits for an owner is not waited for.
        runtime.shutdown_timeout(Duration::ZERO);
        ended
    }
}

/// Serves until a signal says to end.
async fn serve(
    listeners: &Listeners,
    app: Arc<App>,
    mut signals: Signals,
    end: watch::Sender<bool>,
) -> Result<(), ServeError> {
    let router = http::router(Arc::clone(&app));
    let server = server::serve(listeners, router, &app).map_err(cannot("listen"))?;
    tokio::spawn(feed_watchdog(Arc::clone(&app)));
    tell_manager(&[NotifyState::Ready]);
    while let Signal::Reread = signals.next().await {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell_manager(&[NotifyState::Reloading, now]);
        }
        tokio::select! {
            () = reread(&app) => {}
            () = signals.end() => break,
        }
        tell_manager(&[NotifyState::Ready]);
    }
    tracing::info!("ending");
    tell_manager(&[NotifyState::Stopping]);
    // Whoever listens takes it; nobody has to.
    let _ = end.send(true);
    tokio::select! {
        () = server.ended() => {}
        () = signals.end() => tracing::info!("not waiting for clients"),
    }
    Ok(())
}

/// A word that no other daemon has: what it numbers is not mistaken for another's.
fn epoch() -> io::Result<String> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

async fn reread(app: &App) {
    if let Err(error) = app.access.reread() {
        tracing::error!("{}", session_core::error_chain(&error));
    }
    app.watcher.reread().await;
    tracing::info!("read everything again");
}

/// Tells the service manager that we live, as often as it wants to know: which is
/// true only as long as both the runtime and the watcher come by.
async fn feed_watchdog(app: Arc<App>) {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut interval = tokio::time::interval(interval / 2);
    loop {
        interval.tick().await;
        app.watcher.ping().await;
        tell_manager(&[NotifyState::Watchdog]);
    }
}

/// Without a service manager, nobody is told.
fn tell_manager(state: &[NotifyState]) {
    let _ = sd_notify::notify(state);
}

/// What somebody wants of the daemon.
enum Signal {
    Reread,
    End,
}

struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
}

impl Signals {
    fn take() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until it is to end. That it is to read again is kept for later.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.term.recv() => Signal::End,
            _ = self.int.recv() => Signal::End,
            _ = self.hup.recv() => Signal::Reread,
        }
    }
}
