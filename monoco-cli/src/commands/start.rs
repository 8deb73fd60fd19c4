//! Starting a session from here: detached, or with its output streamed until its end.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use session_core::control::Request;
use session_core::{SessionId, SessionManager};
use session_worker::signals::Signals;
use session_worker::{EndWatch, Launch, Launcher, Spare};

use super::stop::BY;
use super::wait::told;
use crate::error::CliError;
use crate::exit::Exit;
use crate::follow::{Follower, LogOutput};
use crate::{output, xdg};

const INT: i32 = Signal::INT.as_raw();
const TERM: i32 = Signal::TERM.as_raw();
const HUP: i32 = Signal::HUP.as_raw();
const PIPE: i32 = Signal::PIPE.as_raw();

/// Starts a session, under `spare` if there is one. Detached, prints its id once its
/// agent runs; else streams its output, and returns with its agent's code.
pub(super) fn start(
    manager: &SessionManager,
    mut launch: Launch,
    detach: bool,
    spare: Option<Spare>,
) -> Result<Exit, CliError> {
    let launcher = Launcher::current_exe()
        .map_err(CliError::io("find this program, which is the supervisor"))?
        .short_lived();
    if detach {
        let launched = launcher.launch_under(spare, manager, launch)?;
        note(manager);
        return tell(&launched.session.id);
    }
    // From before the launch on: a signal that comes early must find its session.
    let signals = Signals::take(&heeded_signals()).map_err(CliError::io("take signals"))?;
    let early = if launch.remove_at_end {
        Some(EarlyLog::create(manager)?)
    } else {
        None
    };
    let shown_by = launch.reading.clone();
    if let Some(early) = &early {
        launch.session.id = Some(early.id.clone());
    }
    let grace = launch.grace;
    let launched = launcher.launch_under(spare, manager, launch);
    let launched = launched.inspect_err(|_| early.iter().for_each(EarlyLog::remove))?;
    note(manager);
    let id = &launched.session.id;
    let log = match early {
        Some(early) => Some(early.log),
        None => manager.open_log(id).map_err(reading(id))?,
    };
    let log = log.ok_or_else(|| reading(id)(io::ErrorKind::NotFound.into()))?;
    Foreground {
        manager,
        id: id.clone(),
        end: launched.end,
        signals,
        log: Follower::new(log, 0),
        out: LogOutput::stdout(false, shown_by),
        grace,
    }
    .until_end()
}

