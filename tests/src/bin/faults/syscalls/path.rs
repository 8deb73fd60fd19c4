//! The paths on which records are written: how each is taken, in which process, and
//! what must be true after it, whatever failed on the way.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::time::Duration;

use monoco_tests::{PATIENCE, Project, Ran, Signal, agent, finish, gone, kill, monoco};
use session_core::{NewSession, Outcome, Session, SessionId, SessionManager, SpawnFailure};
use session_worker::{Adoption, AgentStdin, Launch, LaunchError, Launcher};

use super::strace::{Call, Seen, Strace};
use super::{Fault, Injection};
use crate::campaign::Campaign;
use crate::command::Command;
use crate::model::{Deeds, Verb};
use crate::promise::{check_agents, check_deserted, check_records, check_tidy, end};

/// What is done, and who is made to fail meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// A session is started, and ends by itself: the launcher.
    Launch = 1,
    /// The same: the supervisor before it executes its program.
    Birth,
    /// The same: the supervisor.
    Start,
    /// The same: the agent's process before it executes its program.
    Gate,
    /// A session is stopped: who asks for it.
    Stop,
    StopByOwner,
    StopOrphan,
    Suspend,
    SuspendByOwner,
    Resume,
    ResumeByOwner,
    /// One whose owner and agent are dead is settled.
    Reconcile,
    /// An orphan is adopted: who asks for it.
    Adopt,
    /// The same: its new owner.
    AdoptByOwner,
    /// One that has ended is removed.
    Remove,
    RemoveLiving,
}

pub(super) const PATHS: [Path; 16] = [
    Path::Launch,
    Path::Birth,
    Path::Start,
    Path::Gate,
    Path::Stop,
    Path::StopByOwner,
    Path::StopOrphan,
    Path::Suspend,
    Path::SuspendByOwner,
    Path::Resume,
    Path::ResumeByOwner,
    Path::Reconcile,
    Path::Adopt,
    Path::AdoptByOwner,
    Path::Remove,
    Path::RemoveLiving,
];

/// An agent that tells its pid, and ends by itself.
const TELLS_AND_EXITS: [&str; 3] = ["sh", "-c", "echo pid $$; exit 3"];

/// The session's name, which must be free again afterwards.
const NAME: &str = "again";

impl Path {
    fn is_start(self) -> bool {
        matches!(self, Self::Launch | Self::Birth | Self::Start | Self::Gate)
    }

    /// Children are followed, and hit by what their parent does not come to.
    fn follows(self) -> bool {
        matches!(self, Self::Birth | Self::Gate)
    }

    fn by_owner(self) -> bool {
        matches!(
            self,
            Self::StopByOwner | Self::SuspendByOwner | Self::ResumeByOwner
        )
    }

    /// What is asked for, where it is asked of a session that is there.
    fn command(self) -> Option<Command> {
        Some(match self {
            Self::Stop | Self::StopByOwner | Self::StopOrphan => Command::Stop,
            Self::Suspend | Self::SuspendByOwner => Command::Suspend,
            Self::Resume | Self::ResumeByOwner => Command::Resume,
            Self::Adopt | Self::AdoptByOwner => Command::Adopt,
            Self::Remove | Self::RemoveLiving => Command::Remove,
            _ => return None,
        })
    }
}

/// A project before the path is taken.
struct Stage {
    project: Project,
    id: Option<SessionId>,
    deeds: Deeds,
}

impl Stage {
    fn new(path: Path, fault: Option<Fault>) -> Result<Self, String> {
        let project = Project::new();
        let is_killed = fault == Some(Fault::Kill);
        let mut deeds = Deeds {
            verb: Verb::Sleep,
            killed_launcher: path.is_start(),
            killed_supervisor: is_killed
                && (path.by_owner() || matches!(path, Path::Birth | Path::Start)),
            killed_agent: is_killed && path.follows(),
            stopped: path.command().is_some_and(Command::ends),
        };
        let options = ["--name", NAME];
        let id = match path {
            Path::Launch | Path::Birth | Path::Start | Path::Gate => {
                deeds.verb = Verb::Exit(3);
                None
            }
            Path::Remove => {
                deeds.verb = Verb::Exit(3);
                let id = project.start(&options, &[agent(), "exit", "3"]);
                project.wait_for_release(&id);
                Some(id)
            }
            Path::StopOrphan | Path::Adopt | Path::AdoptByOwner | Path::Reconcile => {
                deeds.killed_supervisor = true;
                let (id, pid) = project.orphan(&options, &["sleep"]);
                if path == Path::Reconcile {
                    deeds.killed_agent = true;
                    kill(pid, Signal::KILL);
                    gone(&[pid]);
                }
                Some(id)
            }
            _ => Some(project.start_agent(&options, &["sleep"], 1).0),
        };
        if matches!(path, Path::Resume | Path::ResumeByOwner) {
            project.run(&["suspend", NAME]).ok();
        }
        let id = id.map(|id| SessionId::parse(&id)).transpose();
        let id = id.map_err(|error| error.to_string())?;
        Ok(Self { project, id, deeds })
    }

