//! Tells when logs grow: one inotify instance for all that are followed, of
//! which a user has only 128.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::sync::watch;

/// How often to look at a log that nothing tells of.
const WITHOUT_NOTIFICATIONS: Duration = Duration::from_secs(1);

/// Whoever follows logs.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    /// Made for the first follower; `None` where none is to be had.
    inner: OnceLock<Option<Arc<Inner>>>,
}

#[derive(Debug)]
struct Inner {
    inotify: OwnedFd,
    watched: Mutex<HashMap<i32, Watched>>,
}

#[derive(Debug)]
struct Watched {
    /// How often the log has grown.
    grown: watch::Sender<u64>,
    followers: usize,
}

/// One follower of one log.
#[derive(Debug)]
pub(crate) struct Growing {
    watch: Option<(Arc<Inner>, i32)>,
    grown: watch::Receiver<u64>,
}

impl Growth {
    /// Follows `log` from now on.
    pub(crate) fn follow(&self, log: &File) -> Growing {
        if let Some(inner) = self.inner.get_or_init(|| start().ok())
            && let Ok((watch, grown)) = inner.add(log)
        {
            return Growing {
                watch: Some((Arc::clone(inner), watch)),
                grown,
            };
        }
        Growing {
            watch: None,
            grown: watch::channel(0).1,
        }
    }
}

impl Growing {
    /// What was written until now is going to be read.
    pub(crate) fn seen(&mut self) {
        self.grown.borrow_and_update();
    }

    /// Waits until the log has grown since it was [`seen`](Self::seen), or may have.
    pub(crate) async fn grown(&mut self) {
        if self.watch.is_none() {
            tokio::time::sleep(WITHOUT_NOTIFICATIONS).await;
        } else if self.grown.changed().await.is_err() {
            // The log was removed: its session tells when it ends.
            std::future::pending().await
        }
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        if let Some((inner, watch)) = &self.watch {
            inner.remove(*watch, &self.grown);
        }
    }
}

/// Listens in a thread of its own, which ends with the process.
fn start() -> io::Result<Arc<Inner>> {
    let inner = Arc::new(Inner {
        inotify: inotify::init(CreateFlags::CLOEXEC)?,
        watched: Mutex::default(),
    });
    let listener = Arc::clone(&inner);
    std::thread::Builder::new()
        .name("growth".to_owned())
        .spawn(move || listener.run())?;
    Ok(inner)
}

impl Inner {
    /// Everybody who follows one log shares its watch, and each is told.
    fn add(&self, log: &File) -> io::Result<(i32, watch::Receiver<u64>)> {
        let path = format!("/proc/self/fd/{}", log.as_raw_fd());
        let mut watched = self.watched();
        let watch = inotify::add_watch(&self.inotify, path, WatchFlags::MODIFY)?;
        let entry = watched.entry(watch).or_insert_with(|| Watched {
            grown: watch::channel(0).0,
            followers: 0,
        });
        entry.followers += 1;
        Ok((watch, entry.grown.subscribe()))
    }

    fn remove(&self, watch: i32, grown: &watch::Receiver<u64>) {
        let mut watched = self.watched();
        let Some(entry) = watched.get_mut(&watch) else {
            return;
        };
        if !entry.grown.subscribe().same_channel(grown) {
            // The log was removed, and its number given to another.
            return;
        }
        entry.followers -= 1;
        if entry.followers == 0 {
            watched.remove(&watch);
            // It ends with its log, too.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    fn run(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            let (watch, events) = match reader.next() {
                Ok(event) => (event.wd(), event.events()),
                Err(Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "cannot tell any more when logs grow");
                    return;
                }
            };
            let mut watched = self.watched();
            if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                watched.values().for_each(Watched::tell);
            } else if events.contains(ReadFlags::IGNORED) {
                watched.remove(&watch).iter().for_each(Watched::tell);
            } else {
                watched.get(&watch).into_iter().for_each(Watched::tell);
            }
        }
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, HashMap<i32, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn tell(&self) {
        self.grown.send_modify(|times| *times += 1);
    }
}
