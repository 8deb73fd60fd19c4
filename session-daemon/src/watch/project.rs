//! One project that is served: its feed, and an ear at each session that lives.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use session_core::{
    Change, Damage, Damaged, Feed, Liveness, LookError, Observation, SessionId, SessionManager,
    StoreError, error_chain,
};

use super::ear::{Ear, Found};
use super::{Condition, Eyes, Source, Sources, count};
use crate::index::{Entry, Telling, Update};

/// The first pause before another look at a session that cannot be listened to:
/// an owner that is starting, or lets go of its socket before its lease.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// How many records are looked at before the index learns of them.
const SHARE: usize = 4096;
/// The longest: how stale anything can become of which nobody tells.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// A project, there or not.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) path: Arc<Path>,
    open: Option<Open>,
    /// When to try again to open what cannot be used.
    retry_at: Option<Instant>,
}

/// A project that is there.
#[derive(Debug)]
struct Open {
    manager: SessionManager,
    feed: Feed,
    feed_token: Option<u64>,
    ears: HashMap<SessionId, Listening>,
    /// When to look through everything again, because the last time failed.
    rescan_at: Option<Instant>,
    /// Sessions that may change without a word, and when to look again.
    restless: BTreeMap<SessionId, Restless>,
}

/// An ear at somebody.
#[derive(Debug)]
struct Listening {
    token: u64,
    ear: Ear,
    /// What the session was then: an orphan that is adopted wants another ear.
    liveness: Liveness,
}

#[derive(Debug)]
struct Restless {
    at: Instant,
    pause: Duration,
}

impl Project {
    pub(super) fn new(path: Arc<Path>) -> Self {
        Self {
            path,
            open: None,
            retry_at: None,
        }
    }

    /// Whether it is waited for.
    pub(super) fn is_missing(&self) -> bool {
        self.open.is_none() && self.retry_at.is_none()
    }

