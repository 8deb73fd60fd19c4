//! Runs what else is to be run when a session has begun and when it has ended: one
//! command after the other, each with the session's record on its stdin, until its
//! deadline. It never stands in the way of the session: what fails is noted in a log of
//! its own, and the owner goes on waiting for whatever comes.
//!
//! A hook is no part of the agent's tree, although it is a child of the owner, as the
//! agent is. While its first process runs, this is known by that, with all below it. And
//! it says in its environment that it belongs to a session of another name, by which its
//! own tree is found, too, daemons among them. So it is neither frozen nor ended with the
//! agent; and when it has ended, or its time is up, nothing of it is left. Only who clears
//! the environment, and outlives its parent, is taken for the agent's; and where the owner
//! is killed a hook is on its own.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use session_core::process::{SESSION_ID_VAR, Tree};
use session_core::{
    Claim, Pid, ProcessHandle, Session, SessionId, WaitStatus, error_chain, record_to_json,
};

use crate::hooks::{HOOK_MARK, HOOK_SESSION_VAR, Hook};
use crate::process_worker::{ISSUE_VAR, PROJECT_VAR, ROLE_VAR, read_errno};
use crate::program::Program;
use crate::sys;

/// The environment variable that tells a hook when it is run: `on_start` or `on_end`.
const HOOK_VAR: &str = "MONOCO_HOOK";
/// The pause between two KILLs; it doubles up to the longest.
const KILL_AGAIN: Duration = Duration::from_millis(10);
const KILL_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long KILL is repeated before what is left is left alone.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// When hooks are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Start,
    End,
}

/// The hooks that are still to be run, and the one that runs.
#[derive(Debug)]
pub(super) struct Runner {
    waiting: VecDeque<Waiting>,
    running: Option<Running>,
    /// How many files a hook may open, if it is not as many as this process.
    max_files: Option<u64>,
}

#[derive(Debug)]
struct Waiting {
    moment: Moment,
    hook: Hook,
    /// The record as it was at that moment.
    record: Vec<u8>,
    project: OsString,
}

#[derive(Debug)]
struct Running {
    /// How it is called in the log.
    title: String,
    timeout: Duration,
    deadline: Instant,
    pid: i32,
    /// Until its program runs, which a slow filesystem may take long for.
    starting: Option<Starting>,
    tree: Tree,
    /// How its first process ended, once it has, as far as that was told.
    ended: Option<Option<WaitStatus>>,
    killing: Option<Killing>,
    timed_out: bool,
}

/// A program that is being executed.
#[derive(Debug)]
struct Starting {
    program: Program,
    /// Readable once it runs, or cannot.
    exec_error: OwnedFd,
}

/// Nothing of the hook is to be left.
#[derive(Debug)]
struct Killing {
    next: Instant,
    pause: Duration,
    until: Instant,
}

impl Moment {
    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "on_start",
            Self::End => "on_end",
        }
    }
}

impl Runner {
    pub(super) fn new(max_files: Option<u64>) -> Self {
        Self {
            waiting: VecDeque::new(),
            running: None,
            max_files,
        }
    }

    /// Has `hooks` run after those that are waiting.
    pub(super) fn enqueue(
        &mut self,
        moment: Moment,
        hooks: Vec<Hook>,
        session: &Session,
        project: OsString,
    ) {
        self.waiting.extend(hooks.into_iter().map(|hook| Waiting {
            moment,
            hook,
            record: record_to_json(session),
            project: project.clone(),
        }));
    }

