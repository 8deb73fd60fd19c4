//! Every session of every project that is served, in memory, as it is now.
//!
//! One thread writes here, the watcher; whoever answers requests only reads.
//! Each element is kept as the JSON that it is sent as, so that a listing is put
//! together, not written; and a listing that was asked for once is kept until
//! something changes. The number of the last change is the version of it all.

mod entry;
mod journal;
mod query;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::{BufMut, Bytes, BytesMut};
use session_core::{SessionId, Stamp};

pub(crate) use entry::{Entry, Position};
pub(crate) use journal::{Journal, Missed, Sequence};
pub(crate) use query::{Cursor, Filter};

/// From how many bytes on a page is full, whatever its limit: prompts can be long.
const FULL_PAGE: usize = 16 << 20;
/// How many listings are kept,
const MAX_PAGES: usize = 32;
/// and how many bytes of them.
const MAX_PAGE_BYTES: usize = 32 << 20;

#[derive(Debug)]
pub(crate) struct Index {
    /// Distinguishes the versions of this process from those of another.
    epoch: String,
    content: RwLock<Content>,
    pages: Mutex<Pages>,
    journal: Journal,
}

#[derive(Debug, Default)]
struct Content {
    projects: BTreeMap<Arc<Path>, HashMap<Box<str>, Arc<Entry>>>,
    ordered: BTreeSet<Ordered>,
}

/// An entry by its place in listings.
#[derive(Debug)]
struct Ordered(Arc<Entry>);

/// Listings as they were sent last.
#[derive(Debug, Default)]
struct Pages {
    version: Sequence,
    pages: HashMap<Asked, Bytes>,
    bytes: usize,
}

/// What a page of a listing is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    pub(crate) filter: Filter,
    pub(crate) limit: usize,
    pub(crate) after: Option<Cursor>,
}

/// What became of one record.
#[derive(Debug)]
pub(crate) enum Update {
    Seen(Entry),
    Gone(Box<str>),
}

/// How changes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// One by one.
    Each,
    /// By telling everybody to read everything.
    AtOnce,
}

impl Telling {
    /// What costs clients less for so many changes.
    pub(crate) fn of(changes: usize) -> Self {
        if changes < 1024 {
            Self::Each
        } else {
            Self::AtOnce
        }
    }
}

/// How many sessions of a project there are.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    pub(crate) by_status: BTreeMap<&'static str, usize>,
    pub(crate) active: usize,
}

