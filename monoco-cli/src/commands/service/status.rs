//! `monoco service status`: what systemd knows of the service.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use session_core::Timestamp;

use super::systemctl::Manager;
use super::{SERVICE, SOCKET, files};
use crate::args::ServiceStatus;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

/// How long the program may take to say its version.
const VERSION_TIME: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

pub(super) fn status(args: &ServiceStatus) -> Result<Exit, CliError> {
    let status = Status::look(&Manager::reach()?)?;
    let mut out = output::stdout();
    if args.json {
        let json = serde_json::to_string(&status).expect("a status is plain data");
        output::written(writeln!(out, "{json}"))?;
    } else {
        for line in status.lines(Timestamp::now()) {
            output::written(writeln!(out, "{}", output::sanitise::line(&line)))?;
        }
    }
    output::written(out.flush())?;
    Ok(status.exit())
}

/// What is printed; the keys are those of `--json`.
#[derive(Debug, Serialize)]
struct Status {
    installed: bool,
    running: bool,
    /// systemd's own word: active, activating, inactive, failed, …
    active: String,
    enabled: bool,
    since: Option<String>,
    pid: Option<u32>,
    /// The file of the unit.
    unit: Option<PathBuf>,
    /// The program that it starts.
    program: Option<PathBuf>,
    /// What that program says of itself.
    version: Option<String>,
    /// Whether the program's file was replaced since the service started.
    outdated: bool,
    listen: Vec<String>,
}

impl Status {
    fn look(manager: &Manager) -> Result<Self, CliError> {
        let [load, active, enabled, since, pid, unit, exec] = manager
            .properties(
                SERVICE,
                [
                    "LoadState",
                    "ActiveState",
                    "UnitFileState",
                    "ActiveEnterTimestamp",
                    "MainPID",
                    "FragmentPath",
                    "ExecStart",
                ],
            )?
            .map(|values| values.into_iter().next().unwrap_or_default());
        let [listen] = manager.properties(SOCKET, ["Listen"])?;
        let running = ["active", "reloading"].contains(&active.as_str());
        let pid = pid.parse().ok().filter(|pid| *pid != 0);
        let unit = (!unit.is_empty()).then(|| PathBuf::from(unit));
        let program = program(&exec);
        // Nobody else's program is run to be asked its version.
        let is_ours = unit
            .as_deref()
            .is_some_and(|unit| files::ours(unit).is_ok_and(|text| text.is_some()));
        Ok(Self {
            installed: load != "not-found",
            running,
            enabled: enabled == "enabled",
            since: running.then(|| moment(&since)).flatten(),
            version: program.as_deref().filter(|_| is_ours).and_then(version),
            outdated: pid.is_some_and(is_replaced),
            listen: listen.iter().map(|listen| address(listen)).collect(),
            active,
            pid,
            unit,
            program,
        })
    }

    fn exit(&self) -> Exit {
        match (self.installed, self.running) {
            (false, _) => Exit::NOT_INSTALLED,
            (true, false) => Exit::NOT_RUNNING,
            (true, true) => Exit::SUCCESS,
        }
    }

    fn lines(&self, now: Timestamp) -> Vec<String> {
        if !self.installed {
            return vec!["not installed; `monoco service install` does it".to_owned()];
        }
        let mut first = match self.active.as_str() {
            "active" => "running".to_owned(),
            "inactive" => "stopped".to_owned(),
            other => other.to_owned(),
        };
        let since = self.since.as_deref().map(Timestamp::parse);
        if let Some(Ok(since)) = since {
            first.push_str(&format!(", started {}", output::ago::ago(since, now)));
        }
        if let Some(pid) = self.pid {
            first.push_str(&format!(", pid {pid}"));
        }
        let mut lines = vec![first];
        if let Some(unit) = &self.unit {
            let enabled = if self.enabled {
                "enabled"
            } else {
                "not enabled"
            };
            lines.push(format!("unit: {} ({enabled})", unit.display()));
        }
        if let Some(program) = &self.program {
            let version = self.version.as_deref().unwrap_or("version unknown");
            lines.push(format!("program: {} ({version})", program.display()));
        }
        if self.outdated {
            lines.push(
                "the program was replaced since: `systemctl --user restart monoco.service`"
                    .to_owned(),
            );
        }
        for listen in &self.listen {
            lines.push(format!("listens on {listen}"));
        }
        if !self.running {
            lines.push(format!("its log: journalctl --user -u {SERVICE}"));
        }
        lines
    }
}

