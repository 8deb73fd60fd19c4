//! strace: what a process asks of the kernel, and one of these calls made to fail.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::process::{Child, Command, Stdio};

use monoco_tests::{Project, Signal, alive, finish, kill, wait_until};

use super::Injection;

/// One occurrence of a system call in one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) number: u64,
    /// The how manieth of its kind, from 1 on.
    pub(super) when: u64,
}

/// What one process did.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) text: String,
    /// In the order in which they were made.
    pub(super) calls: Vec<Call>,
}

/// A way of running strace.
#[derive(Debug)]
pub(super) struct Strace {
    injection: Option<Injection>,
    follow: bool,
    trace: PathBuf,
}

impl Strace {
    /// One that makes a call fail, or that only looks.
    pub(super) fn new(project: &Project, injection: Option<Injection>, follow: bool) -> Self {
        Self {
            injection,
            follow,
            trace: project.state_home().join("trace"),
        }
    }

    /// The words before the program's own, or before `-p PID`.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = vec!["strace".to_owned(), "-qq".to_owned()];
        match (self.follow, &self.injection) {
            (false, _) => {}
            (true, Some(_)) => words.push("-f".to_owned()),
            // A file of its own for each process.
            (true, None) => words.push("-ff".to_owned()),
        }
        match &self.injection {
            None => words.push("-n".to_owned()),
            Some(Injection {
                call, fault, when, ..
            }) => {
                let fault = fault.as_strace_has_it();
                words.extend(["-e".to_owned(), format!("trace={call}")]);
                words.extend([
                    "-e".to_owned(),
                    format!("inject={call}:{fault}:when={when}"),
                ]);
            }
        }
        words.extend(["-o".to_owned(), self.trace.display().to_string()]);
        words
    }

    /// `program`, traced, as a command of the project.
    pub(super) fn command(&self, project: &Project, program: &[&str]) -> Command {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(program);
        project.at_home(command)
    }

    /// Traces `pid` while `act` is called.
    pub(super) fn attached<T>(
        &self,
        project: &Project,
        pid: i32,
        act: impl FnOnce() -> T,
    ) -> Result<T, String> {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["-p", &pid.to_string()]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // None of the project: it is no survivor of what it traces.
        command.current_dir(project.state_home());
        let tracer = command.spawn().map_err(|error| error.to_string())?;
        let is_traced = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            let tracer = format!("TracerPid:\t{}\n", tracer.id());
            // The call that it is in may be its last as soon as it is traced.
            !alive(pid) || status.is_ok_and(|status| status.contains(&tracer))
        };
        wait_until("the process is traced", is_traced);
        let done = act();
        let_go(tracer);
        Ok(done)
    }

    /// What was seen of each process.
    pub(super) fn seen(&self) -> Result<Vec<Seen>, String> {
        let folder = self.trace.parent().expect("it is in a directory");
        let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
        let mut paths: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("trace")
        });
        paths.sort();
        paths.iter().map(|path| Seen::read(path)).collect()
    }

    /// The line of the call that was made to fail or was the last, if it was met.
    pub(super) fn met(&self) -> Option<String> {
        let traced = std::fs::read_to_string(&self.trace).ok()?;
        let marks = ["(INJECTED)", "+++ killed by SIGKILL +++"];
        let mut lines = traced.lines();
        let found = lines.find(|line| marks.iter().any(|mark| line.contains(mark)));
        found.map(str::to_owned)
    }
}

/// It detaches from whoever it traces.
fn let_go(tracer: Child) {
    kill(tracer.id().cast_signed(), Signal::TERM);
    finish(tracer);
}

impl Seen {
    fn read(path: &FilePath) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        let mut calls = Vec::new();
        for line in text.lines() {
            let Some((number, name)) = number_and_name(line) else {
                continue;
            };
            let when = counts.entry(number).or_default();
            *when += 1;
            calls.push(Call {
                name: name.to_owned(),
                number,
                when: *when,
            });
        }
        Ok(Self { text, calls })
    }

    /// Without the execution with which a program begins that strace itself started:
    /// it is shown, and not counted.
    pub(super) fn without_execution(mut self) -> Vec<Call> {
        if let Some(first) = self.calls.first().cloned()
            && first.name == "execve"
        {
            self.calls.remove(0);
            let same = self.calls.iter_mut();
            same.filter(|call| call.number == first.number)
                .for_each(|call| call.when -= 1);
        }
        self.calls
    }
}

/// Of a line like `[ 257] openat(AT_FDCWD, …) = 3`.
fn number_and_name(line: &str) -> Option<(u64, &str)> {
    let (number, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let (name, _) = rest.split_once('(')?;
    Some((number.trim().parse().ok()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_by_number_and_name() {
        let told = number_and_name("[ 257] openat(AT_FDCWD, \"/etc/ld.so.cache\") = 3");
        assert_eq!(told, Some((257, "openat")));
        assert_eq!(number_and_name("+++ exited with 0 +++"), None);
    }
}
