//! A process that nobody may signal, and that knows whether anybody did.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use monoco_tests::{agent, alive, is_stopped, pending_signals};
use session_core::Process;

use crate::left::process_of;

/// A victim: it blocks every signal, so that all that were ever sent to it are
/// pending in the kernel; one that cannot be blocked has killed or stopped it.
#[derive(Debug)]
pub(crate) struct Witness {
    child: Child,
    pub(crate) pid: i32,
}

impl Witness {
    pub(crate) fn new() -> Result<Self, String> {
        let mut command = Command::new(agent());
        // It ends with this process, whatever becomes of that.
        command
            .arg("deaf-while-fed")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let pid = child.id().cast_signed();
        let mut line = String::new();
        let mut told = BufReader::new(child.stdout.take().ok_or("it was piped")?);
        let read = told.read_line(&mut line).map_err(|error| error.to_string());
        let witness = Self { child, pid };
        read?;
        (line.trim_end() == format!("pid {pid}"))
            .then_some(witness)
            .ok_or_else(|| format!("the victim said {line:?}"))
    }

    /// The process as an honest record would name it.
    pub(crate) fn process(&self) -> Result<Process, String> {
        process_of(self.pid)
    }

    /// That nobody has signalled it, ever.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_unharmed(self.pid)
    }

    /// Kills it, and leaves it a zombie.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.child.kill().map_err(|error| error.to_string())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // It may have ended already, which is for `check` to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// That nobody has signalled `pid`, which is deaf.
pub(crate) fn check_unharmed(pid: i32) -> Result<(), String> {
    if !alive(pid) {
        return Err(format!("the victim {pid} was killed"));
    }
    if is_stopped(pid) {
        return Err(format!("the victim {pid} was stopped"));
    }
    match pending_signals(pid) {
        0 => Ok(()),
        mask => Err(format!("the victim {pid} was sent {}", names(mask))),
    }
}

fn names(mask: u64) -> String {
    let sent = (1..=64).filter(|signal| mask >> (signal - 1) & 1 != 0);
    let sent: Vec<_> = sent.map(|signal: u32| signal.to_string()).collect();
    format!("signal {}", sent.join(", "))
}
