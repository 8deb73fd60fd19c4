//! Starting a session: the launcher records it, hands its lease to a new
//! supervisor, and returns once the agent runs and the record that says so is
//! durable. There is no moment without an owner.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use session_core::control::Request;
use session_core::{
    Claim, ClaimError, ConversationError, ConversationLease, Liveness, LookError, NewSession,
    Outcome, Session, SessionId, SessionManager, error_chain, failpoint,
};

use crate::handover::{Failure, LEASE_FD, Order, Report, ReportReader, SUPERVISE};
use crate::hooks::Hooks;
use crate::process_worker::read_errno;
use crate::program::{Program, c_string};
use crate::reading::Reading;
use crate::spare::Spare;
use crate::sys;

/// A session that is to be started.
#[derive(Debug)]
pub struct Launch {
    /// What goes into the record; `command` and `cwd` are filled in.
    pub session: NewSession,
    /// The agent's program and its arguments.
    pub argv: Vec<OsString>,
    /// The agent's stdin.
    pub stdin: AgentStdin,
    /// The agent's working directory; `None` for that of this process. With it
    /// the agent's `PWD` is set as well, unless `env` says otherwise.
    pub cwd: Option<PathBuf>,
    /// Variables added to the environment of this process.
    pub env: Vec<(OsString, OsString)>,
    /// Variables of this process that neither the supervisor nor the agent get,
    /// unless `env` adds them.
    pub env_remove: Vec<OsString>,
    /// Leave what the agent leaves running when it ends.
    pub leave_children: bool,
    /// Remove the record and the log once the session has ended.
    pub remove_at_end: bool,
    /// How long what the agent leaves running has to end after TERM.
    pub grace: Duration,
    /// How to read what the agent prints: its conversation's id, and what it says of its
    /// end, come into the record.
    pub reading: Option<Reading>,
    /// What else is to be run when the agent runs, and when it has ended.
    pub hooks: Hooks,
    /// The directory of the leases on conversations, one for all projects. With it no
    /// two living sessions hold the same conversation: one whose id is in `session` is
    /// taken before anything is recorded, one that the agent makes up once it is heard.
    pub conversations: Option<PathBuf>,
    /// The lease on the conversation, where it was taken before, for the id in `session`.
    pub conversation: Option<ConversationLease>,
}

impl Default for Launch {
    /// Nothing to start yet: with `argv` this is a session like any other.
    fn default() -> Self {
        Self {
            session: NewSession::default(),
            argv: Vec::new(),
            stdin: AgentStdin::Null,
            cwd: None,
            env: Vec::new(),
            env_remove: Vec::new(),
            leave_children: false,
            remove_at_end: false,
            grace: DEFAULT_GRACE,
            reading: None,
            hooks: Hooks::default(),
            conversations: None,
            conversation: None,
        }
    }
}

/// How an orphan is watched that gets a new supervisor.
#[derive(Debug, Default)]
pub struct Adoption {
    /// How to read what the agent prints.
    pub reading: Option<Reading>,
    /// What else is to be run; `on_start` is not, since the agent runs already.
    pub hooks: Hooks,
    /// The directory of the leases on conversations. One that is held by another
    /// session by now stays there.
    pub conversations: Option<PathBuf>,
}

/// Where an agent reads from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentStdin {
    /// `/dev/null`.
    Null,
    /// The stdin of this process.
    Inherit,
}

/// A session that runs.
#[derive(Debug)]
pub struct Launched {
    /// The session, as its record says.
    pub session: Session,
    /// Tells its end.
    pub end: EndWatch,
}