    /// Takes the path; what a library's caller is told is put as a command would.
    fn act(&self, path: Path, strace: &Strace) -> Result<Ran, String> {
        let words: Vec<&str> = match (path.command(), &self.id) {
            (Some(command), Some(id)) => command.words(id),
            (_, Some(_)) => vec!["reconcile"],
            (_, None) => [&["run", "-d", "--name", NAME, "--"], &TELLS_AND_EXITS[..]].concat(),
        };
        match (path, &self.id) {
            (Path::Start | Path::Gate, _) => self.launch(strace),
            (Path::AdoptByOwner, Some(id)) => self.adopt(id.clone(), strace),
            (_, Some(id)) if path.by_owner() => {
                let owner = self.project.supervisor(id.as_str());
                strace.attached(&self.project, owner, || self.project.run(&words))
            }
            _ => {
                let program = [&[monoco()], &words[..]].concat();
                let traced = strace.command(&self.project, &program).spawn();
                Ok(finish(traced.map_err(|error| error.to_string())?))
            }
        }
    }

    /// Has the supervisor executed by strace, which then traces nobody else.
    fn launcher(strace: &Strace) -> Launcher {
        let mut prefix = strace.words();
        prefix.insert(1, "-D".to_owned());
        Launcher::new(monoco().into()).behind(prefix.into_iter().map(Into::into).collect())
    }

    fn launch(&self, strace: &Strace) -> Result<Ran, String> {
        let manager = SessionManager::create(self.project.path()).map_err(|e| e.to_string())?;
        let launcher = Self::launcher(strace);
        let (mark, value) = self.project.mark();
        let launch = Launch {
            session: NewSession {
                name: Some(NAME.to_owned()),
                ..NewSession::default()
            },
            argv: TELLS_AND_EXITS.map(Into::into).to_vec(),
            stdin: AgentStdin::Null,
            cwd: Some(self.project.path().to_owned()),
            env: vec![(mark.into(), value.into())],
            env_remove: Vec::new(),
            leave_children: false,
            remove_at_end: false,
            grace: Duration::from_secs(1),
            ..Launch::default()
        };
        bounded(move || {
            let launched = launcher.launch(&manager, launch);
            as_told(launched.map(|launched| launched.session.id.to_string()))
        })
    }

    fn adopt(&self, id: SessionId, strace: &Strace) -> Result<Ran, String> {
        let manager = self.project.manager();
        let launcher = Self::launcher(strace);
        bounded(move || {
            let adopted = launcher.adopt(&manager, &id, Adoption::default());
            as_told(adopted.map(|session| session.id.to_string()))
        })
    }
}

fn as_told(done: Result<String, LaunchError>) -> Ran {
    let (code, out, err) = match done {
        Ok(id) => (0, id, String::new()),
        Err(error) => (125, String::new(), session_core::error_chain(&error)),
    };
    Ran {
        code,
        stdout: out.into_bytes(),
        stderr: err.into_bytes(),
    }
}

/// Calls `act`, and gives up when it takes too long.
fn bounded<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        // Nobody listens any more to what came too late.
        let _ = sender.send(act());
    });
    let done = receiver.recv_timeout(PATIENCE);
    done.map_err(|_| format!("no answer within {PATIENCE:?}"))
}

/// The calls of a path, by taking it without a fault.
pub(super) fn discover(path: Path) -> Result<Vec<Call>, String> {
    let stage = Stage::new(path, None)?;
    let strace = Strace::new(&stage.project, None, path.follows());
    let ran = stage.act(path, &strace)?;
    if ran.code != 0 {
        return Err(ran.to_string());
    }
    stage.project.run(&["stop", "-t", "5", NAME]);
    // The tracer of a supervisor is done when that is.
    check_deserted(&stage.project, None)?;
    let mut seen = strace.seen()?;
    if path.follows() {
        return of_child(seen, path == Path::Birth);
    }
    let seen = seen.pop().ok_or("nothing was seen")?;
    Ok(seen.without_execution())
}

