//! The watcher: one thread that keeps the index as the disk is.
//!
//! It sleeps in one `epoll` on the projects' change feeds, on a pidfd for every
//! owner (or orphan) that lives, and on the places where projects may appear. A
//! notification is a hint where to look; what is true is read from the record and
//! from the lease. Where notifications cannot be relied on, everything is looked
//! through again every few seconds.
//!
//! It writes no record, and never waits for an owner.

mod ear;
mod place;
mod project;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use session_core::{Registry, SessionId};
use tokio::sync::oneshot;

use self::place::Places;
use self::project::Project;
use crate::index::Index;

/// How often to look for projects that are missing: that a disk is mounted, nobody
/// tells, nor what happens in a directory that may not be read.
const SEARCH: Duration = Duration::from_secs(3);
/// How often it is looked at once whether something has moved meanwhile.
const ROUNDS: usize = 8;
/// How many events are taken from the kernel at once.
const BATCH: usize = 256;
const WAKE: u64 = 0;
const PLACES: u64 = 1;
const FIRST_SOURCE: u64 = 2;

/// Which projects are served.
#[derive(Debug, Clone)]
pub enum Projects {
    /// These, whether they exist already or not. Absolute paths.
    These(Vec<PathBuf>),
    /// All that were ever noted on this account, also from now on.
    Registered(Registry),
}

impl Projects {
    fn paths(&self) -> io::Result<BTreeSet<PathBuf>> {
        match self {
            Self::These(paths) => Ok(paths.iter().cloned().collect()),
            Self::Registered(registry) => Ok(registry.projects()?.into_iter().collect()),
        }
    }
}

/// What the watcher is asked.
enum Command {
    /// To look at a session now.
    Look(Arc<Path>, SessionId, oneshot::Sender<()>),
    /// To look through everything again.
    Reread(oneshot::Sender<()>),
    /// To say that it lives.
    Ping(oneshot::Sender<()>),
    Stop,
}

/// What the watcher has done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Sessions that were looked at because something hinted at them.
    pub(crate) looks: AtomicU64,
    /// Projects that were looked through.
    pub(crate) scans: AtomicU64,
    /// Deaths of owners and orphans that were seen.
    pub(crate) deaths: AtomicU64,
}

/// How a project is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Everything that changes is told.
    Watched,
    /// It is looked through every few seconds.
    Rescanned,
    /// It is not there; once it is, it is served.
    Missing,
    /// It is there, and cannot be used.
    Unusable(String),
}

/// The watcher's thread, as others reach it.
#[derive(Debug)]
pub(crate) struct Watcher {
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
    conditions: Arc<Mutex<BTreeMap<Arc<Path>, Condition>>>,
    counters: Arc<Counters>,
}

impl Watcher {
    /// Reads everything once, and goes on in a thread of its own.
    pub(crate) fn start(projects: Projects, index: Arc<Index>) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (sender, commands) = mpsc::channel();
        let (conditions, counters) = (Arc::default(), Arc::default());
        let mut watch = Watch {
            projects: BTreeMap::new(),
            source: projects,
            places: Places::open(),
            search_at: None,
            is_settled: true,
            sources: Sources::new(&wake)?,
            wake: Arc::clone(&wake),
            commands,
            eyes: Eyes {
                index,
                has_moved: Cell::new(false),
                counters: Arc::clone(&counters),
                conditions: Arc::clone(&conditions),
            },
        };
        if let Some(fd) = watch.places.as_fd() {
            watch.sources.listen(PLACES, fd)?;
        }
        watch.reread();
        std::thread::Builder::new()
            .name("watcher".to_owned())
            .spawn(move || watch.run())?;
        Ok(Self {
            commands: sender,
            wake,
            conditions,
            counters,
        })
    }

    /// Looks at a session now; when this returns, the index shows it as it is.
    pub(crate) async fn look(&self, project: Arc<Path>, id: SessionId) {
        self.ask(|done| Command::Look(project, id, done)).await;
    }

    /// Looks through everything again.
    pub(crate) async fn reread(&self) {
        self.ask(Command::Reread).await;
    }

    /// Returns once the watcher has come by.
    pub(crate) async fn ping(&self) {
        self.ask(Command::Ping).await;
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How each project is doing.
    pub(crate) fn conditions(&self) -> BTreeMap<Arc<Path>, Condition> {
        let conditions = self.conditions.lock();
        conditions.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, answer) = oneshot::channel();
        self.send(command(done));
        // A watcher that stops answers nobody, and nobody waits for it.
        let _ = answer.await;
    }

    fn send(&self, command: Command) {
        // As above.
        let _ = self.commands.send(command);
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It is not waited for: it may be in a filesystem that does not answer.
        self.send(Command::Stop);
    }
}

