//! Looks at processes, as the kernel tells of them.

use std::path::Path;

pub use rustix::process::Signal;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The fields of `/proc/PID/stat` behind the command's name (`proc_pid_stat(5)`):
/// the first is the state.
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// Whether `pid` lives; a zombie does not.
#[must_use]
pub fn alive(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| !matches!(fields[0].as_str(), "Z" | "X"))
}

/// Whether `pid` was stopped by a signal.
#[must_use]
pub fn is_stopped(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] == "T")
}

/// The signals that were sent to `pid` and wait because they are blocked, as
/// `/proc/PID/status` has them: signal n is bit n - 1.
#[must_use]
pub fn pending_signals(pid: i32) -> u64 {
    signals(pid, &["SigPnd:", "ShdPnd:"])
}

/// The signals that this process ignores, and whatever it starts, in the same way.
#[must_use]
pub fn ignored_signals() -> u64 {
    signals(std::process::id().cast_signed(), &["SigIgn:"])
}

fn signals(pid: i32, names: &[&str]) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let masks = status.lines().filter_map(|line| {
        let mask = names.iter().find_map(|name| line.strip_prefix(name))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    masks.fold(0, |all, mask| all | mask)
}

/// Whether `pid` goes on: it neither ended nor is stopped, nor waits, as vfork(2) does,
/// for a child that may be stopped.
#[must_use]
pub fn is_awake(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| matches!(fields[0].as_str(), "R" | "S"))
}

/// The session (`setsid(2)`) that `pid` is in.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn session_of(pid: i32) -> i32 {
    let fields = stat(pid).expect("the process exists");
    fields[3]
        .parse()
        .expect("the fourth field is the session's number")
}

/// How much processor time `pid` has used, in ticks.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn cpu_ticks(pid: i32) -> u64 {
    let fields = stat(pid).expect("the process exists");
    let ticks = |field: &String| field.parse::<u64>().expect("ticks are a number");
    ticks(&fields[11]) + ticks(&fields[12])
}

/// How often `pid` was put on a processor and taken off it.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn context_switches(pid: i32) -> u64 {
    number(pid, "status", "voluntary_ctxt_switches:")
        + number(pid, "status", "nonvoluntary_ctxt_switches:")
}

/// A figure of a process's memory in KiB: `Pss:` now, or `VmHWM:`, the most there ever was.
///
/// # Panics
/// When there is no such process, or no such figure.
#[must_use]
pub fn memory_kb(pid: i32, figure: &str) -> u64 {
    memory_kb_if_there(pid, figure).unwrap_or_else(|| panic!("no {figure} of process {pid}"))
}

/// The same; `None` when there is no such process, or no such figure.
#[must_use]
pub fn memory_kb_if_there(pid: i32, figure: &str) -> Option<u64> {
    let file = if figure == "Pss:" {
        "smaps_rollup"
    } else {
        "status"
    };
    number_if_there(pid, file, figure)
}

/// Lets this process open as many files as the system allows; tells whether these are
/// so many at least.
#[must_use]
pub fn may_open(files: u64) -> bool {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).is_ok() && maximum.is_none_or(|maximum| maximum >= files)
}

fn number(pid: i32, file: &str, name: &str) -> u64 {
    number_if_there(pid, file, name).unwrap_or_else(|| panic!("no {name} in /proc/{pid}/{file}"))
}

fn number_if_there(pid: i32, file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Signals `pid`. That it is gone already is fine.
pub fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// The children of the first thread of `pid`.
#[must_use]
pub fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let text = text.unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Whether `pid` executes `program`.
#[must_use]
pub fn executes(pid: i32, program: &str) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(program))
}

/// Every process, this one aside, for which `condition` holds.
///
/// # Panics
/// When there is no `/proc`.
#[must_use]
pub fn everybody(condition: impl Fn(i32) -> bool) -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let pids = std::fs::read_dir("/proc").expect("/proc is mounted");
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own && condition(*pid)).collect()
}

/// Whether `pid` was started with `variable` (`NAME=value`) in its environment.
pub(crate) fn has_variable(pid: i32, variable: &str) -> bool {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ
        .split(|byte| *byte == 0)
        .any(|known| known == variable.as_bytes())
}

/// Whether `pid` has a file below `dir` open as a supervisor has its lease.
pub(crate) fn holds_open(pid: i32, dir: &Path) -> bool {
    let lease = std::fs::read_link(format!("/proc/{pid}/fd/3")).unwrap_or_default();
    lease.starts_with(dir)
}
