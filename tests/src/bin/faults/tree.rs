//! What lies in a directory, to the byte, the inode and the time of change: who looks
//! changes none of it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Larger files are known by their size and times only.
const MAX_LEN: u64 = 2 << 20;

/// Everything below a directory, links not followed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree(BTreeMap<PathBuf, Thing>);

#[derive(Debug, Clone, PartialEq)]
struct Thing {
    inode: u64,
    mode: u32,
    owner: u32,
    len: u64,
    /// When its content changed; it is the directories' own affair when it is theirs.
    changed: (i64, i64),
    content: Vec<u8>,
}

impl Tree {
    pub(crate) fn of(top: &Path) -> Self {
        let mut things = BTreeMap::new();
        let mut folders = vec![top.to_owned()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
                let Ok(metadata) = path.symlink_metadata() else {
                    continue;
                };
                if metadata.is_dir() {
                    folders.push(path.clone());
                }
                let thing = Thing::of(&path, &metadata);
                things.insert(path, thing);
            }
        }
        Self(things)
    }

    /// Without what `is_left_out`.
    pub(crate) fn without(mut self, is_left_out: impl Fn(&Path) -> bool) -> Self {
        self.0.retain(|path, _| !is_left_out(path));
        self
    }

    pub(crate) fn check_same(&self, now: &Self) -> Result<(), String> {
        let all = self.0.keys().chain(now.0.keys());
        let changed = all
            .into_iter()
            .find(|path| self.0.get(*path) != now.0.get(*path));
        let Some(path) = changed else { return Ok(()) };
        let what = match (self.0.get(path), now.0.get(path)) {
            (Some(_), None) => "was removed".to_owned(),
            (None, _) => "appeared".to_owned(),
            (Some(before), Some(after)) => before.difference(after),
        };
        Err(format!("{} {what}", path.display()))
    }
}

impl Thing {
    fn of(path: &Path, metadata: &std::fs::Metadata) -> Self {
        let is_file = metadata.is_file() && metadata.len() <= MAX_LEN;
        let content = match std::fs::read_link(path) {
            Ok(target) => target.into_os_string().into_encoded_bytes(),
            Err(_) if is_file => std::fs::read(path).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let is_dir = metadata.is_dir();
        Self {
            inode: metadata.ino(),
            mode: metadata.mode(),
            owner: metadata.uid(),
            len: if is_dir { 0 } else { metadata.len() },
            changed: if is_dir {
                (0, 0)
            } else {
                (metadata.mtime(), metadata.mtime_nsec())
            },
            content,
        }
    }

    fn difference(&self, now: &Self) -> String {
        let text = |content: &[u8]| content.escape_ascii().to_string();
        if self.content != now.content {
            return format!(
                "was changed from {} to {}",
                text(&self.content),
                text(&now.content)
            );
        }
        let facts = |thing: &Self| {
            let Self {
                inode,
                mode,
                owner,
                len,
                changed,
                ..
            } = thing;
            format!("inode {inode} mode {mode:o} owner {owner} len {len} {changed:?}")
        };
        format!("was {}, is {}", facts(self), facts(now))
    }
}
