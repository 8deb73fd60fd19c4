//! The unsafe corner: fork and exec behind a gate, signals as descriptors.
#![expect(
    unsafe_code,
    reason = "fork, exec, signal masks and signalfd have no safe wrappers"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The most descriptors that a child is given.
pub(crate) const MAX_FDS: usize = 8;

/// A program to execute: all that the child needs, made before the fork, because
/// a child of a process with threads may not allocate.
pub(crate) struct Image {
    /// Tried in this order, as `execvp(3)` tries the directories of `PATH`.
    pub(crate) candidates: Vec<CString>,
    pub(crate) argv: Vec<CString>,
    pub(crate) env: Vec<CString>,
}

/// A child that was forked: it executes its image, or waits at its gate first.
#[derive(Debug)]
pub(crate) struct Forked {
    pub(crate) pid: i32,
    /// Readable once the program runs (end of file) or cannot (an errno).
    pub(crate) exec_error: OwnedFd,
}

/// How a child differs from its parent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Birth<'a> {
    /// Its working directory, if it is another.
    pub(crate) cwd: Option<BorrowedFd<'a>>,
    /// Where it first waits for one byte; at the end of file it kills itself.
    pub(crate) gate: Option<BorrowedFd<'a>>,
    /// How many files it may open (`RLIMIT_NOFILE`, the soft limit), if it is another.
    pub(crate) max_files: Option<u64>,
    pub(crate) parent: Parent,
}

/// Forks a child in a session of its own, with exactly `fds` as its descriptors
/// 0, 1, 2, …, no signal blocked and none ignored, that executes `image`.
pub(crate) fn fork(image: &Image, fds: &[BorrowedFd<'_>], birth: Birth<'_>) -> io::Result<Forked> {
    assert!(
        fds.len() <= MAX_FDS && fds.len() >= 3,
        "a child has 3 to {MAX_FDS} descriptors"
    );
    let (exec_error, told) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, env) = (pointers(&image.argv), pointers(&image.env));
    let mut plan = ChildPlan {
        sources: [-1; MAX_FDS],
        n: fds.len(),
        cwd: birth.cwd.map_or(-1, |cwd| cwd.as_raw_fd()),
        gate: birth.gate.map_or(-1, |gate| gate.as_raw_fd()),
        told: told.as_raw_fd(),
        limit: birth.max_files.map(file_limit),
        parent: birth.parent,
    };
    for (slot, fd) in plan.sources.iter_mut().zip(fds) {
        *slot = fd.as_raw_fd();
    }
    // SAFETY: the child calls only async-signal-safe functions (signal-safety(7))
    // on memory that was made before the fork, and never returns from `run_child`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: as above; the pointers are NULL-terminated arrays that live on.
        0 => unsafe { run_child(&plan, &image.candidates, argv.as_ptr(), env.as_ptr()) },
        pid => {
            // From here on there is a child: no error may say that there is none.
            if birth.parent == Parent::Nobody {
                reap_between(pid);
            }
            Ok(Forked { pid, exec_error })
        }
    }
}

/// Reaps the child between us and the grandchild, which ends at once. Where
/// somebody else reaps (SIGCHLD ignored), there is nothing to do.
fn reap_between(pid: i32) {
    let between = rustix::process::Pid::from_raw(pid).expect("fork returns pids greater than 0");
    let options = rustix::process::WaitOptions::empty();
    while let Err(rustix::io::Errno::INTR) = rustix::process::waitpid(Some(between), options) {}
}

/// Whose child the new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    /// This process's, which has to reap it.
    This,
    /// Nobody's here: init's, or the nearest subreaper's.
    Nobody,
}

struct ChildPlan {
    sources: [RawFd; MAX_FDS],
    n: usize,
    cwd: RawFd,
    gate: RawFd,
    told: RawFd,
    limit: Option<libc::rlimit>,
    parent: Parent,
}

/// `soft` as a whole limit, as far as this process's own allows it.
fn file_limit(soft: u64) -> libc::rlimit {
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let rlim_max = hard.unwrap_or(libc::RLIM_INFINITY);
    let rlim_cur = soft.min(rlim_max);
    libc::rlimit { rlim_cur, rlim_max }
}

/// # Safety
/// Only in a freshly forked child; `argv` and `env` are NULL-terminated.
unsafe fn run_child(
    plan: &ChildPlan,
    candidates: &[CString],
    argv: *const *const libc::c_char,
    env: *const *const libc::c_char,
) -> ! {
    let mut errno;
    // SAFETY: plain system calls on descriptors and memory of this process.
    unsafe {
        // A bare clone: `fork` runs handlers that a child of threads may not run.
        if plan.parent == Parent::Nobody {
            match libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) {
                0 => {}
                // No child: no supervisor either.
                -1 => give_up(plan.told, *libc::__errno_location()),
                _ => libc::_exit(0),
            }
        }
        libc::setsid();
        reset_signals();
        // Before all other descriptors are closed; told once there is where to.
        let entered = enter(plan.cwd);
        let (gate, told) = (plan.n as RawFd, plan.n as RawFd + 1);
        errno = match place_descriptors(plan) {
            Ok(()) => entered,
            Err((told, errno)) => give_up(told, errno),
        };
        if let Some(limit) = &plan.limit {
            // Not before: descriptors have to be found room for. A lower limit than we
            // have is never refused (setrlimit(2)).
            libc::setrlimit(libc::RLIMIT_NOFILE, limit);
        }
        if errno == 0 && plan.gate >= 0 && !passes_gate(gate) {
            // Not an exit: whoever owns the session by now could take its code for the
            // agent's, and 0 for success.
            libc::kill(libc::getpid(), libc::SIGKILL);
            // Where even that is forbidden: no agent without an owner.
            libc::_exit(127);
        }
        if errno == 0 {
            errno = execute(candidates, argv, env);
        }
        give_up(told, errno)
    }
}

