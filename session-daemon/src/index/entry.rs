//! One element of the index: a session, or a record that cannot be read, as it
//! is shown, ready to be sent.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use session_core::{Damage, Damaged, Liveness, Observation, SessionId, Stamp, Timestamp};

/// A session as it was last seen.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) project: Arc<Path>,
    /// The session's id, or the name of a file that has none.
    pub(crate) key: Box<str>,
    /// `None` for what cannot be read.
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) issue_id: Box<str>,
    pub(crate) role_name: Box<str>,
    pub(crate) labels: Box<[(Box<str>, Box<str>)]>,
    /// The status that is true, `unknown`, or `corrupt`.
    pub(crate) status: &'static str,
    /// Whether it lives, or may live.
    pub(crate) active: bool,
    /// Whether what was seen can only change by being removed or damaged.
    pub(crate) is_final: bool,
    /// Which bytes were looked at; `None` where nobody noted it.
    pub(crate) stamp: Option<Stamp>,
    /// The element as JSON, without a line break.
    pub(crate) json: Bytes,
}

impl Entry {
    pub(crate) fn of_session(
        project: &Arc<Path>,
        seen: &Observation,
        stamp: Option<Stamp>,
    ) -> Self {
        let session = &seen.session;
        Self {
            project: Arc::clone(project),
            key: session.id.as_str().into(),
            created_at: Some(session.created_at),
            issue_id: session.issue_id.as_str().into(),
            role_name: session.role_name.as_str().into(),
            labels: session.labels.iter().map(boxed).collect(),
            status: seen
                .status()
                .map_or("unknown", session_core::Status::as_str),
            active: seen.may_live(),
            is_final: seen.liveness == Liveness::Ended,
            stamp,
            json: with_project(project, seen),
        }
    }

    /// `None` for a record whose name tells nothing.
    pub(crate) fn of_damage(
        project: &Arc<Path>,
        damaged: &Damaged,
        stamp: Option<Stamp>,
    ) -> Option<Self> {
        let key = match &damaged.id {
            Some(id) => id.as_str().into(),
            None => damaged.path.file_name()?.to_string_lossy().into(),
        };
        Some(Self {
            project: Arc::clone(project),
            key,
            created_at: None,
            issue_id: "".into(),
            role_name: "".into(),
            labels: Box::default(),
            status: "corrupt",
            active: false,
            // What could not be read for now may be whole.
            is_final: stamp.is_some() && !matches!(damaged.damage, Damage::Unreadable(_)),
            stamp,
            json: with_project(project, damaged),
        })
    }

    /// The id, where there is one.
    pub(crate) fn id(&self) -> Option<SessionId> {
        SessionId::parse(&self.key).ok()
    }

    /// What is left to be told of it once it is gone: `project` and `id`, or `file`.
    pub(crate) fn removed_json(&self) -> Bytes {
        let mut json = project_field(&self.project);
        let name: &[u8] = match self.id() {
            Some(_) => b",\"id\":",
            None => b",\"file\":",
        };
        json.extend_from_slice(name);
        serde_json::to_writer(&mut json, &self.key).expect("a string");
        json.push(b'}');
        json.into()
    }

    /// Where it stands in a listing.
    pub(crate) fn position(&self) -> Position<'_> {
        Position {
            created_at: self.created_at,
            key: &self.key,
            project: &self.project,
        }
    }
}

fn boxed((key, value): (&String, &String)) -> (Box<str>, Box<str>) {
    (key.as_str().into(), value.as_str().into())
}

/// The order of listings: newest first, then by id; what cannot be read is last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position<'a> {
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) key: &'a str,
    pub(crate) project: &'a Path,
}

impl Ord for Position<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other
            .created_at
            .cmp(&self.created_at)
            .then_with(|| self.key.cmp(other.key))
            .then_with(|| self.project.cmp(other.project))
    }
}

impl PartialOrd for Position<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// An element of `monoco ps --json`, with the project that it is in before it.
fn with_project(project: &Path, element: &impl Serialize) -> Bytes {
    let mut json = project_field(project);
    let start = json.len();
    serde_json::to_writer(&mut json, element).expect("string keys and finite numbers only");
    // One object out of two: the core keeps the name `project` free for this.
    json[start] = b',';
    // Fields that we do not know are as they were written: line breaks between their
    // tokens, the only ones that JSON can have, would end an event in its middle.
    for byte in &mut json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    // No more memory than it needs: there may be a hundred thousand of them.
    json.into_boxed_slice().into()
}

/// `{"project":"…"`, to be continued.
pub(crate) fn project_field(project: &Path) -> Vec<u8> {
    let mut json = b"{\"project\":".to_vec();
    serde_json::to_writer(&mut json, &project.to_string_lossy()).expect("a string");
    json
}
