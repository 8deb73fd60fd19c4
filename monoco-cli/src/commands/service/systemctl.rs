//! Talking to the user manager: the only place that runs `systemctl`.

use std::path::Path;
use std::process::{Command, Stdio};

use super::ServiceError;

/// A user manager that has answered.
#[derive(Debug)]
pub(super) struct Manager {
    /// The directories that it reads units in, as it says them.
    unit_path: String,
}

impl Manager {
    /// Asks whether there is one.
    pub(super) fn reach() -> Result<Self, ServiceError> {
        match systemctl(&["show", "--property=UnitPath", "--value"]) {
            Ok(unit_path) => Ok(Self { unit_path }),
            Err(Failure { said }) => Err(ServiceError::NoManager { reason: said }),
        }
    }

    /// Demands that it reads units in `directory`.
    pub(super) fn reads(&self, directory: &Path) -> Result<(), ServiceError> {
        // A list without quotes: names with spaces are found so as well.
        let listed = format!(" {} ", self.unit_path.trim());
        let found = listed.contains(&format!(" {} ", directory.display()));
        found
            .then_some(())
            .ok_or_else(|| ServiceError::NotRead(directory.to_owned()))
    }

    /// Runs `systemctl --user` with `args`, and returns what it printed.
    /// A manager that has answered is the permission.
    pub(super) fn run(&self, args: &[&str]) -> Result<String, ServiceError> {
        systemctl(args).map_err(|Failure { said }| ServiceError::Refused {
            command: args.join(" "),
            said,
        })
    }

    /// The properties of a unit, in the order they were asked for; an unknown unit
    /// has them too.
    pub(super) fn properties<const N: usize>(
        &self,
        unit: &str,
        names: [&str; N],
    ) -> Result<[Vec<String>; N], ServiceError> {
        let wanted = format!("--property={}", names.join(","));
        let text = self.run(&["show", "--timestamp=unix", &wanted, unit])?;
        Ok(names.map(|name| {
            let values = text.lines().filter_map(|line| line.split_once('='));
            let values = values.filter(|(key, _)| *key == name);
            values.map(|(_, value)| value.to_owned()).collect()
        }))
    }
}

struct Failure {
    said: String,
}

fn systemctl(args: &[&str]) -> Result<String, Failure> {
    let output = Command::new("systemctl")
        .args(["--user", "--no-pager", "--no-ask-password"])
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure {
            said: format!("systemctl: {error}"),
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = said.split_whitespace().collect();
    Err(Failure {
        said: match said.as_slice() {
            [] => output.status.to_string(),
            said => said.join(" "),
        },
    })
}