/// A session could not be started or adopted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The agent's program does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The agent's program exists, but cannot be executed.
    #[error("{0}")]
    NotExecutable(String),
    /// The working directory of this process is gone.
    #[error("the working directory does not exist any more")]
    OwnDirectory(#[source] io::Error),
    /// The working directory that was asked for is not there, is no directory, or
    /// may not be entered. Nothing was recorded.
    #[error("cannot use the working directory {}", path.display())]
    WorkingDirectory {
        /// Which was asked for.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The session could not be recorded or taken.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The session could not be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// The session is not an orphan.
    #[error("session {id} is {liveness}; only an orphan can be adopted")]
    NotAnOrphan {
        /// The session.
        id: SessionId,
        /// What it is.
        liveness: &'static str,
    },
    /// The supervisor could not be started.
    #[error("cannot start the supervisor {}", program.display())]
    Supervisor {
        /// Its executable.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The supervisor died before it told anything.
    #[error("the supervisor of session {0} died while it was starting")]
    SupervisorDied(SessionId),
    /// Another session holds the conversation, or its lease cannot be had. Nothing was
    /// recorded.
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    /// The supervisor could not do it.
    #[error("{0}")]
    Failed(String),
}

impl LaunchError {
    /// Whether it is certain that no agent runs, although a session was recorded.
    fn is_without_agent(&self) -> bool {
        matches!(
            self,
            Self::NotFound(_) | Self::NotExecutable(_) | Self::Failed(_) | Self::Supervisor { .. }
        )
    }
}

impl From<Failure> for LaunchError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound(error) => Self::NotFound(error),
            Failure::NotExecutable(error) => Self::NotExecutable(error),
            Failure::Other(error) => Self::Failed(error),
        }
    }
}

/// Starts supervisors.
///
/// The executable that it names must call
/// [`supervise_if_asked`](crate::supervise_if_asked) first thing in its `main`.
#[derive(Debug, Clone)]
pub struct Launcher {
    supervisor: PathBuf,
    argv0: OsString,
    prefix: Vec<OsString>,
    max_files: Option<u64>,
    parent: sys::Parent,
}

impl Launcher {
    /// A launcher whose supervisors are `executable`.
    #[must_use]
    pub fn new(executable: PathBuf) -> Self {
        let argv0 = executable
            .file_name()
            .map_or_else(|| "monoco".into(), ToOwned::to_owned);
        Self {
            supervisor: executable,
            argv0,
            prefix: Vec::new(),
            max_files: None,
            parent: sys::Parent::Nobody,
        }
    }

    /// A launcher whose supervisors are the executable of this process, also when
    /// its file was replaced since by another version.
    ///
    /// # Errors
    /// When the system does not tell which it is.
    pub fn current_exe() -> io::Result<Self> {
        let path = std::env::current_exe()?;
        let mut launcher = Self::new(path);
        if !launcher.supervisor.exists() {
            launcher.supervisor = OWN_EXECUTABLE.into();
        }
        Ok(launcher)
    }

    /// For a process that ends soon after the launch: its supervisors stay its
    /// children until then, which spares a fork. Who lives on would have to reap them.
    #[must_use]
    pub fn short_lived(self) -> Self {
        Self {
            parent: sys::Parent::This,
            ..self
        }
    }

    /// How many files agents may open (the soft `RLIMIT_NOFILE`), where this process
    /// has raised the limit for itself only: programs that use `select(2)` break
    /// with more than 1024.
    #[must_use]
    pub fn with_max_files(self, soft: u64) -> Self {
        Self {
            max_files: Some(soft),
            ..self
        }
    }

    /// Has the supervisors executed by another program: as `prefix… executable …`.
    /// The first word is found through this process's `PATH`. It must execute what
    /// follows it in its own place, with the descriptors that it was given, as
    /// `systemd-run --user --scope --quiet --collect --` does. None for no words.
    #[must_use]
    pub fn behind(self, prefix: Vec<OsString>) -> Self {
        Self { prefix, ..self }
    }

    /// Starts a session. When this returns, its agent runs and its record says so
    /// durably.
    ///
    /// # Errors
    /// [`LaunchError`]; where there is a session already, it has ended
    /// `spawn_failed` with the same reason.
    pub fn launch(
        &self,
        manager: &SessionManager,
        launch: Launch,
    ) -> Result<Launched, LaunchError> {
        self.launch_under(None, manager, launch)
    }