/// Tells which session runs: in words where its id cannot be printed, for it goes on.
fn tell(id: &SessionId) -> Result<Exit, CliError> {
    match output::line(id.as_str()) {
        Ok(()) => Ok(Exit::SUCCESS),
        Err(CliError::Output(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(
            CliError::io(format!("print the id of session {id}, which goes on"))(error),
        ),
        Err(error) => {
            output::words(&format!("session {id} goes on"));
            Err(error)
        }
    }
}

/// Remembers the project, for programs that show all that there are. Not on the
/// way of the start; and a registry that cannot be written stops no session.
pub(super) fn note(manager: &SessionManager) {
    if let Some(registry) = xdg::registry() {
        let _ = registry.note(manager.project());
    }
}

/// The signals to act on. What our starter had ignored (nohup, a shell's
/// background job) stays ignored: taken, it would arrive all the same.
fn heeded_signals() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let is_ignored = |signal: &i32| ignored.unwrap_or(0) >> (signal - 1) & 1 == 1;
    [INT, TERM, HUP]
        .into_iter()
        .filter(|signal| !is_ignored(signal))
        .collect()
}

fn reading(id: &SessionId) -> impl FnOnce(io::Error) -> CliError + use<> {
    CliError::io(format!("read the log of session {id}, which runs"))
}

/// The log of a session that is removed at its end, opened before it begins: it
/// may be over before we come to look.
struct EarlyLog {
    id: SessionId,
    log: File,
    path: PathBuf,
}

impl EarlyLog {
    fn create(manager: &SessionManager) -> Result<Self, CliError> {
        let id = SessionId::random();
        let making = || CliError::io("make the session's log");
        manager.append_log(&id).map_err(making())?;
        let log = manager.open_log(&id).map_err(making())?;
        let log = log.ok_or_else(|| making()(io::ErrorKind::NotFound.into()))?;
        Ok(Self {
            path: manager.log_path(&id)?,
            id,
            log,
        })
    }

    fn remove(&self) {
        // What cannot be removed is an empty file; the launch's error counts.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A session whose output is streamed here.
struct Foreground<'a> {
    manager: &'a SessionManager,
    id: SessionId,
    end: EndWatch,
    signals: Signals,
    log: Follower,
    out: LogOutput,
    grace: Duration,
}

/// How a session ended whose supervisor did not tell us: it may have ended all the same,
/// and somebody else recorded it; or it goes on, and its end can still be asked for.
fn untold(manager: &SessionManager, id: SessionId) -> Result<Exit, CliError> {
    let session = manager.get(&id)?.session;
    if session.status().is_terminal() {
        return Ok(told(&session));
    }
    let asked = manager
        .control(&id)
        .and_then(|owner| owner.ask(&Request::Wait));
    match asked {
        Ok(session) => Ok(told(&session)),
        Err(_) => Err(CliError::SupervisorDied { id }),
    }
}

/// What woke us up.
enum Event {
    End,
    Signal(i32),
}

impl Foreground<'_> {
    fn until_end(mut self) -> Result<Exit, CliError> {
        let mut asked = false;
        loop {
            match self.next() {
                Ok(Event::End) => break,
                // The terminal was closed; the session goes on.
                Ok(Event::Signal(HUP)) => return Ok(Exit::signal(HUP)),
                Ok(Event::Signal(_)) => self.stop(std::mem::replace(&mut asked, true)),
                Err(error) => {
                    let gone = error.is_reader_gone();
                    let why = if gone {
                        "nobody reads the output any more; "
                    } else {
                        ""
                    };
                    output::words(&format!("{why}session {} goes on", self.id));
                    return if gone {
                        Ok(Exit::signal(PIPE))
                    } else {
                        Err(error)
                    };
                }
            }
        }
        let Self {
            manager,
            id,
            end,
            mut log,
            mut out,
            ..
        } = self;
        let session = end.take();
        match log.rest(&mut out).and_then(|()| out.finish()) {
            Err(error) if !error.is_reader_gone() => return Err(error),
            _ => {}
        }
        match session {
            Some(session) => Ok(told(&session)),
            None => untold(manager, id),
        }
    }

    /// Streams the log until something else happens.
    fn next(&mut self) -> Result<Event, CliError> {
        loop {
            let others = [self.end.as_fd(), self.signals.as_fd()];
            if self.log.until(&others, &mut self.out)? == 0 {
                return Ok(Event::End);
            }
            let signal = self.signals.next().map_err(CliError::io("take a signal"))?;
            if let Some(signal) = signal {
                return Ok(Event::Signal(signal));
            }
        }
    }

    /// Asks the owner to stop the session, or, the second time, to kill it. The
    /// output is streamed meanwhile.
    fn stop(&self, again: bool) {
        let (manager, id) = (self.manager.clone(), self.id.clone());
        let by = BY.to_owned();
        let request = if again {
            Request::Kill {
                signal: Signal::KILL.as_raw(),
                by,
            }
        } else {
            output::words(&format!("stopping session {id}; once more kills it"));
            Request::Stop {
                grace_seconds: self.grace.as_secs_f64(),
                by,
            }
        };
        std::thread::spawn(move || {
            use session_core::ControlError::{NoOwner, OwnerDied};
            match manager
                .control(&id)
                .and_then(|control| control.ask(&request))
            {
                // That it ended meanwhile, or how, is seen at the other end.
                Ok(_) | Err(NoOwner(_) | OwnerDied(_)) => {}
                Err(error) => output::failure(&error),
            }
        });
    }
}