/// Where the watcher's looks go.
struct Eyes {
    index: Arc<Index>,
    /// Whether a project was opened or closed since somebody looked.
    has_moved: Cell<bool>,
    counters: Arc<Counters>,
    conditions: Arc<Mutex<BTreeMap<Arc<Path>, Condition>>>,
}

impl Eyes {
    fn set_condition(&self, project: &Arc<Path>, condition: Option<Condition>) {
        let conditions = self.conditions.lock();
        let mut conditions = conditions.unwrap_or_else(PoisonError::into_inner);
        let before = match condition.clone() {
            Some(condition) => conditions.insert(Arc::clone(project), condition),
            None => conditions.remove(project),
        };
        if before != condition {
            self.has_moved.set(true);
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What the thread has.
struct Watch {
    projects: BTreeMap<Arc<Path>, Project>,
    source: Projects,
    places: Places,
    /// When to look for projects that nothing tells of.
    search_at: Option<Instant>,
    /// Whether everything that was found is watched.
    is_settled: bool,
    sources: Sources,
    wake: Arc<OwnedFd>,
    commands: mpsc::Receiver<Command>,
    eyes: Eyes,
}

impl Watch {
    fn run(mut self) {
        loop {
            let deadlines = self.projects.values().filter_map(Project::deadline);
            self.search_at = match self.search_at {
                _ if !self.is_searching() => None,
                None => Some(Instant::now() + SEARCH),
                planned => planned,
            };
            let deadline = deadlines.chain(self.search_at).min();
            for token in self.sources.wait(deadline) {
                match token {
                    WAKE => {
                        if !self.obey() {
                            return;
                        }
                    }
                    PLACES => {
                        let noticed = self.places.notice();
                        if noticed.gone {
                            self.reopen();
                        }
                        if noticed.gone || noticed.appeared {
                            self.find_projects();
                            self.eyes.has_moved.set(true);
                        }
                    }
                    token => self.heard(token),
                }
            }
            let now = Instant::now();
            for project in self.projects.values_mut() {
                project.tend(now, &self.eyes, &mut self.sources);
            }
            if self.search_at.take_if(|at| *at <= now).is_some() {
                self.find_projects();
                if !self.is_settled {
                    self.eyes.has_moved.set(true);
                }
            }
            if self.eyes.has_moved.take() {
                self.watch_places();
            }
        }
    }

    /// Does what was asked; false once that is to stop.
    fn obey(&mut self) -> bool {
        let mut count = [0; 8];
        // Only that there was something matters.
        let _ = rustix::io::read(&*self.wake, &mut count);
        while let Ok(command) = self.commands.try_recv() {
            // Who does not wait any more is not told.
            let _ = match command {
                Command::Look(path, id, done) => {
                    if let Some(project) = self.projects.get_mut(&path) {
                        project.look(&id, &self.eyes, &mut self.sources);
                    }
                    done.send(())
                }
                Command::Reread(done) => {
                    self.reread();
                    done.send(())
                }
                Command::Ping(done) => done.send(()),
                Command::Stop => return false,
            };
        }
        true
    }

    fn heard(&mut self, token: u64) {
        let Some(source) = self.sources.known.get(&token) else {
            // It was let go of since the kernel told.
            return;
        };
        let Some(project) = self.projects.get_mut(source.project()) else {
            return;
        };
        match source.clone() {
            Source::Feed(_) => project.read_feed(&self.eyes, &mut self.sources),
            Source::Ear(_, id) => project.hear(&id, &self.eyes, &mut self.sources),
        }
    }

    /// Looks through everything, served already or not.
    fn reread(&mut self) {
        if let Projects::Registered(registry) = &self.source {
            match registry.prune() {
                Ok(pruned) => {
                    for path in pruned {
                        tracing::info!(project = %path.display(), "forgot a project that is gone");
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot tidy up the registry of projects"),
            }
        }
        self.scan();
        self.find_projects();
        self.watch_places();
    }

    /// Whether something may appear without a word.
    fn is_searching(&self) -> bool {
        let is_deaf = self.places.as_fd().is_none();
        is_deaf || !self.is_settled || self.projects.values().any(Project::is_missing)
    }

    /// Watches what is at the projects' paths now, and looks through it.
    fn reopen(&mut self) {
        for project in self.projects.values_mut() {
            project.reopen(&self.eyes, &mut self.sources);
        }
    }

    /// Looks through the projects that are open.
    fn scan(&mut self) {
        for project in self.projects.values_mut() {
            project.scan(&self.eyes, &mut self.sources);
        }
    }

    /// Serves the projects that are new, opens those that are there now, and lets
    /// go of those that nobody names any more.
    fn find_projects(&mut self) {
        let wanted = match self.source.paths() {
            Ok(wanted) => wanted,
            Err(error) => {
                tracing::warn!(%error, "cannot read the registry of projects");
                return;
            }
        };
        self.projects.retain(|path, project| {
            let keep = wanted.contains(&**path);
            if !keep {
                project.close(&self.eyes, &mut self.sources, None);
                self.eyes.index.remove_project(path);
                tracing::info!(project = %path.display(), "no longer serving");
            }
            keep
        });
        for path in wanted {
            let path: Arc<Path> = path.into();
            if !self.projects.contains_key(&path) {
                self.eyes.index.add_project(&path);
                self.projects
                    .insert(Arc::clone(&path), Project::new(Arc::clone(&path)));
            }
        }
        for project in self.projects.values_mut() {
            // Held first: that it moves after it was looked through is told.
            if self.places.hold(&project.path) {
                project.reopen(&self.eyes, &mut self.sources);
            }
            project.open(&self.eyes, &mut self.sources);
        }
    }

    /// Listens where missing projects, and new names of projects, would appear, and
    /// where those that are there would move away.
    fn watch_places(&mut self) {
        for _ in 0..ROUNDS {
            self.eyes.has_moved.set(false);
            let Anew { held, awaited } = self.listen_at_places();
            // What happened before somebody listened is seen by looking.
            if held {
                self.reopen();
            }
            if held || awaited {
                self.find_projects();
            } else if !self.eyes.has_moved.get() {
                self.is_settled = true;
                return;
            }
        }
        // Somebody moves them about, or looking fails: again, but not at once.
        self.is_settled = false;
    }

    /// Tells whether there are places at which nobody listened before.
    fn listen_at_places(&mut self) -> Anew {
        let mut anew = Anew::default();
        self.places.begin_round();
        if let Projects::Registered(registry) = &self.source {
            anew.awaited |= self.places.await_at(registry.path());
        }
        for project in self.projects.values() {
            if project.is_missing() {
                anew.awaited |= self.places.await_at(&project.path.join(".monoco"));
            } else {
                anew.held |= self.places.hold(&project.path);
            }
        }
        self.places.end_round();
        anew
    }
}

/// Where nobody listened before.
#[derive(Debug, Default, Clone, Copy)]
struct Anew {
    /// Where a project is.
    held: bool,
    /// Where a project, or the name of one, would appear.
    awaited: bool,
}

/// Something that the kernel tells of.
#[derive(Debug, Clone)]
enum Source {
    /// A project's change feed.
    Feed(Arc<Path>),
    /// The owner, or the agent, of a session.
    Ear(Arc<Path>, SessionId),
}

impl Source {
    fn project(&self) -> &Path {
        match self {
            Self::Feed(project) | Self::Ear(project, _) => project,
        }
    }
}

/// All that is waited for.
#[derive(Debug)]
struct Sources {
    epoll: OwnedFd,
    known: HashMap<u64, Source>,
    next: u64,
}

impl Sources {
    fn new(wake: impl AsFd) -> io::Result<Self> {
        let sources = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            known: HashMap::new(),
            next: FIRST_SOURCE,
        };
        sources.listen(WAKE, wake.as_fd())?;
        Ok(sources)
    }

    fn listen(&self, token: u64, fd: BorrowedFd<'_>) -> io::Result<()> {
        let data = EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, fd, data, EventFlags::IN)?)
    }

    /// Waits for `fd` as well; returns the token that it is known by.
    fn add(&mut self, source: Source, fd: BorrowedFd<'_>) -> io::Result<u64> {
        let token = self.next;
        self.listen(token, fd)?;
        self.next += 1;
        self.known.insert(token, source);
        Ok(token)
    }

    /// Waits for `fd` no more. A copy of it in a process that is only being forked
    /// would be told of otherwise, even when it is closed here.
    fn remove(&mut self, token: u64, fd: BorrowedFd<'_>) {
        self.known.remove(&token);
        // It is gone either way.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits until there is something to hear, at most until `deadline`.
    fn wait(&self, deadline: Option<Instant>) -> Vec<u64> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut events = Vec::with_capacity(BATCH);
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            left.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                // Not to be expected of an epoll of our own; never a busy loop.
                tracing::error!(%error, "cannot wait for changes");
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        events.iter().map(|event| event.data.u64()).collect()
    }
}