    /// The same, under a supervisor that was forked for it. The executable of this
    /// launcher is used only where that one is gone, or cannot be what is asked for.
    ///
    /// # Errors
    /// As [`launch`](Self::launch).
    pub fn launch_under(
        &self,
        spare: Option<Spare>,
        manager: &SessionManager,
        mut launch: Launch,
    ) -> Result<Launched, LaunchError> {
        let taken = launch.conversation.take();
        let id = launch.session.id.clone().unwrap_or_else(SessionId::random);
        let prepared = match self.prepare(manager, &launch) {
            Ok(prepared) => prepared,
            Err(error) => return Err(let_go(taken, error)),
        };
        let Prepared {
            given,
            cwd,
            stdin,
            project,
        } = prepared;
        let words = launch.argv.iter();
        let command = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let conversation = match taken {
            None => conversation(
                &launch.session,
                launch.conversations.as_deref(),
                &project,
                &id,
            )?,
            taken => taken,
        };
        let recorded = manager.claim_unannounced(NewSession {
            id: Some(id),
            command,
            cwd: Some(cwd),
            ..launch.session
        });
        let claim = match recorded {
            Ok(claim) => claim,
            Err(error) => return Err(let_go(conversation, error.into())),
        };
        failpoint::pass("launch.recorded");
        let order = Order {
            project,
            id: claim.session().id.clone(),
            adopt: false,
            leave_children: launch.leave_children,
            remove_at_end: launch.remove_at_end,
            grace_seconds: launch.grace.as_secs_f64(),
            reading: launch.reading,
            hooks: launch.hooks,
            conversations: launch.conversations,
            has_conversation: conversation.is_some(),
            argv: launch.argv,
        };
        let surroundings = Surroundings {
            cwd: given.as_ref(),
            env: &launch.env,
            env_remove: &launch.env_remove,
            conversation: conversation.as_ref(),
        };
        let spare = spare.filter(|_| self.is_plain() && surroundings.are_own());
        let launched = self.supervise(manager, claim, &order, &stdin, (surroundings, spare));
        match launched {
            Err(error) if error.is_without_agent() => Err(let_go(conversation, error)),
            launched => launched,
        }
    }

    /// What has to be there before anything is recorded.
    fn prepare(&self, manager: &SessionManager, launch: &Launch) -> Result<Prepared, LaunchError> {
        let given = launch.cwd.as_deref().map(Directory::open).transpose()?;
        let cwd = match &given {
            Some(directory) => directory.path.clone(),
            None => std::env::current_dir().map_err(LaunchError::OwnDirectory)?,
        };
        Ok(Prepared {
            given,
            cwd,
            stdin: self.agent_stdin(launch.stdin)?,
            project: absolute(manager)?,
        })
    }

    /// Gives an orphan a new supervisor, which watches it, keeps its timeout, and
    /// records how it ends.
    ///
    /// # Errors
    /// [`LaunchError::NotAnOrphan`] when the session has an owner, has ended, or
    /// cannot be told; whatever else stands in the way.
    pub fn adopt(
        &self,
        manager: &SessionManager,
        id: &SessionId,
        adoption: Adoption,
    ) -> Result<Session, LaunchError> {
        let seen = manager.get(id)?;
        if seen.liveness != Liveness::Orphan {
            return Err(LaunchError::NotAnOrphan {
                id: id.clone(),
                liveness: seen.liveness.as_str(),
            });
        }
        let claim = manager.claim(id)?;
        let order = Order {
            project: absolute(manager)?,
            id: id.clone(),
            adopt: true,
            leave_children: false,
            remove_at_end: false,
            grace_seconds: DEFAULT_GRACE.as_secs_f64(),
            reading: adoption.reading,
            hooks: adoption.hooks,
            conversations: adoption.conversations,
            has_conversation: false,
            argv: Vec::new(),
        };
        let stdin = self.agent_stdin(AgentStdin::Null)?;
        self.supervise(manager, claim, &order, &stdin, Default::default())
            .map(|launched| launched.session)
    }

    fn agent_stdin(&self, stdin: AgentStdin) -> Result<OwnedFd, LaunchError> {
        let fd = match stdin {
            AgentStdin::Null => File::open("/dev/null").map(OwnedFd::from),
            AgentStdin::Inherit => io::stdin().as_fd().try_clone_to_owned(),
        };
        fd.map_err(|source| self.no_supervisor(source))
    }

