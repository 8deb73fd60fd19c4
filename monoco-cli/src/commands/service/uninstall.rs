//! `monoco service uninstall`: stopped, disabled, and its units removed. Sessions
//! go on.

use super::systemctl::Manager;
use super::{SERVICE, SOCKET, files};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub(super) fn uninstall() -> Result<Exit, CliError> {
    let manager = Manager::reach()?;
    let directory = files::directory()?;
    let mut ours = Vec::new();
    // The socket first: whoever called it in between would start the service.
    for unit in [SOCKET, SERVICE] {
        let path = directory.join(unit);
        if files::ours(&path)?.is_some() {
            ours.push((unit, path));
        }
    }
    if ours.is_empty() {
        output::words("the service is not installed");
        return Ok(Exit::SUCCESS);
    }
    let units = ours.iter().map(|(unit, _)| *unit);
    let disable: Vec<_> = ["disable", "--now"].into_iter().chain(units).collect();
    manager.run(&disable)?;
    for (_, path) in &ours {
        files::remove(path)?;
    }
    manager.run(&["daemon-reload"])?;
    // What had failed is forgotten; where nothing had, that is refused.
    let _ = manager.run(&["reset-failed", SOCKET, SERVICE]);
    output::words("the service is removed; sessions go on");
    Ok(Exit::SUCCESS)
}
