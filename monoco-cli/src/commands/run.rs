//! `monoco run`: run an agent as a session that outlives this terminal.

mod agent;
mod dry_run;
mod prompt;
mod shell;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::process::Signal;
use session_core::control::Request;
use session_core::{NewSession, SessionId, SessionManager};
use session_worker::signals::Signals;
use session_worker::{AgentStdin, DEFAULT_GRACE, EndWatch, Hook, Hooks, Launch, Launcher};

use agent::{Agent, Told};
pub(crate) use prompt::PromptError;

use super::stop::BY;
use super::wait::told;
use crate::args::Run;
use crate::config::{self, Config};
use crate::error::CliError;
use crate::exit::Exit;
use crate::follow::{Follower, LogOutput};
use crate::{output, project, xdg};

/// The variable that tells an agent's session to what the agent starts.
const SESSION_ID_VAR: &str = session_core::process::SESSION_ID_VAR;

const INT: i32 = Signal::INT.as_raw();
const TERM: i32 = Signal::TERM.as_raw();
const HUP: i32 = Signal::HUP.as_raw();
const PIPE: i32 = Signal::PIPE.as_raw();

pub(super) fn run(project: Option<&Path>, args: Run) -> Result<Exit, CliError> {
    let project = project::here(project)?;
    let config = Config::load(Some(&project))?;
    let agent = Agent::of(&project, &args, &config)?;
    let stdin = match &agent.told {
        // Some engines wait for the end of a pipe, others take it for a prompt.
        Some(_) if !args.stdin => AgentStdin::Null,
        Some(_) => agent_stdin(true, true)?,
        None => agent_stdin(args.detach, args.stdin)?,
    };
    if args.dry_run {
        return dry_run::dry_run(&project, &args, &agent, stdin);
    }
    config
        .warnings("hooks")
        .iter()
        .for_each(|warning| output::words(warning));
    agent.told.iter().for_each(Told::tell_added);
    let manager = SessionManager::create(project)?;
    start(&manager, &args, launch(&args, agent, stdin, &config))
}

fn start(manager: &SessionManager, args: &Run, mut launch: Launch) -> Result<Exit, CliError> {
    let launcher = Launcher::current_exe()
        .map_err(CliError::io("find this program, which is the supervisor"))?
        .short_lived();
    if args.detach {
        let launched = launcher.launch(manager, launch)?;
        note(manager);
        return tell(&launched.session.id);
    }
    // From before the launch on: a signal that comes early must find its session.
    let signals = Signals::take(&heeded_signals()).map_err(CliError::io("take signals"))?;
    let early = if args.rm {
        Some(EarlyLog::create(manager)?)
    } else {
        None
    };
    let shown_by = launch.reading.clone();
    launch.session.id = early.as_ref().map(|early| early.id.clone());
    let launched = launcher.launch(manager, launch);
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

fn launch(args: &Run, agent: Agent, stdin: AgentStdin, config: &Config) -> Launch {
    let parent_id = std::env::var(SESSION_ID_VAR).ok();
    let labels = args.label.iter().cloned();
    let (engine, conversation_id, reading) = match agent.told {
        Some(told) => (Some(told.engine), told.conversation, Some(told.reading)),
        None => (None, None, None),
    };
    Launch {
        session: NewSession {
            issue_id: args.issue.clone(),
            role_name: Some(agent.role),
            engine,
            conversation_id,
            name: args.name.clone(),
            labels: labels.map(|label| (label.key, label.value)).collect(),
            parent_id: parent_id.and_then(|id| SessionId::parse(&id).ok()),
            timeout: args.timeout.or(config.run_timeout()),
            ..NewSession::default()
        },
        argv: agent.argv,
        stdin,
        env: agent.env,
        leave_children: args.leave_children || config.run_leave_children(),
        remove_at_end: args.rm,
        grace: config.run_grace(),
        reading,
        hooks: hooks(config),
        conversations: xdg::conversations(),
        ..Launch::default()
    }
}

/// The programs that are configured to be run when a session starts and ends.
pub(super) fn hooks(config: &Config) -> Hooks {
    let hook = |config::Hook { command, timeout }| Hook { command, timeout };
    let hooks = |configured: Vec<config::Hook>| configured.into_iter().map(hook).collect();
    Hooks {
        on_start: hooks(config.hooks_on_start()),
        on_end: hooks(config.hooks_on_end()),
    }
}

/// A terminal is never the agent's. In the foreground a pipe, a socket or a file
/// is; detached only a file, which has an end, unless `asked`.
fn agent_stdin(detach: bool, asked: bool) -> Result<AgentStdin, CliError> {
    let stdin = rustix::stdio::stdin();
    let stat = rustix::fs::fstat(stdin)
        .map_err(|error| CliError::io("look at standard input")(error.into()))?;
    let inherits = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => true,
        FileType::Fifo | FileType::Socket => asked || !detach,
        _ => asked && !rustix::termios::isatty(stdin),
    };
    Ok(if inherits {
        AgentStdin::Inherit
    } else {
        AgentStdin::Null
    })
}

/// A session whose output is streamed here.
struct Foreground<'a> {
    manager: &'a SessionManager,
    id: SessionId,
    end: EndWatch,
    signals: Signals,
    log: Follower,
    out: LogOutput,
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
                grace_seconds: DEFAULT_GRACE.as_secs_f64(),
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
