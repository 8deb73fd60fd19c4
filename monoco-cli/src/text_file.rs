//! Small text files that people write and monoco obeys: configuration and roles.
//!
//! Those of a project came with it and are hostile: whatever stands in their place,
//! reading them is bounded, waits for nothing, and leaves the project through no
//! symbolic link. Files of another user are never obeyed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// The most names that are looked at in one folder.
const MAX_NAMES: usize = 10_000;

/// Who wrote the files of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The user or the system's administrator, who may keep them elsewhere and link
    /// to them.
    Users,
    /// Whoever made the project. The folder and its files must be our own.
    Projects,
}

/// Why something is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it cannot be opened")]
    Io(#[from] io::Error),
    #[error("it is a symbolic link, which nothing in a project's .monoco may be")]
    Symlink,
    #[error("it is not a {0}")]
    IsNot(&'static str),
    #[error("it belongs to another user (uid {0})")]
    ForeignOwner(u32),
    #[error("it is larger than {} KiB", .0 >> 10)]
    TooLarge(u64),
    #[error("it holds more than {0} files")]
    TooMany(usize),
    #[error("it is not UTF-8 text")]
    NotText,
}

/// A folder that is kept open: what is read is in it, also where somebody moves it.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    whose: Whose,
}

impl Folder {
    /// Opens a folder; `None` where there is none.
    pub(crate) fn open(path: &Path, whose: Whose) -> Result<Option<Self>, Refusal> {
        Self::open_at(rustix::fs::CWD, path.as_os_str(), path.to_owned(), whose)
    }

    /// The folder `name` in this one; `None` where there is none.
    pub(crate) fn folder(&self, name: &str) -> Result<Option<Self>, Refusal> {
        Self::open_at(&self.fd, name.as_ref(), self.path.join(name), self.whose)
    }

    fn open_at(
        parent: impl AsFd,
        name: &OsStr,
        path: PathBuf,
        whose: Whose,
    ) -> Result<Option<Self>, Refusal> {
        let kind = (OFlags::DIRECTORY, FileType::Directory, "directory");
        match open(parent, name, kind, whose) {
            Ok(fd) => Ok(fd.map(|fd| Self { fd, path, whose })),
            // Whose home cannot be entered (another account, with our environment) has
            // nothing to say there, as git has it.
            Err(Refusal::Io(error))
                if whose == Whose::Users && error.kind() == io::ErrorKind::PermissionDenied =>
            {
                Ok(None)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Where `name` in this folder is.
    pub(crate) fn path_of(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// The text of a file of at most `max_len` bytes; `None` where there is none.
    pub(crate) fn read(
        &self,
        name: impl AsRef<OsStr>,
        max_len: u64,
    ) -> Result<Option<String>, Refusal> {
        let kind = (OFlags::empty(), FileType::RegularFile, "regular file");
        let Some(fd) = open(&self.fd, name.as_ref(), kind, self.whose)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        File::from(fd).take(max_len + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max_len {
            return Err(Refusal::TooLarge(max_len));
        }
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|_| Refusal::NotText)
    }

    /// The names in this folder, in order.
    pub(crate) fn names(&self) -> Result<Vec<OsString>, Refusal> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(io::Error::from)? {
            let entry = entry.map_err(io::Error::from)?;
            names.push(OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
            if names.len() > MAX_NAMES {
                return Err(Refusal::TooMany(MAX_NAMES));
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

fn open(
    parent: impl AsFd,
    name: &OsStr,
    (flags, expected, word): (OFlags, FileType, &'static str),
    whose: Whose,
) -> Result<Option<OwnedFd>, Refusal> {
    let mut flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if whose == Whose::Projects {
        flags |= OFlags::NOFOLLOW;
    }
    let fd = match rustix::fs::openat(&parent, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(Refusal::Symlink),
        // A link to a directory is none either, says open(2) of O_NOFOLLOW.
        Err(Errno::NOTDIR) if is_symlink(&parent, name) => return Err(Refusal::Symlink),
        Err(Errno::NXIO | Errno::NOTDIR) => return Err(Refusal::IsNot(word)),
        Err(error) => return Err(Refusal::Io(error.into())),
    };
    let stat = rustix::fs::fstat(&fd).map_err(io::Error::from)?;
    if FileType::from_raw_mode(stat.st_mode) != expected {
        return Err(Refusal::IsNot(word));
    }
    let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
    let is_systems = whose == Whose::Users && stat.st_uid == 0;
    if !is_ours && !is_systems {
        return Err(Refusal::ForeignOwner(stat.st_uid));
    }
    Ok(Some(fd))
}

fn is_symlink(parent: impl AsFd, name: &OsStr) -> bool {
    let stat = rustix::fs::statat(parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn check(dir: &Path, whose: Whose, name: &str, expected: Result<Option<&str>, &str>) {
        let folder = Folder::open(dir, whose).expect("ours").expect("there");
        let read = folder
            .read(name, 2048)
            .map_err(|refusal| refusal.to_string());
        let expected = expected.map(|text| text.map(str::to_owned));
        assert_eq!(read, expected.map_err(str::to_owned), "{name}");
    }

    #[test]
    fn only_regular_text_of_a_bearable_size_is_read() {
        let dir = tempfile::tempdir().expect("room");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("text"), "grüße").expect("room");
        fs::write(at("bytes"), b"\xff").expect("room");
        fs::write(at("full"), vec![b'x'; 2048]).expect("room");
        fs::write(at("large"), vec![b'x'; 2049]).expect("room");
        fs::create_dir(at("folder")).expect("room");
        symlink("text", at("link")).expect("room");
        let fifo = rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0);
        fifo.expect("room");
        for whose in [Whose::Users, Whose::Projects] {
            check(dir.path(), whose, "text", Ok(Some("grüße")));
            check(dir.path(), whose, "none", Ok(None));
            check(dir.path(), whose, "bytes", Err("it is not UTF-8 text"));
            check(dir.path(), whose, "full", Ok(Some(&"x".repeat(2048))));
            check(dir.path(), whose, "large", Err("it is larger than 2 KiB"));
            check(dir.path(), whose, "folder", Err("it is not a regular file"));
            check(dir.path(), whose, "fifo", Err("it is not a regular file"));
        }
        check(dir.path(), Whose::Users, "link", Ok(Some("grüße")));
        let refused = "it is a symbolic link, which nothing in a project's .monoco may be";
        check(dir.path(), Whose::Projects, "link", Err(refused));
    }

    #[test]
    fn a_projects_folder_is_no_link() {
        let dir = tempfile::tempdir().expect("room");
        let (folder, link) = (dir.path().join("folder"), dir.path().join("link"));
        fs::create_dir(&folder).expect("room");
        symlink(&folder, &link).expect("room");
        assert!(Folder::open(&link, Whose::Users).expect("ours").is_some());
        let refused = Folder::open(&link, Whose::Projects).expect_err("a link");
        assert!(matches!(refused, Refusal::Symlink), "{refused}");
        let dir = Folder::open(dir.path(), Whose::Projects).expect("ours");
        let refused = dir.expect("there").folder("link").expect_err("a link");
        assert!(matches!(refused, Refusal::Symlink), "{refused}");
    }
}