/// What a child does before it executes its program, as far as its parent does not
/// do it as often: strace counts for each process, and hits the parent first.
fn of_child(seen: Vec<Seen>, is_supervisor: bool) -> Result<Vec<Call>, String> {
    let (children, parents): (Vec<_>, Vec<_>) = seen
        .into_iter()
        .partition(|seen| seen.text.contains("] setsid("));
    let is_meant = |seen: &&Seen| seen.text.contains("\"__supervise\"") == is_supervisor;
    let child = children.iter().find(is_meant).ok_or("no child was seen")?;
    let n = child.calls.iter().position(|call| call.name == "execve");
    let own = &child.calls[..=n.ok_or("it executed nothing")?];
    let parents: Vec<_> = parents
        .into_iter()
        .flat_map(Seen::without_execution)
        .collect();
    let by_parent = |call: &Call| {
        let same = parents.iter().filter(|other| other.number == call.number);
        same.count() as u64
    };
    let own = own.iter().filter(|call| call.when > by_parent(call));
    Ok(own.cloned().collect())
}

pub(super) fn attempt(injection: Injection, campaign: &mut Campaign) -> Result<(), String> {
    let path = injection.path;
    let stage = Stage::new(path, Some(injection.fault))?;
    let strace = Strace::new(&stage.project, Some(injection), path.follows());
    let ran = stage.act(path, &strace)?;
    let checked = check(injection, &stage, &ran, campaign);
    let met = strace.met();
    match (&met, injection.fault) {
        (None, _) => campaign.miss("not met this time"),
        (Some(_), Fault::Kill) => campaign.count("killed in a call"),
        (Some(_), _) => campaign.count("calls made to fail"),
    }
    if met.is_some() {
        campaign.count(match ran.code {
            0 => "done all the same",
            _ => "not done",
        });
    }
    checked.map_err(|broken| format!("{}: {broken}", met.unwrap_or_default()))
}

fn check(
    injection: Injection,
    stage: &Stage,
    ran: &Ran,
    campaign: &mut Campaign,
) -> Result<(), String> {
    let path = injection.path;
    let project = &stage.project;
    check_words(injection, ran)?;
    let acknowledged = match &stage.id {
        Some(_) if path.command() == Some(Command::Remove) => None,
        Some(id) => Some(id.to_string()),
        None => (ran.code == 0).then(|| ran.out().trim_end().to_owned()),
    };
    let session = check_records(project, &BTreeSet::new(), acknowledged.as_deref())?;
    if let (Some(id), Some(command)) = (&stage.id, path.command())
        // Who was killed after he had answered owns nothing.
        && !(path == Path::AdoptByOwner && injection.fault == Fault::Kill)
    {
        command.check(project, id, ran, true)?;
    }
    // What cannot be told now is left alone, and settled the next time.
    let is_settled = session
        .as_ref()
        .is_some_and(|session| session.end().is_some());
    if path == Path::Reconcile && !ran.stdout.is_empty() && !is_settled {
        return Err("it was settled, and is not".to_owned());
    }
    match session {
        // Whatever kept a gate from its program is told as its exec's error.
        Some(session) if path == Path::Gate && was_not_executed(&session) => {
            campaign.count("gates that executed nothing");
            check_deserted(project, Some(session.id.as_str()))?;
        }
        Some(session) => {
            check_agents(project, &session.id)?;
            end(project, &session, stage.deeds, campaign)?;
        }
        None => check_deserted(project, None)?,
    }
    check_tidy(project, NAME)
}

fn was_not_executed(session: &Session) -> bool {
    let reason = Some(SpawnFailure::NotExecutable);
    matches!(session.outcome(), Some(Outcome::SpawnFailed { reason: told, .. }) if *told == reason)
}

/// A command that was not killed says in one line why it failed.
fn check_words(injection: Injection, ran: &Ran) -> Result<(), String> {
    let path = injection.path;
    let may_be_killed = injection.fault == Fault::Kill && !path.by_owner();
    let is_one_line = ran.err().lines().count() == 1;
    let is_fine = match ran.code {
        0 => true,
        137 => may_be_killed,
        // A line for each session, and what it comes to.
        125 if path == Path::Reconcile => !ran.stderr.is_empty(),
        125 => is_one_line,
        126 | 127 if path.is_start() => is_one_line,
        // Before there is a program to say anything.
        127 => is_one_line && ran.err().contains("error while loading shared libraries"),
        _ => false,
    };
    match is_fine {
        true => Ok(()),
        false => Err(format!("it failed without one clear line: {ran}")),
    }
}
