//! Whether engines could do their work: their program is found, tells its version in
//! time, and something is there that they authenticate with.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Access;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::engine::{Credentials, Engine};
use crate::xdg;

/// How long a program has to tell its version. Some take 4 s when they are loaded for
/// the first time, and all are asked at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than this is no version.
const MAX_OUTPUT: u64 = 4096;
/// A version of which no number can be told is shown up to here.
const MAX_VERSION: usize = 40;

/// What was found out about an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// Where its program is.
    pub(crate) program: Option<PathBuf>,
    pub(crate) version: Option<String>,
    /// Why it is not ready; `None` when it is, as far as can be told without asking
    /// its model.
    pub(crate) problem: Option<String>,
}

/// Looks at all of `engines` at once.
pub(crate) fn look<'a>(engines: impl Iterator<Item = &'a Engine>) -> Vec<Readiness> {
    std::thread::scope(|scope| {
        let looks: Vec<_> = engines
            .map(|engine| scope.spawn(|| engine.readiness()))
            .collect();
        let looks = looks
            .into_iter()
            .map(|look| look.join().expect("nothing panics there"));
        looks.collect()
    })
}

impl Engine {
    fn readiness(&self) -> Readiness {
        let Some(program) = found(&self.program) else {
            return Readiness {
                program: None,
                version: None,
                problem: Some("not found in PATH".to_owned()),
            };
        };
        let (version, problem) = match version(&program, &self.version, PATIENCE) {
            Ok(version) => (Some(version), self.credentials.problem()),
            Err(problem) => (None, Some(problem)),
        };
        Readiness {
            program: Some(program),
            version,
            problem,
        }
    }
}

impl Credentials {
    fn problem(&self) -> Option<String> {
        let names = self.env.iter().chain(&self.files);
        let names: Vec<&str> = names.map(String::as_str).collect();
        let set = |name: &String| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let there = |file: &String| expanded(file).is_some_and(|file| file.exists());
        let any = names.is_empty() || self.env.iter().any(set) || self.files.iter().any(there);
        (!any).then(|| format!("no credentials seen: none of {}", names.join(", ")))
    }
}

/// A path that may begin with `~/` or with a variable.
fn expanded(file: &str) -> Option<PathBuf> {
    if let Some(rest) = file.strip_prefix("~/") {
        return Some(xdg::home()?.join(rest));
    }
    let Some((name, rest)) = file.strip_prefix('$').and_then(|file| file.split_once('/')) else {
        return Some(file.into());
    };
    let dir = std::env::var_os(name).filter(|dir| !dir.is_empty())?;
    Some(Path::new(&dir).join(rest))
}

/// Where a program is: as `execvp(3)` finds it.
pub(crate) fn found(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| is_executable(path));
    }
    let path = std::env::var_os("PATH");
    let path = path.as_deref().unwrap_or(OsStr::new("/bin:/usr/bin"));
    let mut candidates = std::env::split_paths(path).map(|dir| dir.join(program));
    candidates.find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

/// The version that `program` prints, or why there is none.
fn version(program: &Path, args: &[String], patience: Duration) -> Result<String, String> {
    let deadline = Instant::now() + patience;
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let child = command.spawn();
    let mut child = child.map_err(|error| format!("cannot be executed: {error}"))?;
    let output = output(&mut child, deadline);
    let status = end(child, deadline);
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => format!("told no version within {} s", patience.as_secs()),
        _ => format!("told no version: {error}"),
    })?;
    match (number(&output), status) {
        (Some(version), _) => Ok(version),
        (None, Ok(Some(code))) if code != 0 => Err(format!("told no version, exited {code}")),
        (None, _) => Err("told no version".to_owned()),
    }
}

/// What a child prints until it closes its output, which a program does that ends.
fn output(child: &mut Child, deadline: Instant) -> io::Result<String> {
    let mut stdout = child.stdout.take().expect("it is a pipe");
    let mut output = Vec::new();
    loop {
        if !is_ready(&stdout, deadline)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut chunk = [0; 512];
        match stdout.read(&mut chunk)? {
            0 => break,
            n => output.extend_from_slice(&chunk[..n]),
        }
        if output.len() as u64 > MAX_OUTPUT {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// Waits for a child's end, and ends it with what it has started when its time is up.
/// Its exit code, if it ended by itself.
fn end(mut child: Child, deadline: Instant) -> io::Result<Option<i32>> {
    let pid = Pid::from_child(&child);
    let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from);
    let ended = ended.and_then(|process| is_ready(&process, deadline));
    // It is not reaped yet, so the group is still its own. Its leader, if it has ended,
    // keeps its exit code.
    let _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait()?;
    ended.map(|_| status.code())
}

/// Whether something is to be read before the deadline.
fn is_ready(fd: &impl AsFd, deadline: Instant) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    Ok(poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&left))? > 0)
}

/// The version's number in the first line that is not empty; else that line.
fn number(output: &str) -> Option<String> {
    let line = output
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())?;
    let is_number =
        |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    let words = line.split([' ', ',', '(', ')', '/', '@']);
    let number = words
        .map(|word| word.strip_prefix('v').unwrap_or(word))
        .find(is_number);
    Some(match number {
        Some(number) => number.to_owned(),
        None => line.chars().take(MAX_VERSION).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_programs_print() {
        for (output, expected) in [
            ("2.1.0 (Claude Code)\n", Some("2.1.0")),
            ("codex-cli 0.169.0", Some("0.169.0")),
            ("\n  aider v0.86.1\n", Some("0.86.1")),
            ("kimi, version 1.2", Some("1.2")),
            ("agent@1.0.0-beta.3 linux", Some("1.0.0-beta.3")),
            ("nightly", Some("nightly")),
            ("\n \n", None),
        ] {
            assert_eq!(number(output).as_deref(), expected, "{output}");
        }
    }

    #[track_caller]
    fn check(script: &str, expected: Result<&str, &str>) {
        let args = ["-c", script].map(str::to_owned);
        let told = version(Path::new("/bin/sh"), &args, Duration::from_secs(2));
        let told = told.as_deref().map_err(String::as_str);
        assert_eq!(told, expected);
    }

    #[test]
    fn a_program_is_asked_and_not_waited_for() {
        let start = Instant::now();
        check("echo tool 1.2.3", Ok("1.2.3"));
        check("exit 3", Err("told no version, exited 3"));
        check("echo 1.2.3; exec >&-; sleep 60", Ok("1.2.3"));
        check("sleep 60 & sleep 60", Err("told no version within 2 s"));
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn what_an_engine_authenticates_with_is_only_looked_at() {
        let credentials = |env: &[&str], files: &[&str]| Credentials {
            env: env.iter().map(|name| (*name).to_owned()).collect(),
            files: files.iter().map(|file| (*file).to_owned()).collect(),
        };
        assert_eq!(credentials(&[], &[]).problem(), None);
        assert_eq!(credentials(&["PATH"], &[]).problem(), None);
        assert_eq!(credentials(&[], &["/none", "/dev/null"]).problem(), None);
        assert_eq!(
            credentials(&["NO_SUCH_KEY"], &["/none", "$NO_SUCH_DIR/x"])
                .problem()
                .as_deref(),
            Some("no credentials seen: none of NO_SUCH_KEY, /none, $NO_SUCH_DIR/x")
        );
    }
}
