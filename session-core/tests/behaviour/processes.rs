//! Real processes: agents, other processes of this program, and this test again
//! where it has the rights or the surroundings that it needs.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use session_core::{Host, Pid, Process, ProcessHandle};

/// Long enough for a loaded machine; no test waits that long for what happens.
const DEADLINE: Duration = Duration::from_secs(20);
const ROLE: &str = "SESSION_CORE_ROLE";
const PROJECT: &str = "SESSION_CORE_PROJECT";
const ALONE: &str = "SESSION_CORE_ALONE";

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Says loudly that a test did not run: past the capture of test output.
pub(crate) fn skipped(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Who the living process `pid` is.
pub(crate) fn identify(pid: u32) -> Process {
    let pid = Pid::new(pid.into()).expect("a pid");
    let identity = Host::current().and_then(|host| host.identify(pid));
    let identity = identity.expect("/proc tells");
    assert!(identity.is_some(), "process {pid} lives");
    Process { pid, identity }
}

/// A process that was there and is not any more: its pid may be anybody's by now.
pub(crate) fn ended() -> Process {
    let mut child = Command::new("sleep").arg("600").spawn().expect("sleep");
    let process = identify(child.id());
    child.kill().and_then(|()| child.wait()).expect("our child");
    process
}

/// A real process in an agent's place. It is reaped the moment it ends, and
/// killed when the test is over.
pub(crate) struct Agent {
    process: Process,
    handle: ProcessHandle,
    reaper: Option<JoinHandle<ExitStatus>>,
}

impl Agent {
    /// An agent that does nothing.
    pub(crate) fn sleeping() -> Self {
        Self::spawn(Command::new("sleep").arg("600"))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        // What outlives a failed test must not hold the test runner's output open.
        command.stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program is there");
        let process = identify(child.id());
        let handle = ProcessHandle::open(process.pid).expect("a pidfd");
        let handle = handle.expect("it was not reaped yet");
        let reaper = std::thread::spawn(move || child.wait().expect("our child"));
        Self {
            process,
            handle,
            reaper: Some(reaper),
        }
    }

    pub(crate) fn process(&self) -> Process {
        self.process.clone()
    }

    pub(crate) fn lives(&self) -> bool {
        !self.handle.has_ended().expect("poll")
    }

    pub(crate) fn kill(&mut self) -> ExitStatus {
        // It may have ended by itself.
        let _ = self.handle.signal(9);
        let reaper = self.reaper.take().expect("killed once");
        reaper.join().expect("the reaper does not panic")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.reaper.is_some() {
            self.kill();
        }
    }
}

/// Another process of this program, which plays a role in `project` until its
/// standard input ends. Killed when dropped.
pub(crate) struct Other(Child);

impl Other {
    pub(crate) fn start(role: &str, project: &Path) -> Self {
        Self::start_in(&[], role, project)
    }

    /// As [`start`](Self::start), by the command `wrapper`.
    pub(crate) fn start_in(wrapper: &[String], role: &str, project: &Path) -> Self {
        let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
        let mut command = this_program(&wrapper);
        command.args(["--exact", "processes::role", "--ignored", "--nocapture"]);
        command.env(ROLE, role).env(PROJECT, project);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self(command.spawn().expect("this program"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL; it stays a zombie until it is dropped.
    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("our child");
    }

    /// Tells it not to wait any longer.
    pub(crate) fn go_on(&mut self) {
        drop(self.0.stdin.take());
    }

    /// Lets it go on to its end, which must be a good one.
    pub(crate) fn finish(mut self) {
        self.go_on();
        let status = self.0.wait().expect("our child");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "not a test: what other tests run as a process of its own"]
fn role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let project = PathBuf::from(std::env::var_os(PROJECT).expect("set with the role"));
    match &*role {
        "own" => crate::lease::own(&project),
        "churn" => crate::lease::churn(&project),
        "create" => crate::persistence::create(&project),
        "look" => crate::observe::look(&project),
        "reconcile" => crate::observe::reconcile(&project),
        role => panic!("nobody plays {role}"),
    }
}

/// Waits for the end of standard input: for the one who started this process.
pub(crate) fn hold() {
    let mut nothing = Vec::new();
    let read = std::io::stdin().read_to_end(&mut nothing);
    read.expect("standard input is a pipe");
}

/// Runs `test` again, alone in a process that `wrapper` starts. True in that
/// process, where the test goes on; false in the first one, once that went well.
pub(crate) fn alone(test: &str, wrapper: &[&str]) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = this_program(wrapper);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    let output = command.env(ALONE, "1").stdin(Stdio::null()).output();
    let output = output.expect("the wrapper can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("test result: ok. 1 passed"),
        "{test} alone: {}\n{said}{complained}",
        output.status
    );
    for line in complained
        .lines()
        .filter(|line| line.starts_with("SKIPPED"))
    {
        skipped(test, line);
    }
    false
}

/// As [`alone`], in new namespaces (`unshare(1)`), after the shell commands
/// `setup` ran there. Skipped where that is not permitted.
pub(crate) fn alone_in_namespaces(test: &str, namespaces: &[&str], setup: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    match unshare(test, namespaces, setup) {
        Some(wrapper) => {
            let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
            alone(test, &wrapper)
        }
        None => false,
    }
}

/// The command that runs what follows it in new namespaces, after `setup`.
/// `None`, said loudly, where that is not permitted.
pub(crate) fn unshare(test: &str, namespaces: &[&str], setup: &str) -> Option<Vec<String>> {
    let mut unshare = vec!["unshare"];
    if !rustix::process::geteuid().is_root() {
        unshare.push("--map-root-user");
    }
    unshare.extend(namespaces);
    // Not `exec`: in a new pid namespace the shell is the one who reaps.
    let script = format!("{setup}\n\"$@\"\nexit $?");
    unshare.extend(["sh", "-ec", &script, "sh"]);
    let tried = Command::new(unshare[0])
        .args(&unshare[1..])
        .arg("true")
        .output();
    let why = match tried {
        Ok(output) if output.status.success() => {
            return Some(unshare.into_iter().map(String::from).collect());
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("unshare: {error}"),
    };
    skipped(test, &why);
    None
}

fn this_program(wrapper: &[&str]) -> Command {
    let program = std::env::current_exe().expect("/proc/self/exe");
    match wrapper {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}