    fn supervise(
        &self,
        manager: &SessionManager,
        mut claim: Claim,
        order: &Order,
        stdin: &OwnedFd,
        (surroundings, spare): (Surroundings<'_>, Option<Spare>),
    ) -> Result<Launched, LaunchError> {
        let report = match self.start_supervisor(&claim, order, stdin, surroundings, spare) {
            Ok(report) => report,
            Err(source) => {
                let error = self.no_supervisor(source);
                let outcome = Outcome::never_ran(error_chain(&error));
                if !order.adopt && claim.finish(outcome).is_err() {
                    claim.abandon();
                }
                return Err(error);
            }
        };
        failpoint::pass("launch.forked");
        let command = claim.session().command.clone();
        // The supervisor shares the open file now. Closed, never unlocked: that
        // would free it for both.
        drop(claim.into_lease());
        failpoint::pass("launch.handed-over");
        let mut report = ReportReader::new(report);
        let session = match report.next() {
            Some(Report::Started(session) | Report::Ended(session)) => *session,
            Some(Report::Refused(failure)) => return Err(failure.into()),
            None => unreported(manager, &order.id)?,
        };
        Ok(Launched {
            session: with_command(session, &command),
            end: EndWatch { report, command },
        })
    }

    fn start_supervisor(
        &self,
        claim: &Claim,
        order: &Order,
        stdin: &OwnedFd,
        surroundings: Surroundings<'_>,
        spare: Option<Spare>,
    ) -> io::Result<OwnedFd> {
        let (report, told) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let id = &order.id;
        let order = order.to_file()?;
        let lease = claim.lease().file();
        let mut handed = vec![lease.as_fd(), told.as_fd(), order.as_fd(), stdin.as_fd()];
        let conversation = surroundings.conversation;
        handed.extend(conversation.map(|conversation| conversation.file().as_fd()));
        // Refused, nothing was handed over: a new supervisor gets it.
        if spare.is_some_and(|spare| spare.hand_over(id, &handed).is_ok()) {
            return Ok(report);
        }
        let image = self.image(id, surroundings)?;
        let null = OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?);
        let fds = [&[null.as_fd(); LEASE_FD as usize][..], &handed].concat();
        let birth = sys::Birth {
            cwd: surroundings.cwd.map(|directory| directory.fd.as_fd()),
            gate: None,
            max_files: self.max_files,
            parent: self.parent,
        };
        let forked = sys::fork(&image, &fds, birth)?;
        // What cannot be read of its start is told by its report, or by its silence.
        match read_errno(&forked.exec_error) {
            Ok(Some(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Ok(None) | Err(_) => Ok(report),
        }
    }

    /// What the child executes: the supervisor, or the program that executes it.
    fn image(&self, id: &SessionId, surroundings: Surroundings<'_>) -> io::Result<sys::Image> {
        let mut argv = self.prefix.clone();
        argv.push(match self.prefix.is_empty() {
            true => self.argv0.clone(),
            false => self.supervisor_for_others()?.into(),
        });
        argv.extend([SUPERVISE.into(), id.as_str().into()]);
        let mut program = Program::inheriting_env(argv);
        // Found from here, by our own `PATH`: the child is in another directory.
        let candidates = match self.prefix.first() {
            Some(file) => program.candidates(file),
            None => vec![self.supervisor.clone().into()],
        };
        let candidates = candidates.into_iter().map(|candidate| {
            let candidate = std::path::absolute(candidate)?;
            c_string(candidate.into()).map_err(io::Error::other)
        });
        let candidates = candidates.collect::<io::Result<_>>()?;
        program.remove(surroundings.env_remove);
        if let Some(directory) = surroundings.cwd {
            program.set("PWD", directory.path.as_os_str());
        }
        for (name, value) in surroundings.env {
            program.set(&name.to_string_lossy(), value);
        }
        let image = program.image().map_err(io::Error::other)?;
        Ok(sys::Image {
            candidates,
            ..image
        })
    }

    /// The supervisor's executable by a name that means the same to every process,
    /// as long as this one lives; and it waits for the supervisor's report.
    fn supervisor_for_others(&self) -> io::Result<PathBuf> {
        if self.supervisor == Path::new(OWN_EXECUTABLE) {
            return Ok(format!("/proc/{}/exe", std::process::id()).into());
        }
        std::path::absolute(&self.supervisor)
    }

    /// Whether a supervisor of this launcher's is like this process, and may be its child.
    fn is_plain(&self) -> bool {
        self.prefix.is_empty() && self.max_files.is_none() && self.parent == sys::Parent::This
    }

    fn no_supervisor(&self, source: io::Error) -> LaunchError {
        let program = self.prefix.first().map(PathBuf::from);
        LaunchError::Supervisor {
            program: program.unwrap_or_else(|| self.supervisor.clone()),
            source,
        }
    }
}

/// Where a session is started, and its agent's stdin.
struct Prepared {
    /// The working directory that was asked for, if one was.
    given: Option<Directory>,
    cwd: PathBuf,
    stdin: OwnedFd,
    project: PathBuf,
}

/// The executable of the process that looks, also when its file was replaced.
const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// Where, and with which variables, a supervisor starts its agent.
#[derive(Debug, Clone, Copy, Default)]
struct Surroundings<'a> {
    cwd: Option<&'a Directory>,
    env: &'a [(OsString, OsString)],
    env_remove: &'a [OsString],
    conversation: Option<&'a ConversationLease>,
}

impl Surroundings<'_> {
    /// Whether they are those of this process.
    fn are_own(&self) -> bool {
        self.cwd.is_none() && self.env.is_empty() && self.env_remove.is_empty()
    }
}