    /// When to be tended to at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let Some(open) = &self.open else {
            return self.retry_at;
        };
        let restless = open.restless.values().map(|restless| restless.at);
        restless
            .chain(open.feed.deadline())
            .chain(open.rescan_at)
            .min()
    }

    /// Opens the project if it is there now, and was not before.
    pub(super) fn open(&mut self, eyes: &Eyes, sources: &mut Sources) {
        if self.open.is_some() {
            return;
        }
        // The feed first: what changes after it was opened is told.
        let opened = SessionManager::open(&*self.path).and_then(|manager| {
            let feed = manager.feed()?;
            Ok((manager, feed))
        });
        match opened {
            Ok((manager, feed)) => {
                self.retry_at = None;
                self.open = Some(Open {
                    manager,
                    feed,
                    feed_token: None,
                    ears: HashMap::new(),
                    rescan_at: None,
                    restless: BTreeMap::new(),
                });
                tracing::info!(project = %self.path.display(), "serving");
                self.scan(eyes, sources);
            }
            Err(error) => self.close(eyes, sources, Some(&error)),
        }
    }

    /// Lets go of the project; `why` it cannot be used, unless nobody wants it.
    pub(super) fn close(&mut self, eyes: &Eyes, sources: &mut Sources, why: Option<&StoreError>) {
        if let Some(open) = self.open.take() {
            open.let_go(sources);
            tracing::info!(project = %self.path.display(), "gone");
        }
        let condition = why.map(|why| match why {
            StoreError::NoProject(_) => Condition::Missing,
            why => Condition::Unusable(error_chain(why)),
        });
        self.retry_at = match condition {
            Some(Condition::Unusable(_)) => Some(Instant::now() + LONGEST_PAUSE),
            _ => None,
        };
        // Before anybody is told.
        eyes.set_condition(&self.path, condition);
        eyes.index.clear(&self.path);
    }

    /// Does what is due.
    pub(super) fn tend(&mut self, now: Instant, eyes: &Eyes, sources: &mut Sources) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.open(eyes, sources);
        }
        let Some(open) = &mut self.open else { return };
        if open.rescan_at.take_if(|at| *at <= now).is_some() {
            self.scan(eyes, sources);
        }
        let Some(open) = &self.open else { return };
        if open.feed.deadline().is_some_and(|at| at <= now) {
            self.read_feed(eyes, sources);
        }
        let Some(open) = &self.open else { return };
        let due = open
            .restless
            .iter()
            .filter(|(_, restless)| restless.at <= now);
        let due: Vec<_> = due.map(|(id, _)| id.clone()).collect();
        for id in due {
            self.look(&id, eyes, sources);
        }
    }

    /// Looks where the feed says that something changed.
    pub(super) fn read_feed(&mut self, eyes: &Eyes, sources: &mut Sources) {
        let Some(open) = &mut self.open else { return };
        let changes = open
            .feed
            .next(Some(Duration::ZERO))
            .unwrap_or_else(|error| {
                tracing::warn!(project = %self.path.display(), %error, "cannot read the changes");
                vec![Change::Rescan]
            });
        if changes.contains(&Change::Rescan) {
            return self.scan(eyes, sources);
        }
        for change in changes {
            if let Change::Session(id) = change {
                self.look(&id, eyes, sources);
            }
        }
    }

    /// Looks at a session whose owner or agent has died.
    pub(super) fn hear(&mut self, id: &SessionId, eyes: &Eyes, sources: &mut Sources) {
        if let Some(open) = &mut self.open {
            open.stop_listening(id, sources);
        }
        count(&eyes.counters.deaths);
        self.look(id, eyes, sources);
    }

    /// Looks at one session.
    pub(super) fn look(&mut self, id: &SessionId, eyes: &Eyes, sources: &mut Sources) {
        let Some(open) = &mut self.open else { return };
        count(&eyes.counters.looks);
        let update = match open.manager.get(id) {
            Ok(seen) => {
                open.listen(&self.path, &seen, sources);
                Update::Seen(Entry::of_session(&self.path, &seen, None))
            }
            Err(LookError::Damaged { path, damage }) => {
                open.stop_listening(id, sources);
                if matches!(damage, Damage::Unreadable(_)) {
                    open.look_again(id);
                }
                let damaged = Damaged {
                    id: Some(id.clone()),
                    path,
                    damage,
                };
                match Entry::of_damage(&self.path, &damaged, None) {
                    Some(entry) => Update::Seen(entry),
                    None => return,
                }
            }
            // What the system refuses for now (no descriptors left) says nothing of it.
            Err(LookError::Store(StoreError::Io { .. })) => return open.look_again(id),
            Err(LookError::Store(error)) => return self.close(eyes, sources, Some(&error)),
            Err(_) => {
                open.stop_listening(id, sources);
                Update::Gone(id.as_str().into())
            }
        };
        eyes.index.apply(&self.path, vec![update], Telling::Each);
    }

    /// Looks through the whole project: at everything that is new, that was written
    /// since, or that may have changed without being written.
    pub(super) fn scan(&mut self, eyes: &Eyes, sources: &mut Sources) {
        let Some(open) = &mut self.open else { return };
        count(&eyes.counters.scans);
        let start = Instant::now();
        open.listen_to_feed(&self.path, sources);
        // Before anybody is told what was found.
        let condition = match open.feed.deadline() {
            None => Condition::Watched,
            Some(_) => Condition::Rescanned,
        };
        eyes.set_condition(&self.path, Some(condition));
        match open.scan(&self.path, eyes, sources) {
            Ok(()) => {
                let ms = start.elapsed().as_millis();
                tracing::debug!(project = %self.path.display(), %ms, "looked through");
            }
            Err(error @ StoreError::Io { .. }) => {
                open.rescan_at = Some(Instant::now() + LONGEST_PAUSE);
                let condition = Condition::Unusable(error_chain(&error));
                eyes.set_condition(&self.path, Some(condition));
            }
            Err(error) => self.close(eyes, sources, Some(&error)),
        }
    }

    /// Watches what is at the project's path now, and looks through it: something
    /// else may have been put there.
    pub(super) fn reopen(&mut self, eyes: &Eyes, sources: &mut Sources) {
        let Some(open) = &mut self.open else { return };
        if let Ok(feed) = open.manager.feed() {
            open.stop_listening_to_feed(sources);
            open.feed = feed;
        }
        self.scan(eyes, sources);
    }
}

