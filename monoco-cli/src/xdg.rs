//! Where a user's files are that belong to no project, by the XDG base directory
//! specification.

use std::ffi::OsString;
use std::path::PathBuf;

use session_core::Registry;

/// The projects of this user; `None` where there is no place for such a thing.
pub(crate) fn registry() -> Option<Registry> {
    Some(Registry::at(state_dir()?.join("projects")))
}

/// The leases on conversations, of which there is one for all projects of this user.
pub(crate) fn conversations() -> Option<PathBuf> {
    Some(state_dir()?.join("conversations"))
}

/// What outlives a restart, but is not the user's to keep:
/// `$XDG_STATE_HOME/monoco`, else `$HOME/.local/state/monoco`. `None` without a home.
pub(crate) fn state_dir() -> Option<PathBuf> {
    state_dir_of(|name| std::env::var_os(name))
}

/// What the user has written for all projects: `$XDG_CONFIG_HOME/monoco`, else
/// `$HOME/.config/monoco`. `None` without a home.
pub(crate) fn config_dir() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name);
    Some(base(variable, "XDG_CONFIG_HOME", ".config")?.join("monoco"))
}

/// The user's home.
pub(crate) fn home() -> Option<PathBuf> {
    absolute(std::env::var_os("HOME"))
}

fn state_dir_of(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    Some(base(variable, "XDG_STATE_HOME", ".local/state")?.join("monoco"))
}

fn base(variable: impl Fn(&str) -> Option<OsString>, name: &str, in_home: &str) -> Option<PathBuf> {
    absolute(variable(name)).or_else(|| Some(absolute(variable("HOME"))?.join(in_home)))
}

/// A relative path is invalid, and to be ignored, says the specification.
fn absolute(path: Option<OsString>) -> Option<PathBuf> {
    path.map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(state_home: Option<&str>, home: Option<&str>, expected: Option<&str>) {
        let variable = |name: &str| match name {
            "XDG_STATE_HOME" => state_home.map(OsString::from),
            "HOME" => home.map(OsString::from),
            other => panic!("nobody asks for {other}"),
        };
        assert_eq!(state_dir_of(variable), expected.map(PathBuf::from));
    }

    #[test]
    fn the_place_is_the_specifications() {
        let in_home = Some("/home/me/.local/state/monoco");
        check(Some("/state"), Some("/home/me"), Some("/state/monoco"));
        check(Some("/state"), None, Some("/state/monoco"));
        check(None, Some("/home/me"), in_home);
        check(Some(""), Some("/home/me"), in_home);
        check(Some("relative"), Some("/home/me"), in_home);
        check(Some("relative"), Some(""), None);
        check(None, Some("relative"), None);
        check(None, None, None);
    }
}
