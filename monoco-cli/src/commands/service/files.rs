//! The unit files: where they lie, whose they are, and how they are replaced.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::ServiceError;
use crate::error::CliError;

/// How everything begins that was written here.
pub(super) const MARKER: &str = "# Written by `monoco service install`.";

/// Where the units of this account lie: systemd.unit(5), "unit load path".
pub(super) fn directory() -> Result<PathBuf, ServiceError> {
    directory_by(
        std::env::var_os("XDG_CONFIG_HOME"),
        std::env::var_os("HOME"),
    )
    .ok_or(ServiceError::NoHome)
}

/// A base directory that is not absolute counts as none (XDG Base Directory
/// Specification 0.8).
fn directory_by(config: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |dir: Option<OsString>| dir.map(PathBuf::from).filter(|dir| dir.is_absolute());
    let config = absolute(config).or_else(|| Some(absolute(home)?.join(".config")))?;
    Some(config.join("systemd/user"))
}

/// What we wrote at `path` earlier; `None` where nothing is.
pub(super) fn ours(path: &Path) -> Result<Option<String>, CliError> {
    let attempt = || CliError::io(format!("look at {}", path.display()));
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(attempt()(error)),
        // A link is how units are masked, and how others install theirs.
        Ok(metadata) if !metadata.is_file() => {
            return Err(ServiceError::Foreign(path.to_owned()).into());
        }
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(attempt())?;
    match String::from_utf8(bytes) {
        Ok(text) if text.starts_with(MARKER) => Ok(Some(text)),
        _ => Err(ServiceError::Foreign(path.to_owned()).into()),
    }
}

/// Puts `text` in the place of the file at `path`, whole or not at all.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), CliError> {
    let attempt = || CliError::io(format!("write {}", path.display()));
    let directory = path.parent().expect("units lie in a directory");
    fs::create_dir_all(directory).map_err(attempt())?;
    // systemd reads only what has the ending of a unit.
    let temporary = path.with_extension(format!("monoco-{}", std::process::id()));
    let written = fs::File::create_new(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Where it could not be made there is nothing to remove.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(attempt())
}

/// Removes the file at `path`, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), CliError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CliError::io(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(config: Option<&str>, home: Option<&str>, expected: Option<&str>) {
        let found = directory_by(config.map(Into::into), home.map(Into::into));
        assert_eq!(found.as_deref(), expected.map(Path::new));
    }

    #[test]
    fn units_lie_where_systemd_looks() {
        check(Some("/c"), Some("/h"), Some("/c/systemd/user"));
        check(None, Some("/h"), Some("/h/.config/systemd/user"));
        check(Some(""), Some("/h"), Some("/h/.config/systemd/user"));
        check(Some("c"), Some("/h"), Some("/h/.config/systemd/user"));
        check(None, Some("h"), None);
        check(None, None, None);
    }

    #[test]
    fn only_our_own_files_are_ours() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("new/monoco.service");
        assert!(ours(&path).expect("nothing is there").is_none());
        for text in [format!("{MARKER}\n1"), format!("{MARKER}\n2")] {
            replace(&path, &text).expect("it can be written");
            assert_eq!(ours(&path).expect("it can be read"), Some(text));
        }
        let names = fs::read_dir(dir.path().join("new")).expect("a directory");
        assert_eq!(names.count(), 1, "nothing is left beside it");
        remove(&path).expect("it can be removed");
        remove(&path).expect("it is gone");
        fs::write(&path, "[Service]\n").expect("a file");
        assert!(ours(&path).is_err(), "somebody else's");
        remove(&path).expect("it can be removed");
        std::os::unix::fs::symlink("/dev/null", &path).expect("a link");
        assert!(ours(&path).is_err(), "masked");
    }
}