impl Index {
    /// An empty index; `epoch` is a word that no other process has.
    pub(crate) fn new(epoch: String) -> Self {
        Self {
            epoch,
            content: RwLock::default(),
            pages: Mutex::default(),
            journal: Journal::new(),
        }
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The name of a version, over all processes there ever were.
    pub(crate) fn name_of(&self, version: Sequence) -> String {
        format!("{}-{version}", self.epoch)
    }

    /// The version that has this name, if this process gave it.
    pub(crate) fn version_of(&self, name: &str) -> Option<Sequence> {
        let (epoch, version) = name.rsplit_once('-')?;
        (epoch == self.epoch).then(|| version.parse().ok())?
    }

    /// Serves `project` from now on, empty at first.
    pub(crate) fn add_project(&self, project: &Arc<Path>) {
        let mut content = self.content_mut();
        content.projects.entry(Arc::clone(project)).or_default();
    }

    /// Serves `project` no more.
    pub(crate) fn remove_project(&self, project: &Path) {
        self.clear(project);
        self.content_mut().projects.remove(project);
    }

    /// Removes all that is known of `project`.
    pub(crate) fn clear(&self, project: &Path) {
        let keys: Vec<_> = {
            let content = self.content();
            let entries = content.projects.get(project).into_iter().flatten();
            entries.map(|(key, _)| Update::Gone(key.clone())).collect()
        };
        let telling = Telling::of(keys.len());
        self.apply(project, keys, telling);
    }

    /// Takes over what was found in `project`, and tells what is not as it was.
    pub(crate) fn apply(&self, project: &Path, updates: Vec<Update>, telling: Telling) {
        let mut content = self.content_mut();
        let one_by_one = telling == Telling::Each;
        let mut changed = false;
        for update in updates {
            let Some(change) = content.apply(project, update) else {
                continue;
            };
            changed = true;
            if one_by_one {
                self.journal
                    .push(|sequence| change.render(&self.name_of(sequence)));
            }
        }
        if changed {
            *self.pages() = Pages::default();
        }
        if changed && !one_by_one {
            self.journal.forget();
        }
    }

    /// The sessions with this id, in `project` or in all of them.
    pub(crate) fn find(&self, id: &SessionId, project: Option<&Path>) -> Vec<Arc<Entry>> {
        let content = self.content();
        let projects = content
            .projects
            .iter()
            .filter(|(path, _)| project.is_none_or(|project| project == &***path));
        projects
            .filter_map(|(_, entries)| entries.get(id.as_str()).cloned())
            .collect()
    }

    /// What is known of one session.
    pub(crate) fn get(&self, project: &Path, key: &str) -> Option<Arc<Entry>> {
        self.content().projects.get(project)?.get(key).cloned()
    }

    /// What is known of a project, without its JSON: keys, whether it is final, stamps.
    pub(crate) fn known(&self, project: &Path) -> HashMap<Box<str>, (bool, Option<Stamp>)> {
        let content = self.content();
        let entries = content.projects.get(project).into_iter().flatten();
        entries
            .map(|(key, entry)| (key.clone(), (entry.is_final, entry.stamp)))
            .collect()
    }

    /// How many sessions of which status each project has.
    pub(crate) fn counts(&self) -> BTreeMap<Arc<Path>, Counts> {
        let content = self.content();
        let count = |entries: &HashMap<_, Arc<Entry>>| {
            let mut counts = Counts::default();
            for entry in entries.values() {
                *counts.by_status.entry(entry.status).or_default() += 1;
                counts.active += usize::from(entry.active);
            }
            counts
        };
        let projects = content.projects.iter();
        projects
            .map(|(path, entries)| (Arc::clone(path), count(entries)))
            .collect()
    }

    /// A page of the listing as JSON, with the version that it shows.
    pub(crate) fn page(&self, asked: &Asked) -> (Bytes, Sequence) {
        let content = self.content();
        // Nothing is pushed while the content is being read.
        let version = self.journal.last();
        if let Some(page) = self.pages().get(version, asked) {
            return (page, version);
        }
        let page = content.page(asked, &self.name_of(version));
        drop(content);
        self.pages().keep(version, asked, &page);
        (page, version)
    }

    fn content(&self) -> std::sync::RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn content_mut(&self) -> std::sync::RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What clients are told of an update.
enum Change {
    Upserted(Arc<Entry>),
    Removed(Arc<Entry>),
}

impl Content {
    /// Takes an update over; `None` when everything looks as before.
    fn apply(&mut self, project: &Path, update: Update) -> Option<Change> {
        let entries = self.projects.get_mut(project)?;
        match update {
            Update::Seen(entry) => {
                let entry = Arc::new(entry);
                let old = entries.insert(entry.key.clone(), Arc::clone(&entry));
                if let Some(old) = &old {
                    self.ordered.remove(&old.position() as &dyn Place);
                }
                self.ordered.insert(Ordered(Arc::clone(&entry)));
                let is_new = old.is_none_or(|old| old.json != entry.json);
                is_new.then_some(Change::Upserted(entry))
            }
            Update::Gone(key) => {
                let old = entries.remove(&key)?;
                self.ordered.remove(&old.position() as &dyn Place);
                Some(Change::Removed(old))
            }
        }
    }

    fn page(&self, asked: &Asked, version: &str) -> Bytes {
        let from = asked.after.as_ref().map(Cursor::position);
        let from = from.as_ref().map(|position| position as &dyn Place);
        let range = (
            from.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        let matching = self
            .ordered
            .range::<dyn Place, _>(range)
            .map(|Ordered(entry)| entry)
            .filter(|entry| asked.filter.matches(entry));
        let (mut page, mut size, mut has_more) = (Vec::new(), 0, false);
        for entry in matching {
            if page.len() == asked.limit || size >= FULL_PAGE {
                has_more = true;
                break;
            }
            size += entry.json.len() + 1;
            page.push(entry);
        }
        let next = page.last().filter(|_| has_more);
        let mut body = BytesMut::with_capacity(size + 512);
        body.put_slice(b"{\"sessions\":[");
        for (i, entry) in page.iter().enumerate() {
            if i > 0 {
                body.put_u8(b',');
            }
            body.put_slice(&entry.json);
        }
        body.put_slice(b"],\"next_cursor\":");
        match next {
            // Base64, and hexadecimal digits: nothing to escape in either.
            Some(entry) => {
                body.put_slice(format!("\"{}\"", Cursor::behind(entry).encode()).as_bytes());
            }
            None => body.put_slice(b"null"),
        }
        body.put_slice(format!(",\"version\":\"{version}\"}}").as_bytes());
        body.freeze()
    }
}

impl Change {
    /// The event as it is sent (the HTML standard, "server-sent events").
    fn render(&self, id: &str) -> Bytes {
        let (event, data) = match self {
            Self::Upserted(entry) => ("upserted", entry.json.clone()),
            Self::Removed(entry) => ("removed", entry.removed_json()),
        };
        let mut text = format!("id: {id}\nevent: {event}\ndata: ").into_bytes();
        text.extend_from_slice(&data);
        text.extend_from_slice(b"\n\n");
        text.into()
    }
}

impl Pages {
    fn get(&mut self, version: Sequence, asked: &Asked) -> Option<Bytes> {
        if self.version != version {
            *self = Self {
                version,
                ..Self::default()
            };
        }
        self.pages.get(asked).cloned()
    }

    fn keep(&mut self, version: Sequence, asked: &Asked, page: &Bytes) {
        let fits = self.pages.len() < MAX_PAGES && self.bytes + page.len() <= MAX_PAGE_BYTES;
        if version == self.version && fits {
            self.bytes += page.len();
            self.pages.insert(asked.clone(), page.clone());
        }
    }
}

/// What has a place in listings: an entry, or a position where none has to be.
trait Place {
    fn position(&self) -> Position<'_>;
}

impl Place for Ordered {
    fn position(&self) -> Position<'_> {
        self.0.position()
    }
}

impl Place for Position<'_> {
    fn position(&self) -> Position<'_> {
        *self
    }
}

impl<'a> std::borrow::Borrow<dyn Place + 'a> for Ordered {
    fn borrow(&self) -> &(dyn Place + 'a) {
        self
    }
}

macro_rules! ordered_by_position {
    ($($type:ty),*) => {$(
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.position() == other.position()
            }
        }
        impl Eq for $type {}
        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $type {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.position().cmp(&other.position())
            }
        }
    )*};
}

ordered_by_position!(Ordered, dyn Place + '_);