impl Open {
    fn scan(
        &mut self,
        path: &Arc<Path>,
        eyes: &Eyes,
        sources: &mut Sources,
    ) -> Result<(), StoreError> {
        let (files, strange) = self.manager.record_files()?;
        // What is found again is taken out.
        let mut gone = eyes.index.known(path);
        let mut stamps = HashMap::new();
        let mut to_look_at = Vec::new();
        for file in files {
            match gone.get(file.id.as_str()) {
                Some((true, Some(stamp))) if *stamp == file.stamp => {
                    gone.remove(file.id.as_str());
                }
                _ => {
                    to_look_at.push(file.id.clone());
                    stamps.insert(file.id, file.stamp);
                }
            }
        }
        let stamp = |id: &SessionId| stamps.get(id).copied();
        let telling = Telling::of(to_look_at.len() + strange.len());
        let mut damaged = strange;
        for share in to_look_at.chunks(SHARE) {
            let found = self.manager.look_at_with(share, |seen| {
                let entry = Entry::of_session(path, &seen, stamp(&seen.session.id));
                let living = seen.may_live().then(|| Box::new(seen));
                (entry, living)
            })?;
            let mut updates = Vec::with_capacity(found.sessions.len());
            for (entry, living) in found.sessions {
                gone.remove(&entry.key);
                match living {
                    Some(seen) => self.listen(path, &seen, sources),
                    None => self.stop_listening_to(&entry.key, sources),
                }
                updates.push(Update::Seen(entry));
            }
            damaged.extend(found.damaged);
            eyes.index.apply(path, updates, telling);
        }
        let mut updates = Vec::new();
        for damaged in &damaged {
            let stamp = damaged.id.as_ref().and_then(stamp);
            if let Some(entry) = Entry::of_damage(path, damaged, stamp) {
                gone.remove(&entry.key);
                self.stop_listening_to(&entry.key, sources);
                if let (Some(id), Damage::Unreadable(_)) = (&damaged.id, &damaged.damage) {
                    self.look_again(id);
                }
                updates.push(Update::Seen(entry));
            }
        }
        for (key, _) in gone {
            self.stop_listening_to(&key, sources);
            updates.push(Update::Gone(key));
        }
        let telling = Telling::of(updates.len());
        eyes.index.apply(path, updates, telling);
        Ok(())
    }

    /// Waits for the feed, once there is something to wait for.
    fn listen_to_feed(&mut self, path: &Arc<Path>, sources: &mut Sources) {
        if let (Some(fd), None) = (self.feed.as_fd(), self.feed_token) {
            match sources.add(Source::Feed(Arc::clone(path)), fd) {
                Ok(token) => self.feed_token = Some(token),
                Err(error) => tracing::warn!(%error, "cannot wait for changes"),
            }
        }
    }

    fn stop_listening_to_feed(&mut self, sources: &mut Sources) {
        match (self.feed_token.take(), self.feed.as_fd()) {
            (Some(token), Some(fd)) => sources.remove(token, fd),
            (Some(token), None) => drop(sources.known.remove(&token)),
            (None, _) => {}
        }
    }

    /// Puts an ear at whoever keeps the session alive; where there is none to be
    /// had, another look is due soon.
    fn listen(&mut self, path: &Arc<Path>, seen: &Observation, sources: &mut Sources) {
        let id = &seen.session.id;
        match self.ears.get(id) {
            Some(ear) if ear.liveness == seen.liveness => return self.keep_looking(seen),
            Some(_) => self.stop_listening(id, sources),
            None => {}
        }
        let ear = match Ear::at(&self.manager, seen) {
            Found::Ear(ear) => ear,
            Found::Nothing => return self.stop_listening(id, sources),
            Found::NotNow => return self.look_again(id),
        };
        match sources.add(Source::Ear(Arc::clone(path), id.clone()), ear.fd()) {
            Ok(token) => {
                let liveness = seen.liveness.clone();
                self.restless.remove(id);
                self.ears.insert(
                    id.clone(),
                    Listening {
                        token,
                        ear,
                        liveness,
                    },
                );
                self.keep_looking(seen);
            }
            Err(_) => self.look_again(id),
        }
    }

    fn stop_listening(&mut self, id: &SessionId, sources: &mut Sources) {
        self.restless.remove(id);
        if let Some(listening) = self.ears.remove(id) {
            sources.remove(listening.token, listening.ear.fd());
        }
    }

    fn stop_listening_to(&mut self, key: &str, sources: &mut Sources) {
        if let Ok(id) = SessionId::parse(key) {
            self.stop_listening(&id, sources);
        }
    }

    /// Whoever takes a session that nobody owns need not write anything.
    fn keep_looking(&mut self, seen: &Observation) {
        if matches!(seen.liveness, Liveness::Orphan | Liveness::Unverified) {
            let pause = LONGEST_PAUSE;
            let at = Instant::now() + pause;
            let id = seen.session.id.clone();
            self.restless.insert(id, Restless { at, pause });
        }
    }

    fn look_again(&mut self, id: &SessionId) {
        let pause = match self.restless.get(id) {
            Some(before) => (before.pause * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        let at = Instant::now() + pause;
        self.restless.insert(id.clone(), Restless { at, pause });
    }

    fn let_go(mut self, sources: &mut Sources) {
        for (_, listening) in self.ears.drain() {
            sources.remove(listening.token, listening.ear.fd());
        }
        self.stop_listening_to_feed(sources);
    }
}
