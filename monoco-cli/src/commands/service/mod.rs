//! `monoco service`: the daemon under systemd's user manager.
//!
//! It promises that sessions never belong to the service: whatever is done to it
//! here, they go on. It never overwrites or removes a unit that it did not write,
//! and writes nothing where no user manager answers.

mod files;
mod install;
mod status;
mod systemctl;
mod systemd;
mod uninstall;

use std::io;
use std::path::PathBuf;

use crate::args::{Service, ServiceVerb};
use crate::error::CliError;
use crate::exit::Exit;

/// The daemon itself.
const SERVICE: &str = "monoco.service";
/// What it listens on; it stays open while the daemon is restarted.
const SOCKET: &str = "monoco.socket";

pub(super) fn service(service: Service) -> Result<Exit, CliError> {
    match service.verb {
        ServiceVerb::Install(args) => install::install(args.options),
        ServiceVerb::Uninstall(_) => uninstall::uninstall(),
        ServiceVerb::Status(args) => status::status(&args),
    }
}

/// The service could not be dealt with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// Nobody answers `systemctl --user`.
    #[error(
        "no systemd user manager can be reached ({reason}){}; without one, run `monoco serve` itself",
        hint()
    )]
    NoManager { reason: String },
    /// It reads its units elsewhere.
    #[error(
        "systemd's user manager does not read units in {}; is XDG_CONFIG_HOME or HOME another \
         one than at login?", .0.display()
    )]
    NotRead(PathBuf),
    /// Neither is there a home.
    #[error("cannot tell where units belong: neither XDG_CONFIG_HOME nor HOME is an absolute path")]
    NoHome,
    /// Somebody else's unit.
    #[error("{} was not written by monoco; move it away first", .0.display())]
    Foreign(PathBuf),
    /// No unit can name it.
    #[error("a unit of systemd cannot hold {what} {text:?}: {why}")]
    Unwritable {
        what: &'static str,
        text: String,
        why: &'static str,
    },
    /// This program cannot be told.
    #[error("cannot tell where this program is installed; was it replaced just now?")]
    Program(#[source] io::Error),
    /// systemd said no.
    #[error("`systemctl --user {command}` failed: {said}")]
    Refused { command: String, said: String },
}

/// The usual reason for a user manager that is there, but cannot be found.
fn hint() -> &'static str {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        "; XDG_RUNTIME_DIR is not set: log in as this user, rather than with su or sudo"
    } else {
        ""
    }
}
