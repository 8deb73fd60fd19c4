//! Which errors are not tried with which calls, and why: no kernel would give them,
//! or strace cannot fake them truthfully. To be killed in it befalls every call.

use super::Fault;
use super::path::Path;
use super::strace::Call;

/// Calls, the errors that are tried with them all the same, and why no others.
type Row = (&'static [&'static str], &'static [Fault], &'static str);

const ROWS: &[Row] = &[
    (
        &["close", "close_range"],
        &[],
        "one that was made to fail has not closed, which no kernel does (close(2), notes)",
    ),
    (
        &["munmap", "mmap", "mremap", "mprotect", "madvise", "brk"],
        &[],
        "they fail for want of memory only, or on wrong arguments (mmap(2), brk(2))",
    ),
    (
        &["exit", "exit_group", "rt_sigreturn"],
        &[],
        "they do not return",
    ),
    (
        &[
            "getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "umask",
        ],
        &[],
        "they are always successful",
    ),
    (
        &[
            "rt_sigaction",
            "rt_sigprocmask",
            "sigaltstack",
            "sched_getaffinity",
        ],
        &[],
        "they fail on wrong arguments only",
    ),
    (
        &[
            "set_tid_address",
            "set_robust_list",
            "rseq",
            "arch_prctl",
            "prlimit64",
        ],
        &[],
        "the C library's and the runtime's set-up of a thread, which fails on wrong arguments only",
    ),
    (
        &["futex"],
        &[Fault::Interrupted],
        "a wake that was made to fail has woken nobody, which no kernel does",
    ),
    (
        &["poll", "ppoll"],
        &[Fault::Interrupted],
        "it fails on wrong arguments, for want of memory, or by a signal (poll(2))",
    ),
    (
        &["wait4", "waitid"],
        &[Fault::Interrupted],
        "it fails on wrong arguments, or by a signal; and strace would not let it wait (wait(2))",
    ),
    (
        &["getrandom"],
        &[Fault::Interrupted],
        "it fails on wrong arguments, or by a signal (getrandom(2))",
    ),
    (
        &[
            "lseek",
            "getcwd",
            "setsid",
            "prctl",
            "getsockopt",
            "kill",
            "pidfd_send_signal",
        ],
        &[],
        "they fail on wrong arguments, or for want of a right or of somebody to act on",
    ),
];

/// The write of an adopter that tells its launcher of its start: its second.
const REPORT: (Path, &str, u64) = (Path::AdoptByOwner, "write", 2);

/// Why `fault` is not tried with a call on this path.
pub(super) fn why(path: Path, call: &Call, fault: Fault) -> Option<&'static str> {
    let name = call.name.as_str();
    if (path, name, call.when) == REPORT && fault != Fault::Interrupted && fault != Fault::Kill {
        return Some(
            "no pipe gives these errors (pipe(7)), and strace, which has the pipe open as well, \
             keeps its reader from seeing that nothing will come",
        );
    }
    let row = ROWS.iter().find(|(names, _, _)| names.contains(&name));
    let (_, tried, why) = row?;
    (fault != Fault::Kill && !tried.contains(&fault)).then_some(*why)
}
