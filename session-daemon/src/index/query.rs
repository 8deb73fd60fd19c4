//! What a listing is asked for, and where its next page begins.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use session_core::Timestamp;

use super::entry::{Entry, Position};

/// Which entries are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Filter {
    pub(crate) project: Option<PathBuf>,
    pub(crate) issue_id: Option<String>,
    pub(crate) role: Option<String>,
    /// Any of these; all when there is none.
    pub(crate) status: Vec<String>,
    /// All of these: a key, and its value if it matters.
    pub(crate) labels: Vec<(String, Option<String>)>,
    pub(crate) active: Option<bool>,
}

impl Filter {
    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let has = |(key, value): &(String, Option<String>)| {
            let mut labels = entry.labels.iter();
            labels.any(|(label, found)| **label == **key && is(value, found))
        };
        self.project
            .as_ref()
            .is_none_or(|project| **project == *entry.project)
            && is(&self.issue_id, &entry.issue_id)
            && is(&self.role, &entry.role_name)
            && (self.status.is_empty() || self.status.iter().any(|status| status == entry.status))
            && self.labels.iter().all(has)
            && self.active.is_none_or(|active| active == entry.active)
    }
}

/// The last entry of a page. It holds its place also when that entry is gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Cursor {
    created_at: Option<String>,
    key: String,
    /// Paths need not be UTF-8.
    project: OsString,
}

impl Cursor {
    pub(crate) fn behind(entry: &Entry) -> Self {
        Self {
            created_at: entry.created_at.map(|time| time.to_string()),
            key: entry.key.to_string(),
            project: entry.project.as_os_str().to_owned(),
        }
    }

    pub(crate) fn position(&self) -> Position<'_> {
        Position {
            created_at: self.created_at(),
            key: &self.key,
            project: Path::new(&self.project),
        }
    }

    fn created_at(&self) -> Option<Timestamp> {
        self.created_at
            .as_deref()
            .and_then(|time| Timestamp::parse(time).ok())
    }

    /// As text that means nothing to anybody else.
    pub(crate) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("string keys only"))
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        let json = URL_SAFE_NO_PAD.decode(text).ok()?;
        let cursor: Self = serde_json::from_slice(&json).ok()?;
        (cursor.created_at.is_some() == cursor.created_at().is_some()).then_some(cursor)
    }
}
