//! Many sessions at once, read with all cores where there are many.

use std::path::PathBuf;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::id::SessionId;
use crate::observe::{Observation, Observer};
use crate::store::{Damage, RecordReader, Store, StoreError};

/// From how many records on a listing reads with more than one thread.
const PARALLEL_FROM: usize = 512;

/// What a listing found.
#[derive(Debug)]
pub struct Listing<T = Observation> {
    /// The sessions, or what was made of them, in no order.
    pub sessions: Vec<T>,
    /// The records that cannot be read. They are left as they are.
    pub damaged: Vec<Damaged>,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self {
            sessions: Vec::new(),
            damaged: Vec::new(),
        }
    }
}

impl<T> Listing<T> {
    fn append(&mut self, mut more: Self) {
        self.sessions.append(&mut more.sessions);
        self.damaged.append(&mut more.damaged);
    }
}

/// A record's file, before anybody has looked into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFile {
    /// The session.
    pub id: SessionId,
    /// Which bytes the file held.
    pub stamp: Stamp,
}

/// Which bytes a file holds: two stamps of one path differ if it was written or
/// replaced in between. (The inode's number, its change time, which nobody can
/// set, and its size. A file that is written twice within one tick of the kernel's
/// clock may have one stamp: it says nothing of a record that may still change.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub(crate) inode: u64,
    pub(crate) changed_ns: i64,
    pub(crate) size: u64,
}

/// A record that cannot be read.
#[derive(Debug)]
pub struct Damaged {
    /// The id, where the file's name is one.
    pub id: Option<SessionId>,
    /// The file.
    pub path: PathBuf,
    /// Why it cannot be read.
    pub damage: Damage,
}

/// `{"id":…,"status":"corrupt","path":…,"error":…}`: a listing shows what it
/// cannot read beside what it can.
impl Serialize for Damaged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("status", "corrupt")?;
        map.serialize_entry("path", &self.path.to_string_lossy())?;
        map.serialize_entry("error", &self.damage.to_string())?;
        map.end()
    }
}

/// Looks at many sessions, with both hands where there are many.
pub(crate) fn look_at_all<T: Send>(
    store: Store,
    ids: &[SessionId],
    each: &(impl Fn(Observation) -> T + Sync),
) -> Result<Listing<T>, StoreError> {
    let threads = match ids.len() {
        ..PARALLEL_FROM => 1,
        _ => std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(8),
    };
    let project = store.project().to_owned();
    let share = ids.len().div_ceil(threads).max(1);
    let (own, others) = ids.split_at(share.min(ids.len()));
    std::thread::scope(|scope| {
        let work = |ids| {
            let project = &project;
            move || Store::open(project).map(|store| look_at(&Observer::new(store), ids, each))
        };
        let mut hands = Vec::new();
        let mut all = Listing::default();
        for ids in others.chunks(share) {
            match std::thread::Builder::new().spawn_scoped(scope, work(ids)) {
                Ok(hand) => hands.push(hand),
                // No threads to be had: one does it all.
                Err(_) => all.append(work(ids)()?),
            }
        }
        all.append(look_at(&Observer::new(store), own, each));
        for hand in hands {
            all.append(hand.join().expect("looking at sessions does not panic")?);
        }
        Ok(all)
    })
}

fn look_at<T>(
    observer: &Observer,
    ids: &[SessionId],
    each: &impl Fn(Observation) -> T,
) -> Listing<T> {
    let mut listing = Listing::default();
    let Ok(sessions) = observer.store().sessions() else {
        return listing;
    };
    let mut reader = RecordReader::new(sessions);
    for id in ids {
        let seen = match reader.read(id) {
            Ok(Some(session)) => observer.judge(session),
            Ok(None) => Ok(None),
            Err(damage) => Err(damage),
        };
        match seen {
            Ok(Some(observation)) => listing.sessions.push(each(observation)),
            // Removed since its name was read.
            Ok(None) => {}
            Err(damage) => {
                let path = observer.store().record_path(id);
                listing.damaged.push(Damaged {
                    id: Some(id.clone()),
                    path,
                    damage,
                });
            }
        }
    }
    listing
}