/// The program in systemd's `{ path=/usr/bin/monoco ; argv[]=… }`.
fn program(exec: &str) -> Option<PathBuf> {
    let (path, _) = exec.split_once("path=")?.1.split_once(" ; argv[]=")?;
    Some(path.into())
}

/// The address in systemd's `127.0.0.1:8642 (Stream)`.
fn address(listen: &str) -> String {
    let bare = listen
        .rsplit_once(" (")
        .map_or(listen, |(address, _)| address);
    bare.to_owned()
}

/// systemd's `@1795477544`, in the format of our records.
fn moment(unix: &str) -> Option<String> {
    let seconds = unix.strip_prefix('@')?.parse().ok()?;
    Some(jiff::Timestamp::from_second(seconds).ok()?.to_string())
}

/// What `program --version` prints, if it does so at once: a unit may have been
/// changed to start something else.
fn version(program: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let said = child.stdout.as_mut().and_then(first_words);
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    let said = said?;
    Some(said.lines().next()?.to_owned())
}

fn first_words(stdout: &mut ChildStdout) -> Option<String> {
    let mut ready = [PollFd::new(stdout, PollFlags::IN)];
    poll(&mut ready, Some(&VERSION_TIME))
        .ok()
        .filter(|n| *n > 0)?;
    let mut said = [0; 256];
    let n = stdout.read(&mut said).ok()?;
    String::from_utf8(said[..n].to_vec()).ok()
}

/// Whether the file that `pid` was started from is gone: proc(5), `/proc/pid/exe`.
fn is_replaced(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|exe| exe.as_os_str().as_encoded_bytes().ends_with(b" (deleted)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Status {
        Status {
            installed: true,
            running: true,
            active: "active".to_owned(),
            enabled: true,
            since: moment("@1795477544"),
            pid: Some(215),
            unit: Some("/home/u/.config/systemd/user/monoco.service".into()),
            program: program("{ path=/usr/bin/monoco ; argv[]=/usr/bin/monoco serve ; pid=215 }"),
            version: Some("monoco 0.1.0".to_owned()),
            outdated: false,
            listen: vec![address("127.0.0.1:8642 (Stream)")],
        }
    }

    #[test]
    fn what_is_told_of_a_service_that_runs() {
        let now = Timestamp::parse("2026-11-23T23:47:00Z").expect("a time");
        insta::assert_snapshot!(running().lines(now).join("\n"), @r##"
        running, started 1 min ago, pid 215
        unit: /home/u/.config/systemd/user/monoco.service (enabled)
        program: /usr/bin/monoco (monoco 0.1.0)
        listens on 127.0.0.1:8642
        "##);
        insta::assert_snapshot!(serde_json::to_string(&running()).expect("plain data"), @r##"
        {"installed":true,"running":true,"active":"active","enabled":true,"since":"2026-11-23T23:45:44Z","pid":215,"unit":"/home/u/.config/systemd/user/monoco.service","program":"/usr/bin/monoco","version":"monoco 0.1.0","outdated":false,"listen":["127.0.0.1:8642"]}
        "##);
        assert_eq!(running().exit().code(), 0);
    }

    #[test]
    fn what_is_told_of_one_that_failed() {
        let status = Status {
            running: false,
            active: "failed".to_owned(),
            since: None,
            pid: None,
            enabled: false,
            version: None,
            outdated: true,
            ..running()
        };
        insta::assert_snapshot!(status.lines(Timestamp::now()).join("\n"), @r##"
        failed
        unit: /home/u/.config/systemd/user/monoco.service (not enabled)
        program: /usr/bin/monoco (version unknown)
        the program was replaced since: `systemctl --user restart monoco.service`
        listens on 127.0.0.1:8642
        its log: journalctl --user -u monoco.service
        "##);
        assert_eq!(status.exit().code(), 3);
        let status = Status {
            installed: false,
            ..status
        };
        assert_eq!(status.exit().code(), 4);
    }
}
