//! `monoco service install`: units written, enabled and started; over an older
//! install, an upgrade.
//!
//! What does not come up is taken back: then the machine is as it was before.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::systemctl::Manager;
use super::systemd::{self, Units, Variables};
use super::{SERVICE, SOCKET, ServiceError, files};
use crate::args::ServeOptions;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub(super) fn install(options: ServeOptions) -> Result<Exit, CliError> {
    let mut options = options
        .absolute()
        .map_err(|(path, source)| CliError::Project { path, source })?;
    options.all |= options.projects.is_empty();
    let path = std::env::var_os("PATH");
    let program = program(path.as_deref()).map_err(ServiceError::Program)?;
    let variables = Variables {
        path,
        state_home: std::env::var_os("XDG_STATE_HOME"),
    };
    let units = systemd::units(&program, &options, &variables)?;
    let manager = Manager::reach()?;
    let directory = files::directory()?;
    manager.reads(&directory)?;
    let place = Place::at(&directory);
    let before = place.installed()?;
    if let Err(error) = place.put(&manager, &units, &before) {
        // The first failure is the one to tell.
        let _ = place.take_back(&manager, &before);
        return Err(error);
    }
    let done = if before.service.is_some() {
        "replaced, and restarted"
    } else {
        "installed, and started"
    };
    output::words(&format!("{} {done}", place.service.display()));
    if ends_at_logout() {
        output::words("it ends when you log out; `loginctl enable-linger` lets it go on");
    }
    Ok(Exit::SUCCESS)
}

/// Where the two units lie.
struct Place {
    service: PathBuf,
    socket: PathBuf,
}

/// The texts of the units that are installed.
struct Installed {
    service: Option<String>,
    socket: Option<String>,
}

impl Place {
    fn at(directory: &Path) -> Self {
        Self {
            service: directory.join(SERVICE),
            socket: directory.join(SOCKET),
        }
    }

    fn installed(&self) -> Result<Installed, CliError> {
        Ok(Installed {
            service: files::ours(&self.service)?,
            socket: files::ours(&self.socket)?,
        })
    }

    fn put(&self, manager: &Manager, units: &Units, before: &Installed) -> Result<(), CliError> {
        files::replace(&self.socket, &units.socket)?;
        files::replace(&self.service, &units.service)?;
        manager.run(&["daemon-reload"])?;
        manager.run(&["reenable", SOCKET, SERVICE])?;
        // A socket that stays the same stays open: nobody is refused meanwhile.
        let is_new = before.socket.as_ref() != Some(&units.socket);
        start(manager, is_new)?;
        Ok(())
    }

    fn take_back(&self, manager: &Manager, before: &Installed) -> Result<(), CliError> {
        let was_there = before.service.is_some() && before.socket.is_some();
        if !was_there {
            manager.run(&["disable", "--now", SOCKET, SERVICE])?;
        }
        for (path, text) in [
            (&self.service, &before.service),
            (&self.socket, &before.socket),
        ] {
            match text {
                Some(text) => files::replace(path, text)?,
                None => files::remove(path)?,
            }
        }
        manager.run(&["daemon-reload"])?;
        if was_there {
            start(manager, true)?;
        }
        Ok(())
    }
}

/// Starts both, the service anew; with `anew`, the socket as well.
fn start(manager: &Manager, anew: bool) -> Result<(), ServiceError> {
    if anew {
        manager.run(&["stop", SOCKET, SERVICE])?;
    }
    // Failures of before do not count; where there were none, that is refused.
    let _ = manager.run(&["reset-failed", SOCKET, SERVICE]);
    manager.run(&["start", SOCKET])?;
    manager.run(&["restart", SERVICE])?;
    Ok(())
}

/// This program, by the name under which `PATH` finds it, if it does: that name
/// lasts when the file behind it is upgraded.
fn program(path: Option<&std::ffi::OsStr>) -> std::io::Result<PathBuf> {
    let exe = std::env::current_exe()?.canonicalize()?;
    let name = exe.file_name().unwrap_or_default();
    let mut found = path
        .into_iter()
        .flat_map(std::env::split_paths)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name));
    let same = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == exe);
    Ok(found.find(same).unwrap_or_else(|| exe.clone()))
}

/// Whether this account's services end with its last login; where nobody tells,
/// nothing is claimed.
fn ends_at_logout() -> bool {
    let uid = rustix::process::getuid().as_raw().to_string();
    let asked = Command::new("loginctl")
        .args(["show-user", &uid, "--property=Linger", "--value"])
        .stdin(Stdio::null())
        .output();
    asked.is_ok_and(|asked| asked.stdout.trim_ascii() == b"no")
}
