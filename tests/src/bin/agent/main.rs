//! A scripted agent: it behaves as badly as it is told, and prints a line
//! `pid N` for every process it makes, so that tests can look for survivors.

mod steps;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags};
use session_worker::signals::Signals;

const SIGTERM: i32 = 15;
const HELP: &str = "\
sleep                     waits until it is killed
exit CODE                 exits
exit-after MS CODE        tells its pid, and exits so much later
ignore-term               waits, deaf to TERM
deaf                      waits, with every signal blocked that can be: what was
                          sent is pending, and so it shows
deaf-while-fed            the same, until its input ends
catch-term CODE           waits, and answers TERM by exiting with CODE
daemonize sleep|exit VERB leaves a daemon that does VERB: forked twice, in a
                          session of its own
fork-tree DEPTH WIDTH     waits, as do its WIDTH children, DEPTH deep, every other
                          of them in a session of its own
orphan-group              exits; a child in its process group lives on
hop PAUSE                 forks a copy of itself and exits, without end, every PAUSE ms
spin-fork N               waits, while N threads start processes that end at once
print BYTES [LINE]        prints so many bytes, in lines of LINE bytes (without: one line)
describe                  tells in JSON what it finds itself to be";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(99)
        }
    }
}

fn run(args: &[&str]) -> io::Result<ExitCode> {
    match args {
        ["sleep"] => {
            tell_pid()?;
            sleep()
        }
        ["exit", code] => return Ok(ExitCode::from(number(code)? as u8)),
        ["exit-after", pause, code] => {
            tell_pid()?;
            std::thread::sleep(std::time::Duration::from_millis(number(pause)?));
            return Ok(ExitCode::from(number(code)? as u8));
        }
        ["deaf"] => {
            let _deaf = block_all()?;
            tell_pid()?;
            sleep()
        }
        ["deaf-while-fed"] => {
            let _deaf = block_all()?;
            tell_pid()?;
            io::copy(&mut io::stdin(), &mut io::sink())?;
        }
        ["ignore-term"] => {
            let _deaf = Signals::take(&[SIGTERM])?;
            tell_pid()?;
            sleep()
        }
        ["catch-term", code] => {
            let code = number(code)? as u8;
            await_term()?;
            return Ok(ExitCode::from(code));
        }
        ["daemonize", then, verb] => {
            tell_pid()?;
            until_settled(&["daemonize-between", verb])?;
            if *then == "sleep" {
                sleep();
            }
        }
        ["daemonize-between", verb] => {
            rustix::process::setsid()?;
            again(&[verb])?;
        }
        ["fork-tree", depth, width] => {
            tell_pid()?;
            fork_tree(number(depth)?, number(width)?)?;
            sleep()
        }
        ["fork-tree-in-session", depth, width] => {
            rustix::process::setsid()?;
            return run(&["fork-tree", depth, width]);
        }
        ["orphan-group"] => {
            tell_pid()?;
            until_settled(&["sleep"])?;
        }
        ["hop", pause] => {
            tell_pid()?;
            std::thread::sleep(std::time::Duration::from_millis(number(pause)?));
            again(&["hop", pause])?;
        }
        ["spin-fork", threads] => {
            tell_pid()?;
            for _ in 1..number(threads)? {
                std::thread::spawn(spin_fork);
            }
            spin_fork();
        }
        ["print", bytes] => print(number(bytes)?, u64::MAX)?,
        ["print", bytes, line] => print(number(bytes)?, number(line)?)?,
        ["describe"] => describe()?,
        ["be", steps @ ..] => return steps::be(steps),
        _ => {
            complain(HELP);
            complain(steps::HELP);
            return Ok(ExitCode::from(98));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(io::Error::other)
}

/// Starts this program once more.
fn again(args: &[&str]) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .args(args)
        .stdin(Stdio::null())
        .spawn()
}

/// Starts this program once more, and waits until whoever comes of it has told its
/// pid and [sleeps](sleep), or is no more.
fn until_settled(args: &[&str]) -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let stderr = command.spawn()?.stderr.take();
    let mut stderr = stderr.ok_or_else(|| io::Error::other("it was piped"))?;
    io::copy(&mut stderr, &mut io::sink()).map(|_| ())
}

fn tell_pid() -> io::Result<()> {
    // One write, so that the lines of several processes do not mix.
    let line = format!("pid {}\n", std::process::id());
    io::stdout().write_all(line.as_bytes())
}

/// Blocks every signal that can be, apart from the two that the C library keeps for
/// itself (`signal(7)`).
fn block_all() -> io::Result<Signals> {
    let all = (1..=64).filter(|signal| !matches!(signal, 9 | 19 | 32 | 33));
    Signals::take(&all.collect::<Vec<_>>())
}

fn sleep() -> ! {
    // Whoever waits at the other end knows by this that we have settled.
    if let Ok(null) = File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stderr(null);
    }
    loop {
        std::thread::park();
    }
}

fn await_term() -> io::Result<()> {
    let signals = Signals::take(&[SIGTERM])?;
    tell_pid()?;
    await_signal(signals)
}

fn await_signal(mut signals: Signals) -> io::Result<()> {
    while signals.next()?.is_none() {
        let mut fds = [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        rustix::event::poll(&mut fds, None)?;
    }
    Ok(())
}

fn fork_tree(depth: u64, width: u64) -> io::Result<()> {
    if depth == 0 {
        return Ok(());
    }
    let (depth, width_text) = ((depth - 1).to_string(), width.to_string());
    for n in 0..width {
        let verb = if n % 2 == 0 {
            "fork-tree"
        } else {
            "fork-tree-in-session"
        };
        again(&[verb, &depth, &width_text])?;
    }
    Ok(())
}

/// Starts one process after the other. Nearly all of its time it waits, as
/// posix_spawn(3) does with `vfork(2)`, for one of them to execute its program.
fn spin_fork() {
    loop {
        // That it cannot be started for a moment is no reason to end.
        let _ = again(&["exit", "0"]).and_then(|mut child| child.wait());
    }
}

fn print(bytes: u64, line: u64) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout());
    let (mut left, mut in_line) = (bytes, 0);
    while left > 0 {
        let n = left.min(line - 1 - in_line).min(1 << 16);
        out.write_all(&vec![b'x'; n as usize])?;
        (left, in_line) = (left - n, in_line + n);
        if in_line == line - 1 && left > 0 {
            out.write_all(b"\n")?;
            (left, in_line) = (left - 1, 0);
        }
    }
    out.flush()
}

fn describe() -> io::Result<()> {
    // The directory itself is open while it is read.
    let mut fds = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let number = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let target = std::fs::read_link(&path).unwrap_or_default();
        if !target.ends_with(format!("{}/fd", std::process::id())) {
            fds.push(serde_json::json!({"number": number, "target": target}));
        }
    }
    fds.sort_by_key(|fd| fd["number"].to_string());
    let variables: serde_json::Map<_, _> = std::env::vars()
        .filter(|(name, _)| name.starts_with("MONOCO_"))
        .map(|(name, value)| (name, value.into()))
        .collect();
    let description = serde_json::json!({
        "pid": std::process::id(),
        "process_group": rustix::process::getpgrp().as_raw_pid(),
        "session": rustix::process::getsid(None)?.as_raw_pid(),
        "cwd": std::env::current_dir()?,
        "fds": fds,
        "variables": variables,
    });
    writeln!(io::stdout(), "{description}")
}

fn complain(text: &str) {
    // Nobody is left to tell when not even this can be written.
    let _ = writeln!(io::stderr(), "{text}");
}
