//! Who holds a conversation: what stands in the lease's file, and what is true of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::chain::error_chain;
use crate::id::SessionId;
use crate::observe::{Liveness, Observer};
use crate::process::Host;
use crate::store::{Store, StoreError};

/// The longest path of a project, in bytes (`PATH_MAX`, `limits.h`).
const MAX_PATH_LEN: usize = 4096;
/// The length of a boot's id, a UUID in text (`random(4)`).
const BOOT_ID_LEN: usize = 36;

/// A session that holds a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its project's directory.
    pub project: PathBuf,
    /// The session.
    pub session: SessionId,
}

/// How a session holds a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hold {
    /// It lives, or may live.
    Lives,
    /// It has ended; its owner still ends what its agent left running.
    Ending,
    /// Its project is not where it was. Where it was moved, its agent may live.
    NoProject,
    /// What became of it cannot be read: what, and why.
    Unreadable(Box<str>),
}

/// A holder, and the boot in which it took the conversation, where that was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) holder: Holder,
    boot_id: Option<String>,
}

impl Holder {
    /// Three lines: the session, its project and the boot, which no agent outlives.
    pub(super) fn to_content(&self) -> io::Result<Vec<u8>> {
        let path = self.project.as_os_str().as_bytes();
        let is_path = path.starts_with(b"/") && path.len() <= MAX_PATH_LEN;
        if !is_path {
            let words = format!("{} cannot be a project's path", path.escape_ascii());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let mut content = [self.session.as_str().as_bytes(), b"\n", path, b"\n"].concat();
        // Without it the session may live for as long as its project is not found.
        if let Some(boot_id) = current_boot() {
            content.extend([boot_id.as_bytes(), b"\n"].concat());
        }
        Ok(content)
    }
}

impl Written {
    /// `None` where nobody has written, or not all of it: before a power loss, perhaps,
    /// which no agent outlives.
    pub(super) fn in_file(file: &File) -> io::Result<Option<Self>> {
        let mut content = Vec::new();
        let most = SessionId::MAX_LEN + MAX_PATH_LEN + BOOT_ID_LEN + 4;
        Start(file, 0).take(most as u64).read_to_end(&mut content)?;
        Ok(Self::parse(&content))
    }

    fn parse(content: &[u8]) -> Option<Self> {
        let (session, rest) =
            content.split_at_checked(content.iter().position(|b| *b == b'\n')?)?;
        let rest = rest.strip_prefix(b"\n")?.strip_suffix(b"\n")?;
        // A path may have lines of its own.
        let last = rest.iter().rposition(|b| *b == b'\n');
        let last = last.and_then(|at| Some((&rest[..at], boot_id(&rest[at + 1..])?)));
        let (path, boot_id) = last.map_or((rest, None), |(path, id)| (path, Some(id)));
        let is_path = path.starts_with(b"/") && path.len() <= MAX_PATH_LEN;
        let holder = Holder {
            session: SessionId::parse(std::str::from_utf8(session).ok()?).ok()?,
            project: is_path.then(|| OsStr::from_bytes(path).into())?,
        };
        Some(Self { holder, boot_id })
    }

    /// How the session holds the conversation: `None` only where it is certain that it
    /// does not.
    pub(super) fn hold(&self) -> Option<Hold> {
        let Holder { project, session } = &self.holder;
        let store = match Store::open(project) {
            Ok(store) => store,
            Err(StoreError::NoProject(_)) => {
                let is_of_another_boot = self.boot_id.is_some()
                    && current_boot().is_some_and(|now| self.boot_id != Some(now));
                return (!is_of_another_boot).then_some(Hold::NoProject);
            }
            Err(error) => {
                return Some(Hold::Unreadable(error_chain(&error).into()));
            }
        };
        let path = store.record_path(session);
        match Observer::new(store).observe(session) {
            Ok(Some(seen)) if seen.liveness == Liveness::Ended => Some(Hold::Ending),
            Ok(Some(seen)) => seen.may_live().then_some(Hold::Lives),
            Ok(None) => None,
            Err(damage) => {
                let words = format!("{}: {damage}", path.display());
                Some(Hold::Unreadable(words.into()))
            }
        }
    }
}

fn boot_id(line: &[u8]) -> Option<String> {
    let is_boot_id =
        line.len() == BOOT_ID_LEN && line.iter().all(|b| b.is_ascii_hexdigit() || *b == b'-');
    is_boot_id.then(|| String::from_utf8_lossy(line).into_owned())
}

fn current_boot() -> Option<String> {
    let host = Host::current().ok()?;
    boot_id(host.boot_id.as_bytes())
}

/// Reads a file from its start, wherever its offset is, which others share.
struct Start<'a>(&'a File, u64);

impl Read for Start<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.0.read_at(buffer, self.1)?;
        self.1 += n_read as u64;
        Ok(n_read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(session: &str, path: &[u8], rest: &str) -> Option<Written> {
        let content = [session.as_bytes(), b"\n", path, b"\n", rest.as_bytes()].concat();
        Written::parse(&content)
    }

    #[test]
    fn who_is_gone_with_its_project_is_dead_after_the_next_boot_only() {
        let now = format!("{}\n", current_boot().expect("it is told"));
        let before = "00000000-0000-4000-8000-000000000000\n";
        for (boot, hold) in [
            ("", Some(Hold::NoProject)),
            (&now, Some(Hold::NoProject)),
            (before, None),
        ] {
            let found = written("a", b"/nowhere/at\n/all", boot).expect("a holder");
            assert_eq!(found.holder.project, PathBuf::from("/nowhere/at\n/all"));
            assert_eq!(found.hold(), hold, "{boot}");
        }
        assert!(written("a", b"nowhere", "").is_none());
        assert!(written("a b", b"/nowhere", before).is_none());
    }

    #[test]
    fn what_is_written_is_read() {
        let holder = Holder {
            project: "/a\nb".into(),
            session: SessionId::parse("s").expect("an id"),
        };
        let content = holder.to_content().expect("a path");
        let found = Written::parse(&content).expect("a holder");
        assert_eq!((found.holder, found.boot_id), (holder, current_boot()));
    }
}