/// Tells the parent why there will be no program.
///
/// # Safety
/// Only in a freshly forked child; `told` is the pipe.
unsafe fn give_up(told: RawFd, errno: i32) -> ! {
    // SAFETY: writes a number from memory of this process.
    unsafe {
        libc::write(told, (&raw const errno).cast(), size_of_val(&errno));
        libc::_exit(127)
    }
}

/// Goes to the directory `cwd`, if it is one.
///
/// # Safety
/// Only in a freshly forked child.
unsafe fn enter(cwd: RawFd) -> i32 {
    // SAFETY: plain system calls; errno of this thread.
    unsafe {
        if cwd >= 0 && libc::fchdir(cwd) < 0 {
            return *libc::__errno_location();
        }
    }
    0
}

/// # Safety
/// Only in a freshly forked child.
unsafe fn reset_signals() {
    // SAFETY: a zeroed `struct kernel_sigaction` (at most four words) is SIG_DFL
    // with no flags and an empty mask; a refusal (KILL, STOP) changes nothing.
    // The bare call, since the C library hides the signals it uses itself.
    unsafe {
        let default = [0_u64; 4];
        for signal in 1..=64 {
            let none = std::ptr::null::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, 8);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Puts the descriptors at 0, 1, 2, …, gate and exec error behind them, and
/// closes all others: no lease, gate or socket of the parent outlives it here. Where
/// that fails, returns where to tell it, and the errno.
///
/// # Safety
/// Only in a freshly forked child.
unsafe fn place_descriptors(plan: &ChildPlan) -> Result<(), (RawFd, i32)> {
    let first_free = plan.n as RawFd + 2;
    // SAFETY: plain system calls on descriptors of this process.
    unsafe {
        let mut away = [-1; MAX_FDS + 2];
        let all = plan.sources[..plan.n]
            .iter()
            .chain([&plan.gate, &plan.told]);
        for (slot, source) in away.iter_mut().zip(all) {
            if *source >= 0 {
                *slot = libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, first_free);
                if *slot < 0 {
                    return Err((plan.told, *libc::__errno_location()));
                }
            }
        }
        for (target, source) in away[..plan.n + 2].iter().enumerate() {
            let flags = if target < plan.n { 0 } else { libc::O_CLOEXEC };
            if *source < 0 {
                // No gate: what the parent had at its number is not for the child.
                libc::close(target as RawFd);
            } else if libc::dup3(*source, target as RawFd, flags) < 0 {
                return Err((away[plan.n + 1], *libc::__errno_location()));
            }
        }
        if libc::syscall(libc::SYS_close_range, first_free, libc::c_uint::MAX, 0) < 0 {
            return Err((first_free - 1, *libc::__errno_location()));
        }
        Ok(())
    }
}

/// # Safety
/// Only in a freshly forked child.
unsafe fn passes_gate(gate: RawFd) -> bool {
    let mut byte = 0_u8;
    loop {
        // SAFETY: reads one byte into one byte.
        match unsafe { libc::read(gate, (&raw mut byte).cast(), 1) } {
            1 => return true,
            // SAFETY: errno of this thread.
            -1 if unsafe { *libc::__errno_location() } == libc::EINTR => {}
            _ => return false,
        }
    }
}

/// Returns only the errno that matters most, as `execvp(3)` does: a program that
/// may not be executed is worth more than one that is not there.
///
/// # Safety
/// Only in a freshly forked child; `argv` and `env` are NULL-terminated.
unsafe fn execute(
    candidates: &[CString],
    argv: *const *const libc::c_char,
    env: *const *const libc::c_char,
) -> i32 {
    let mut worst = libc::ENOENT;
    for candidate in candidates {
        // SAFETY: NULL-terminated arrays of C strings; returns on error only.
        let errno = unsafe {
            libc::execve(candidate.as_ptr(), argv, env);
            *libc::__errno_location()
        };
        match errno {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => worst = errno,
            _ => return errno,
        }
    }
    worst
}

/// Which of two processes goes on from a fork.
pub(crate) enum Side {
    /// With the child's pid.
    Parent(rustix::process::Pid),
    /// With the descriptor that it was given.
    Child(OwnedFd),
}

/// Forks a child that goes on in the same program: in an OS session of its own, with
/// `null` as its descriptors 0, 1 and 2, `ear` at the number `at`, none besides, no
/// signal blocked, and those for broken pipes ignored, as in every Rust program.
pub(crate) fn fork_spare(null: BorrowedFd<'_>, ear: BorrowedFd<'_>, at: RawFd) -> io::Result<Side> {
    // SAFETY: who calls this has one thread, so that the child may do what it likes.
    // Nothing of the parent's owns a descriptor in the child: it never returns to
    // where they are closed.
    unsafe {
        match libc::fork() {
            -1 => return Err(io::Error::last_os_error()),
            0 => {}
            pid => {
                let pid = rustix::process::Pid::from_raw(pid);
                return Ok(Side::Parent(pid.expect("fork returns pids greater than 0")));
            }
        }
        libc::setsid();
        reset_signals();
        ignore_signal(libc::SIGPIPE);
        let away = |fd: BorrowedFd<'_>| libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, at + 1);
        let (null, ear) = (away(null), away(ear));
        let placed = (0..3).all(|target| libc::dup3(null, target, 0) == target)
            && libc::dup3(ear, at, libc::O_CLOEXEC) == at
            && libc::syscall(libc::SYS_close_range, 3, at - 1, 0) == 0
            && libc::syscall(libc::SYS_close_range, at + 1, libc::c_uint::MAX, 0) == 0;
        if !placed {
            libc::_exit(0);
        }
        Ok(Side::Child(OwnedFd::from_raw_fd(at)))
    }
}

/// Has others see `words` behind this program's name, instead of its arguments, as far
/// as these have room for them.
pub(crate) fn retitle(words: &[&str]) {
    // Where the arguments are cannot be told, they stay to be seen.
    let Some((start, end)) = arguments() else {
        return;
    };
    // SAFETY: the kernel put the arguments there, in memory of ours that can be written
    // (proc_pid_stat(5)). There is one thread, and nobody holds a reference into them:
    // std hands out copies, which from now on are of these words. They end with a NUL
    // byte, as they did.
    let arguments = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, end - start) };
    let name = arguments.iter().position(|byte| *byte == 0);
    let Some((_, rest)) = name.and_then(|at| arguments.split_at_mut_checked(at + 1)) else {
        return;
    };
    rest.fill(0);
    let room = rest.len().saturating_sub(1);
    let title = words.join("\0");
    for (slot, byte) in rest[..room].iter_mut().zip(title.bytes()) {
        *slot = byte;
    }
}