/// An open directory, and the path that the kernel tells who is in it.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    fd: OwnedFd,
}

impl Directory {
    fn open(path: &Path) -> Result<Self, LaunchError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = path.canonicalize().and_then(|canonical| {
            // By its own `.`, which is found only by those who may enter it.
            let fd = rustix::fs::open(canonical.join("."), flags, Mode::empty())?;
            Ok(Self {
                path: canonical,
                fd,
            })
        });
        opened.map_err(|source| LaunchError::WorkingDirectory {
            path: path.to_owned(),
            source,
        })
    }
}

/// How long the rest of a tree has between TERM and KILL unless somebody says otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// The session of a supervisor that reported nothing: it may live, and only have been
/// unable to say so. One that died is settled.
fn unreported(manager: &SessionManager, id: &SessionId) -> Result<Session, LaunchError> {
    let asked = manager
        .control(id)
        .and_then(|owner| owner.ask(&Request::Status));
    // A report may be closed before the lease is free.
    let (session, lives) = match asked {
        Ok(session) => (session, true),
        Err(_) => (manager.get_after_death(id)?.session, false),
    };
    if session.process().is_some() && (lives || session.end().is_some()) {
        return Ok(session);
    }
    manager.settle(id)?;
    Err(LaunchError::SupervisorDied(id.clone()))
}

/// The lease on the conversation that is asked for, where conversations are kept apart.
fn conversation(
    new: &NewSession,
    dir: Option<&Path>,
    project: &Path,
    id: &SessionId,
) -> Result<Option<ConversationLease>, ConversationError> {
    match (dir, &new.engine, &new.conversation_id) {
        (Some(dir), Some(engine), Some(conversation)) => {
            ConversationLease::take(dir, engine, conversation, project, id).map(Some)
        }
        _ => Ok(None),
    }
}

/// Lets go of a conversation that no session will hold, for the reason `error`.
fn let_go(conversation: Option<ConversationLease>, error: LaunchError) -> LaunchError {
    // What cannot be removed is taken over by the next; the first error counts.
    let _ = conversation.map(ConversationLease::release);
    error
}

fn absolute(manager: &SessionManager) -> Result<PathBuf, LaunchError> {
    std::path::absolute(manager.project()).map_err(LaunchError::OwnDirectory)
}

/// Tells the end of a session that this process launched.
#[derive(Debug)]
pub struct EndWatch {
    report: ReportReader,
    command: Vec<String>,
}

impl EndWatch {
    /// Waits for the end and returns the session as it was recorded; `None` when
    /// the supervisor will tell none, and the session has to be looked at.
    #[must_use]
    pub fn take(mut self) -> Option<Session> {
        match self.report.next()? {
            Report::Ended(session) => Some(with_command(*session, &self.command)),
            _ => None,
        }
    }
}

/// A report leaves the command out, which can be long; the launcher has it.
fn with_command(mut session: Session, command: &[String]) -> Session {
    session.command = command.to_vec();
    session
}

/// Readable once there is an end to take.
impl AsFd for EndWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_that_was_replaced_is_named_so_that_others_find_it() {
        let launcher = Launcher::new(OWN_EXECUTABLE.into());
        let name = launcher.supervisor_for_others().expect("a name");
        assert_ne!(name, Path::new(OWN_EXECUTABLE));
        assert_eq!(
            name.read_link().ok(),
            Path::new(OWN_EXECUTABLE).read_link().ok()
        );
    }
}
