//! What `cargo xtask count` cannot do itself: it knows none of our crates.
//!
//! ```text
//! counted records N PROJECT         makes a project with as many sessions that ended
//! counted steps PROGRAM COMMAND…    how many instructions COMMAND executes as PROGRAM,
//!                                   and how many do its descendants
//! ```
#![expect(clippy::print_stdout, reason = "it tells what it has counted")]

#[path = "bench/records.rs"]
#[expect(dead_code, reason = "the benchmark needs more of it")]
mod records;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use session_core::SessionManager;

/// How it ends where processes may not be traced.
const NOT_HERE: u8 = 77;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["records", n, project] => records(n.parse().expect("a number"), Path::new(project)),
        ["steps", program, command @ ..] => steps(Path::new(program), command),
        _ => ExitCode::from(2),
    }
}

fn records(n: usize, project: &Path) -> ExitCode {
    SessionManager::create(project).expect("a new project");
    for number in 0..n {
        let session = records::ended(number);
        records::write(&project.join(".monoco/sessions"), &session);
    }
    ExitCode::SUCCESS
}

/// Runs `command` until nothing that it has started is left, and prints how many
/// instructions were executed in processes of `program`: in its first, in the others.
fn steps(program: &Path, command: &[&str]) -> ExitCode {
    let mut child = Command::new(command[0]);
    child.args(&command[1..]).stdout(Stdio::null());
    // SAFETY: one system call, which touches no memory.
    #[expect(unsafe_code, reason = "nobody else has ptrace(2)")]
    unsafe {
        child.pre_exec(|| ptrace(libc::PTRACE_TRACEME, 0, 0));
    }
    let child = match child.spawn() {
        Ok(child) => child.id() as i32,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return ExitCode::from(NOT_HERE);
        }
        Err(error) => panic!("{} cannot be executed: {error}", command[0]),
    };
    let mut n = [0_u64; 2];
    // Whoever is traced, and whether instruction by instruction.
    let mut traced: HashMap<i32, bool> = HashMap::new();
    while let Some((pid, status)) = next() {
        if !libc::WIFSTOPPED(status) {
            traced.remove(&pid);
            assert!(pid != child || status == 0, "the command fails: {status}");
            continue;
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        let is_new = !traced.contains_key(&pid);
        if is_new || event == libc::PTRACE_EVENT_EXEC {
            traced.insert(pid, executable(pid).is_some_and(|path| path == program));
        }
        if is_new && pid == child {
            let options = libc::PTRACE_O_EXITKILL
                | libc::PTRACE_O_TRACEEXEC
                | libc::PTRACE_O_TRACEFORK
                | libc::PTRACE_O_TRACEVFORK
                | libc::PTRACE_O_TRACECLONE;
            ptrace(libc::PTRACE_SETOPTIONS, pid, options).expect("it is stopped");
        }
        let step = traced[&pid];
        let is_ours = event != 0 || is_new || signal == libc::SIGTRAP;
        n[usize::from(pid != child)] += u64::from(step && event == 0 && signal == libc::SIGTRAP);
        let go = match step {
            true => libc::PTRACE_SINGLESTEP,
            false => libc::PTRACE_CONT,
        };
        // It may have been killed meanwhile; then that is what comes next.
        let _ = ptrace(go, pid, if is_ours { 0 } else { signal });
    }
    println!("{} {}", n[0], n[1]);
    ExitCode::SUCCESS
}

/// Who has stopped or ended, and how; `None` when nobody is left.
fn next() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: writes a number into the one that is borrowed.
    #[expect(unsafe_code, reason = "rustix has no __WALL")]
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
    (pid > 0).then_some((pid, status))
}

fn ptrace(request: libc::c_uint, pid: i32, data: i32) -> io::Result<()> {
    // SAFETY: none of the requests made here touches memory of this process.
    #[expect(unsafe_code, reason = "nobody else has ptrace(2)")]
    let done = unsafe { libc::ptrace(request, pid, 0_usize, data as usize) };
    match done {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn executable(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}
