//! An agent that does one thing after the other, as the words of its command say.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use monoco_tests::Utterance;
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::Uid;
use session_worker::signals::Signals;

use crate::{SIGTERM, again, await_signal, fork_tree, number, sleep, spin_fork, until_settled};

pub(crate) const HELP: &str = "\
be STEP…                  does so many steps, the last of which is an end:
    out:BxN err:BxN anew:BxN   says N times B bytes; anew: through its stdout reopened
    deaf                       takes TERM from now on, which only `catch` answers
    daemon, deaf-daemon        leaves a daemon in a session of its own
    member, deaf-member        leaves a child in its process group
    tree hop spin              leaves a tree, a hopper, somebody who forks all the time
    mute                       lets go of its output
    root                       becomes root altogether, if its file is setuid
    pause:MS  ready:PATH       waits; makes a file, to tell that it has come so far
    sleep catch:N exit:N raise:S   ends: when killed, on TERM, at once, by a signal";

/// How far an agent has come.
#[derive(Default)]
struct Progress {
    /// How many bytes it has said.
    said: usize,
    /// TERM waits here.
    term: Option<Signals>,
}

pub(crate) fn be(steps: &[&str]) -> io::Result<ExitCode> {
    let mut progress = Progress::default();
    for step in steps {
        if let Some(code) = progress.step(step)? {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Progress {
    /// Takes one step; tells the exit code, if it is the last.
    fn step(&mut self, step: &str) -> io::Result<Option<ExitCode>> {
        if let Some(utterance) = Utterance::from_word(step) {
            utterance.say(self.said)?;
            self.said += utterance.len();
            return Ok(None);
        }
        match step.split_once(':').unwrap_or((step, "")) {
            ("deaf", _) => self.term = Some(take_term()?),
            ("daemon", _) => until_settled(&["daemonize-between", "sleep"])?,
            ("deaf-daemon", _) => until_settled(&["daemonize-between", "ignore-term"])?,
            ("member", _) => until_settled(&["sleep"])?,
            ("deaf-member", _) => until_settled(&["ignore-term"])?,
            ("tree", _) => fork_tree(2, 2)?,
            ("hop", _) => drop(again(&["hop", "1"])?),
            ("spin", _) => drop(std::thread::spawn(spin_fork)),
            ("mute", _) => be_mute()?,
            ("root", _) => {
                let root = Uid::ROOT;
                rustix::thread::set_thread_res_uid(root, root, root)?;
            }
            ("pause", ms) => std::thread::sleep(Duration::from_millis(number(ms)?)),
            ("ready", path) => drop(File::create(path)?),
            ("sleep", _) => sleep(),
            ("catch", code) => {
                await_signal(self.term.take().map_or_else(take_term, Ok)?)?;
                return exit(code).map(Some);
            }
            ("exit", code) => return exit(code).map(Some),
            ("raise", signal) => raise(signal)?,
            _ => return Err(io::Error::other(format!("no step: {step}"))),
        }
        Ok(None)
    }
}

fn take_term() -> io::Result<Signals> {
    Signals::take(&[SIGTERM])
}

fn exit(code: &str) -> io::Result<ExitCode> {
    Ok(ExitCode::from(
        u8::try_from(number(code)?).map_err(io::Error::other)?,
    ))
}

fn be_mute() -> io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Ends by a signal, and leaves no core behind.
fn raise(signal: &str) -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    let named = number(signal)?
        .try_into()
        .ok()
        .and_then(Signal::from_named_raw);
    match named {
        // The standard library ignores PIPE, and passes that on to nobody.
        Some(signal) if signal != Signal::PIPE => {
            let me = rustix::process::getpid();
            loop {
                // Its handler of SEGV and BUS lets go only at the first.
                rustix::process::kill_process(me, signal)?;
            }
        }
        _ => Err(Command::new("sh")
            .args(["-c", &format!("kill -{signal} $$")])
            .exec()),
    }
}