    /// Whether one runs, or has still to be run.
    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some() || !self.waiting.is_empty()
    }

    /// The tree of the one that runs.
    pub(super) fn tree(&self) -> Option<&Tree> {
        self.running.as_ref().map(|running| &running.tree)
    }

    /// Readable when [`turn`](Self::turn) is due before a child ends.
    pub(super) fn watched(&self) -> Option<BorrowedFd<'_>> {
        let starting = self.running.as_ref()?.starting.as_ref()?;
        Some(starting.exec_error.as_fd())
    }

    /// When [`turn`](Self::turn) is due even if no child ends.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let running = self.running.as_ref()?;
        let killing = running.killing.as_ref();
        Some(killing.map_or(running.deadline, |killing| killing.next))
    }

    /// A child has ended that is not the agent.
    pub(super) fn reaped(&mut self, pid: i32, status: Option<WaitStatus>) {
        if let Some(running) = &mut self.running
            && running.pid == pid
        {
            running.ended = Some(status);
        }
    }

    /// Does what is due for the one that runs, and starts the next one when it is over.
    pub(super) fn turn(&mut self, claim: &Claim) {
        loop {
            if let Some(running) = &mut self.running {
                let Some(failure) = running.turn(Instant::now()) else {
                    return;
                };
                if let Some(why) = failure {
                    note(claim, &running.title, &why);
                }
                self.running = None;
            }
            let Some(next) = self.waiting.pop_front() else {
                return;
            };
            let title = format!(
                "{} hook `{}`",
                next.moment.as_str(),
                next.hook.command.join(" ")
            );
            match start(next, title.clone(), claim, self.max_files) {
                Ok(running) => self.running = Some(running),
                Err(why) => note(claim, &title, &why),
            }
        }
    }
}

impl Running {
    /// `None` while it is not over; then why it failed, if it did.
    fn turn(&mut self, now: Instant) -> Option<Option<String>> {
        if let Some(why) = self.cannot_start() {
            return Some(Some(why));
        }
        if self.killing.is_none() {
            self.timed_out = self.ended.is_none() && now >= self.deadline;
            if self.ended.is_none() && !self.timed_out {
                return None;
            }
            self.killing = Some(Killing {
                next: now,
                pause: KILL_AGAIN,
                until: now + KILL_PATIENCE,
            });
        }
        let is_gone = matches!(self.tree.pids(), Ok(pids) if pids.is_empty());
        if is_gone && self.ended.is_some() {
            return Some(self.failure());
        }
        let killing = self.killing.as_mut()?;
        if now >= killing.until {
            let why = self.failure().unwrap_or_else(|| "exit 0".to_owned());
            return Some(Some(format!("{why}; what it started cannot be ended")));
        }
        if now >= killing.next {
            // Who forks meanwhile, or cannot be signalled, is met by the next one.
            let _ = self.tree.signal(libc::SIGKILL);
            killing.next = now + killing.pause;
            killing.pause = (killing.pause * 2).min(KILL_PAUSE_MAX);
        }
        None
    }

    /// Why there will be no program, once that is known.
    fn cannot_start(&mut self) -> Option<String> {
        let starting = self.starting.take_if(|starting| starting.is_over())?;
        match read_errno(&starting.exec_error) {
            Ok(None) => None,
            Ok(Some(errno)) => Some(error_chain(&starting.program.exec_error(errno))),
            Err(error) => Some(format!("cannot be started: {error}")),
        }
    }

    fn failure(&self) -> Option<String> {
        if self.timed_out {
            return Some(format!("timed out after {:?}", self.timeout));
        }
        match self.ended.flatten() {
            Some(WaitStatus::Exited { code: 0 }) => None,
            Some(WaitStatus::Exited { code }) => Some(format!("exit {code}")),
            Some(WaitStatus::Signaled { signal, .. }) => Some(format!("killed by signal {signal}")),
            None => Some("nobody was told how it ended".to_owned()),
        }
    }
}

impl Starting {
    fn is_over(&self) -> bool {
        let mut fds = [PollFd::new(&self.exec_error, PollFlags::IN)];
        // Interrupted or refused: the next turn finds it out.
        matches!(rustix::event::poll(&mut fds, Some(&Timespec::default())), Ok(n) if n > 0)
    }
}

