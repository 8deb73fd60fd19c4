//! What may stand where monoco expects a file or a directory of its own.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};

use super::looks::NOBODY;

/// What stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing {
    Fifo,
    Folder,
    File,
    Device,
    Socket,
    /// A link to what stood there before, and now stands elsewhere.
    LinkOut,
    Dangling,
    LinkToItself,
    LinkToDevice,
    /// What stood there before, given to another account.
    Foreign,
    /// What stood there before, without any rights.
    Closed,
    /// What stood there before, which stands elsewhere as well.
    HardLink,
    /// 10 GiB without content.
    Huge,
}

impl Thing {
    pub(super) const ALL: [Self; 13] = [
        Self::Fifo,
        Self::Folder,
        Self::File,
        Self::Device,
        Self::Socket,
        Self::LinkOut,
        Self::Dangling,
        Self::LinkToItself,
        Self::LinkToDevice,
        Self::Foreign,
        Self::Closed,
        Self::HardLink,
        Self::Huge,
    ];

    /// Whether it can stand in the place of a directory as well as of a file.
    pub(super) fn can_stand_for(self, is_folder: bool) -> bool {
        !(is_folder && self == Self::HardLink)
    }

    /// Whether a record there can be read, and whether a directory can be used.
    pub(super) fn is_fine_for(self, is_folder: bool) -> bool {
        self == Self::HardLink || (is_folder && self == Self::Folder)
    }

    /// Whether it cannot be asked if a lease there is held.
    pub(super) fn is_untold(self) -> bool {
        let links = [
            Self::LinkOut,
            Self::Dangling,
            Self::LinkToItself,
            Self::LinkToDevice,
        ];
        links.contains(&self) || matches!(self, Self::Socket | Self::Closed)
    }

    /// Puts it at `path`; what stood there goes to `outside`.
    pub(super) fn plant(self, path: &Path, outside: &Path) -> io::Result<()> {
        let aside = aside(path, outside);
        match self {
            Self::Foreign => return chown(path, Some(NOBODY), Some(NOBODY)),
            Self::Closed => return fs::set_permissions(path, fs::Permissions::from_mode(0o000)),
            _ => fs::rename(path, &aside)?,
        }
        match self {
            Self::Fifo => Ok(rustix::fs::mkfifoat(CWD, path, Mode::RWXU)?),
            Self::Folder => fs::create_dir(path),
            Self::File => fs::write(path, "not what was expected\n"),
            Self::Device => {
                let zero = rustix::fs::makedev(1, 5);
                let mode = Mode::RWXU;
                Ok(rustix::fs::mknodat(
                    CWD,
                    path,
                    FileType::CharacterDevice,
                    mode,
                    zero,
                )?)
            }
            Self::Socket => {
                // Its address has to be short.
                let short = outside.join("s");
                drop(UnixListener::bind(&short)?);
                fs::rename(short, path)
            }
            Self::LinkOut => symlink(&aside, path),
            Self::Dangling => symlink(outside.join("nowhere"), path),
            Self::LinkToItself => symlink(path, path),
            Self::LinkToDevice => symlink("/dev/zero", path),
            Self::HardLink => fs::hard_link(&aside, path),
            Self::Huge => File::create(path)?.set_len(10 << 30),
            Self::Foreign | Self::Closed => Ok(()),
        }
    }
}

/// Where what stood at `path` has gone.
pub(super) fn aside(path: &Path, outside: &Path) -> PathBuf {
    outside.join(path.file_name().unwrap_or_default())
}