/// Where in memory this process's arguments begin and end.
fn arguments() -> Option<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the program's name, which may hold anything, comes field 3; `arg_start`
    // and `arg_end` are fields 48 and 49 (proc_pid_stat(5)).
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_ascii_whitespace().skip(48 - 3);
    let mut next = || fields.next()?.parse::<usize>().ok();
    let (start, end) = (next()?, next()?);
    (start != 0 && start < end).then_some((start, end))
}

/// Takes a descriptor that the launcher left open at a fixed number.
pub(crate) fn inherited_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: `fcntl` on any number is harmless; it tells whether it is open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: open, and nobody else in this process knows the number: this is
    // called once per number, at the start of a supervisor.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Gives back what was allocated and is not used any more: to start takes more memory
/// than to own a session for hours.
pub(crate) fn trim_heap() {
    // SAFETY: any thread may call it at any time (malloc_trim(3)).
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Ignores `signal` in this process.
pub(crate) fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN is a valid disposition, and runs no code.
    unsafe {
        libc::signal(signal, libc::SIG_IGN);
    }
}

/// Blocks `signals` for this thread and those it starts, and opens a descriptor
/// that they arrive at (`signalfd(2)`).
pub(crate) fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: a zeroed set is valid; the calls read and write only the set.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            if libc::sigaddset(&raw mut set, *signal) < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let error = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// The number of the next signal that waits at a [`signal_fd`].
pub(crate) fn next_signal(fd: &OwnedFd) -> io::Result<Option<i32>> {
    let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(fd, &mut info) {
        // `ssi_signo` is the first field (signalfd(2)).
        Ok(_) => Ok(Some(i32::from_ne_bytes([
            info[0], info[1], info[2], info[3],
        ]))),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Asks for a SIGIO whenever a file is removed from or moved out of `folder`, as
/// long as it is open. Unlike an inotify instance this costs nothing of which a
/// user has only 128 (`F_NOTIFY`, `fcntl(2)`).
pub(crate) fn notify_removals(folder: impl AsFd) -> io::Result<()> {
    const DN_DELETE: libc::c_int = 0x8;
    const DN_RENAME: libc::c_int = 0x10;
    const DN_MULTISHOT: libc::c_int = i32::MIN;
    let events = DN_DELETE | DN_RENAME | DN_MULTISHOT;
    // SAFETY: F_NOTIFY takes a number; the signal it raises is blocked and read
    // from a descriptor.
    match unsafe { libc::fcntl(folder.as_fd().as_raw_fd(), libc::F_NOTIFY, events) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