/// Starts a hook; in words why it cannot be.
fn start(
    waiting: Waiting,
    title: String,
    claim: &Claim,
    max_files: Option<u64>,
) -> Result<Running, String> {
    let mark = SessionId::parse(&format!("{HOOK_MARK}{}", SessionId::random()));
    let mark = mark.expect("short enough, and of the right letters");
    let session = claim.session();
    let argv = waiting.hook.command.into_iter().map(Into::into).collect();
    let mut program = Program::inheriting_env(argv);
    program.set(PROJECT_VAR, waiting.project);
    program.set(ISSUE_VAR, &session.issue_id);
    program.set(ROLE_VAR, &session.role_name);
    program.set(HOOK_VAR, waiting.moment.as_str());
    program.set(HOOK_SESSION_VAR, session.id.as_str());
    program.set(SESSION_ID_VAR, mark.as_str());
    let image = program.image().map_err(|e| error_chain(&e))?;
    // Its program has its time, too, to be found and read.
    let now = Instant::now();
    let forked = fork(&image, &waiting.record, claim, max_files)
        .map_err(|e| format!("cannot be started: {e}"))?;
    let timeout = waiting.hook.timeout;
    let far = now + Duration::from_secs(365 * 86_400);
    let pid = Pid::new(forked.pid.into()).expect("fork returns pids greater than 1");
    // Not reaped yet, so the pid is its own.
    let handle = ProcessHandle::open(pid).ok().flatten();
    Ok(Running {
        title,
        timeout,
        deadline: now.checked_add(timeout).unwrap_or(far),
        pid: forked.pid,
        starting: Some(Starting {
            program,
            exec_error: forked.exec_error,
        }),
        tree: Tree::of(mark, handle.as_ref()),
        ended: None,
        killing: None,
        timed_out: false,
    })
}

fn fork(
    image: &sys::Image,
    record: &[u8],
    claim: &Claim,
    max_files: Option<u64>,
) -> io::Result<sys::Forked> {
    let stdin = record_file(record)?;
    let log = match claim.append_hooks_log() {
        Ok(log) => log,
        // Better without a log than not at all.
        Err(_) => File::options().write(true).open("/dev/null")?,
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let project = rustix::fs::openat(claim.lease().base()?, "..", flags, Mode::empty())?;
    let birth = sys::Birth {
        cwd: Some(project.as_fd()),
        gate: None,
        max_files,
        parent: sys::Parent::This,
    };
    sys::fork(image, &[stdin.as_fd(), log.as_fd(), log.as_fd()], birth)
}

/// A file without a name: whoever does not read it keeps nobody waiting.
fn record_file(record: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create(c"record", MemfdFlags::CLOEXEC)?);
    file.write_all(record)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file.into())
}

/// Notes a failure beside what the hooks have printed.
fn note(claim: &Claim, title: &str, why: &str) {
    let line = format!("monoco: {}: {why}\n", title.escape_debug());
    // Where there is no room for it, the session matters more.
    let _ = claim
        .append_hooks_log()
        .and_then(|mut log| log.write_all(line.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A filesystem may keep a program from being executed for as long as it likes.
    #[test]
    fn a_program_that_does_not_come_to_run_keeps_nobody_and_has_its_time() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .expect("sleep can be executed");
        let pid = Pid::new(child.id().into()).expect("a pid");
        let handle = ProcessHandle::open(pid).expect("it lives");
        let (exec_error, told) = rustix::pipe::pipe().expect("a pipe");
        let now = Instant::now();
        let timeout = Duration::from_secs(60);
        let mut running = Running {
            title: "a hook".to_owned(),
            timeout,
            deadline: now + timeout,
            pid: pid.get(),
            starting: Some(Starting {
                program: Program::inheriting_env(vec!["hook".into()]),
                exec_error,
            }),
            tree: Tree::of(SessionId::random(), handle.as_ref()),
            ended: None,
            killing: None,
            timed_out: false,
        };
        assert_eq!(running.turn(now), None);
        assert_eq!(running.turn(now + timeout), None);
        child.wait().expect("it was killed");
        running.ended = Some(Some(WaitStatus::Exited { code: 0 }));
        let why = running.turn(now + timeout).flatten();
        assert_eq!(why.as_deref(), Some("timed out after 60s"));

        let errno = libc::ENOENT.to_ne_bytes();
        rustix::io::write(&told, &errno).expect("somebody reads");
        let why = running.turn(now).flatten();
        assert_eq!(why.as_deref(), Some("hook: not found"));
        assert!(running.starting.is_none());
    }
}
