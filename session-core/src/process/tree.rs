//! An agent with all its descendants.
//!
//! A process group is not the tree: agents start their tools in sessions of
//! their own. The tree is found by parentage under a subreaper, or, where the
//! subreaper died, by parentage under the agent and by the session's id in the
//! environment that descendants inherit.
//!
//! Other sessions are not part of it, even where the agent started them: a
//! supervisor below is recognised by the lease that it holds, an agent that lost
//! its supervisor by its own mark; both are left alone with all below them. The agent's
//! first process always is a part, and so is whoever has the same mark.

use std::io;
use std::time::{Duration, Instant};

use crate::id::SessionId;
use crate::process::{Pid, ProcessHandle, SignalError};
use crate::sys;

/// The descriptor under which every supervisor holds its lease. Observers tell
/// a supervisor from the agent's own processes by looking at it.
pub const LEASE_FD: i32 = 3;

/// The environment variable that names an agent's session to its descendants.
pub const SESSION_ID_VAR: &str = "MONOCO_SESSION_ID";
/// The environment variable that names an agent's project directory.
pub const PROJECT_VAR: &str = "MONOCO_PROJECT";

/// How long a tree may take to come to rest before that is given up: processes
/// may fork faster than they can be stopped, or wait for a processor or a disk.
const FREEZE_PATIENCE: Duration = Duration::from_secs(3);
/// The pause between two looks; it doubles up to the longest.
const FREEZE_PAUSE: Duration = Duration::from_micros(50);
const FREEZE_PAUSE_MAX: Duration = Duration::from_millis(2);

/// How often a tree in which nobody is found is looked through before that is
/// believed, while there still are new dead in it.
const LOOKS_MAX: usize = 100;

/// How long KILL is repeated before what is left is reported.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two looks at what is left of a tree.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The longest grace period that is told from one without end.
const GRACE_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Where a tree grows. It can be looked at any time, also when nobody is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    id: SessionId,
    /// The agent's first process, as long as it is there.
    agent: Option<Anchor>,
    root: Root,
    /// A child of the same owner that is no member, nor is anybody below it.
    stranger: Option<Anchor>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    /// This process, a subreaper: all its descendants.
    Own,
    /// An agent whose subreaper has died: it, its descendants, and whoever carries the
    /// session's id in its environment.
    Agent,
}

/// A process that was verified while its pidfd was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Anchor {
    pid: Pid,
    start_ticks: u64,
}

/// What one look through a tree finds.
#[derive(Debug, Default)]
struct Found {
    members: Vec<Member>,
    /// Those who were in a list of children, and had ended, or gone elsewhere, when
    /// their turn came.
    ended: Vec<Pid>,
}

/// One living process of a tree, as it was found.
#[derive(Debug, Clone, Copy)]
struct Member {
    pid: Pid,
    look: Seen,
}

/// What was seen of a member.
#[derive(Debug, Clone, Copy)]
enum Seen {
    Stat(sys::Stat),
    /// It became another user's, and `/proc` hides it (`hidepid=`).
    Hidden,
}

impl Tree {
    /// The tree below this process, which is a subreaper and has no children but
    /// those of session `id`, whose first process is `agent`.
    #[must_use]
    pub fn below(id: SessionId, agent: &ProcessHandle) -> Self {
        Self {
            root: Root::Own,
            ..Self::of(id, Some(agent))
        }
    }

    /// The tree of an agent that is not below this process. `agent` is its first
    /// process, if it still is there.
    #[must_use]
    pub fn of(id: SessionId, agent: Option<&ProcessHandle>) -> Self {
        let anchor = agent.and_then(|agent| {
            let sys::Look::Found(stat) = sys::look(agent.pid()) else {
                return None;
            };
            // Not ended after the look: so it was the process that was looked at.
            let alive = matches!(agent.has_ended(), Ok(false));
            alive.then_some(Anchor {
                pid: agent.pid(),
                start_ticks: stat.start_ticks,
            })
        });
        Self {
            id,
            agent: anchor,
            root: Root::Agent,
            stranger: None,
        }
    }

    /// From now on whoever is the first process of `other`, with all below it, is no
    /// member of this tree, whatever it says of itself: a program that the owner runs
    /// beside the agent may clear its environment. One at a time; `None` for nobody.
    pub fn leave_out(&mut self, other: Option<&Self>) {
        self.stranger = other.and_then(|other| other.agent);
    }

    /// The pids of everybody who lives in the tree now.
    ///
    /// # Errors
    /// When the system does not let us look.
    pub fn pids(&self) -> Result<Vec<Pid>, TreeError> {
        let members = self.members().map_err(TreeError::Look)?;
        Ok(members.iter().map(|member| member.pid).collect())
    }

    /// Sends `signal` to everybody in the tree; tells how many there were.
    ///
    /// # Errors
    /// The first refusal, after everybody else has been signalled.
    pub fn signal(&self, signal: i32) -> Result<usize, TreeError> {
        let members = self.members().map_err(TreeError::Look)?;
        let mut refused = None;
        for member in &members {
            // It may have become another session's supervisor since it was found.
            let is_agent = is_anchored(self.agent, member.pid);
            if !is_agent && self.is_other_owner(member.pid).map_err(TreeError::Look)? {
                continue;
            }
            if let Err(error) = member.signal(signal) {
                refused = refused.or(Some(error));
            }
        }
        refused.map_or(Ok(members.len()), Err)
    }

    /// Asks everybody to end: TERM, then CONT, without which a stopped process
    /// would not see it.
    ///
    /// # Errors
    /// The first refusal, after everybody else has been asked.
    pub fn ask_to_end(&self) -> Result<usize, TreeError> {
        let asked = self.signal(libc_signal::TERM);
        self.signal(libc_signal::CONT)?;
        asked
    }

    /// Ends everybody: asks, waits at most for `grace`, and kills until nobody is
    /// left. Without any grace nobody is asked.
    ///
    /// # Errors
    /// A refusal, or who outlived every KILL.
    pub fn end(&self, grace: Duration) -> Result<(), TreeError> {
        if !grace.is_zero() {
            let graceful = Instant::now() + grace.min(GRACE_MAX);
            // A refusal shows again with KILL, and is reported then.
            let _ = self.ask_to_end();
            while Instant::now() < graceful {
                if matches!(self.pids(), Ok(pids) if pids.is_empty()) {
                    return Ok(());
                }
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        let deadline = Instant::now() + KILL_PATIENCE;
        while self.signal(libc_signal::KILL)? > 0 {
            if Instant::now() >= deadline {
                return Err(TreeError::Survivors(self.pids()?));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Stops everybody, until a look through the tree finds nobody who is not
    /// stopped, and the same processes as the look before it: neither one that was
    /// just being forked is missed, nor one whose parent ended in this moment.
    ///
    /// # Errors
    /// A refusal, or a tree that does not come to rest. It goes on then.
    pub fn freeze(&self) -> Result<(), TreeError> {
        self.try_freeze().inspect_err(|_| {
            // The first error counts.
            let _ = self.thaw();
        })
    }

    /// As [`freeze`](Self::freeze), for a tree that is to be frozen already: whoever was
    /// thawed by others is stopped again, and nobody goes on where that fails.
    ///
    /// # Errors
    /// As [`freeze`](Self::freeze).
    pub fn keep_frozen(&self) -> Result<(), TreeError> {
        self.try_freeze()
    }

    fn try_freeze(&self) -> Result<(), TreeError> {
        let mut asked = Vec::new();
        let frozen = self.stop_until_rest(&mut asked);
        let released = self.release_supervisors(&asked);
        frozen.and(released)
    }

    fn stop_until_rest(&self, asked: &mut Vec<Pid>) -> Result<(), TreeError> {
        let deadline = Instant::now() + FREEZE_PATIENCE;
        let mut pause = FREEZE_PAUSE;
        let mut before = Found::default();
        while Instant::now() < deadline {
            let found = self.look().map_err(TreeError::Look)?;
            let is_settled = found.is_same_as(&before);
            let members = &found.members;
            let rests = |member: &Member| member.rests_among(members, asked);
            let restless: Vec<_> = members.iter().filter(|member| !rests(member)).collect();
            if restless.is_empty() && is_settled {
                return Ok(());
            }
            for member in &restless {
                member.signal(libc_signal::STOP)?;
            }
            asked.extend(restless.iter().map(|member| member.pid));
            before = found;
            // A process stops only once it gets onto a processor.
            std::thread::sleep(pause);
            pause = (pause * 2).min(FREEZE_PAUSE_MAX);
        }
        Err(TreeError::Restless)
    }

    /// Lets go on who was given another session's lease while it was being stopped: a
    /// supervisor is no member of the tree any more, and nobody would thaw it.
    fn release_supervisors(&self, asked: &[Pid]) -> Result<(), TreeError> {
        for pid in asked {
            // Not ended after the look: so it was this process that holds the lease.
            if let Some(handle) = ProcessHandle::open(*pid).map_err(TreeError::Look)?
                && let Some(id) = sys::lease_of(*pid, LEASE_FD).map_err(TreeError::Look)?
                && id != self.id
                && !handle.has_ended().map_err(TreeError::Look)?
            {
                match handle.signal(libc_signal::CONT) {
                    Ok(()) | Err(SignalError::Gone(_)) => {}
                    Err(error) => return Err(TreeError::Signal(error)),
                }
            }
        }
        Ok(())
    }

    /// Lets everybody go on.
    ///
    /// # Errors
    /// The first refusal, after everybody else has been thawed.
    pub fn thaw(&self) -> Result<(), TreeError> {
        self.signal(libc_signal::CONT).map(|_| ())
    }

    fn members(&self) -> io::Result<Vec<Member>> {
        let mut found = self.look()?;
        for _ in 0..LOOKS_MAX {
            if !found.members.is_empty() {
                break;
            }
            let again = self.look()?;
            if again.is_same_as(&found) {
                break;
            }
            found = again;
        }
        Ok(found.members)
    }

    fn look(&self) -> io::Result<Found> {
        let mut found = Found::default();
        match self.root {
            Root::Own => self.descend(sys::own_pid(), &mut found)?,
            Root::Agent => {
                if let Some(Anchor { pid, start_ticks }) = self.agent
                    && let Some(agent) = find(pid, |stat| stat.start_ticks == start_ticks)?
                {
                    found.members.push(agent);
                    self.descend(pid.get(), &mut found)?;
                }
                self.add_marked(&mut found.members)?;
            }
        }
        // Who asks from within the tree has to live to see the answer.
        let is_other = |member: &Member| member.pid.get() != sys::own_pid();
        found.members.retain(is_other);
        Ok(found)
    }

    /// Adds the living descendants of `root`, but no other session's.
    fn descend(&self, root: i32, found: &mut Found) -> io::Result<()> {
        let mut parents = vec![root];
        while let Some(parent) = parents.pop() {
            for child in sys::children(parent)? {
                // A descendant whose parent died in this moment belongs to the root now.
                let ours = |stat: &sys::Stat| stat.ppid == parent || stat.ppid == root;
                if is_anchored(self.stranger, child) || self.is_other_sessions(child)? {
                    continue;
                }
                match find(child, ours)? {
                    Some(member) => {
                        found.members.push(member);
                        parents.push(child.get());
                    }
                    None => found.ended.push(child),
                }
            }
        }
        Ok(())
    }

    /// Adds those who are told only by their environment.
    fn add_marked(&self, members: &mut Vec<Member>) -> io::Result<()> {
        let is_ours = |pid| -> io::Result<bool> {
            let mark = sys::session_mark(pid)?;
            Ok(mark.is_some_and(|mark| mark == self.id.as_str()))
        };
        for pid in sys::all_pids()? {
            let known = members.iter().any(|member| member.pid == pid);
            let is_left_out = known || is_anchored(self.stranger, pid);
            if is_left_out || !is_ours(pid)? || sys::lease_of(pid, LEASE_FD)?.is_some() {
                continue;
            }
            let mut still_ours = Ok(true);
            let found = find(pid, |_| {
                still_ours = is_ours(pid);
                matches!(still_ours, Ok(true))
            });
            still_ours?;
            members.extend(found?);
        }
        Ok(())
    }

    /// Whether `pid` belongs to a session that the agent started: its supervisor,
    /// or, where that has died, its agent.
    fn is_other_sessions(&self, pid: Pid) -> io::Result<bool> {
        if is_anchored(self.agent, pid) {
            return Ok(false);
        }
        if self.is_other_owner(pid)? {
            return Ok(true);
        }
        let mark = sys::session_mark(pid)?.filter(|mark| SessionId::parse(mark).is_ok());
        Ok(mark.is_some()
            && mark.as_deref() != Some(self.id.as_str())
            && mark != self.own_mark()?)
    }

    /// Whether `pid` holds the lease of another session.
    fn is_other_owner(&self, pid: Pid) -> io::Result<bool> {
        Ok(sys::lease_of(pid, LEASE_FD)?.is_some_and(|id| id != self.id))
    }

    /// The session to which the agent's first process says to belong: another one, where
    /// it runs in an environment that somebody kept.
    fn own_mark(&self) -> io::Result<Option<String>> {
        match self.agent {
            Some(agent) if is_anchored(self.agent, agent.pid) => sys::session_mark(agent.pid),
            _ => Ok(None),
        }
    }
}

/// Whether `pid` is, by now, the process that was verified.
fn is_anchored(anchor: Option<Anchor>, pid: Pid) -> bool {
    anchor.is_some_and(|anchor| {
        let is_same = |stat: sys::Stat| stat.start_ticks == anchor.start_ticks;
        anchor.pid == pid && matches!(sys::look(pid), sys::Look::Found(stat) if is_same(stat))
    })
}

/// Every living process of this user that says in its environment to which session
/// it belongs, supervisors of other sessions left out.
///
/// # Errors
/// When the system does not let us look.
pub fn marked() -> io::Result<Vec<(Pid, SessionId)>> {
    let mut marked = Vec::new();
    for pid in sys::all_pids()? {
        if sys::lease_of(pid, LEASE_FD)?.is_none()
            && let Some(mark) = sys::session_mark(pid)?
            && let Ok(id) = SessionId::parse(&mark)
        {
            marked.push((pid, id));
        }
    }
    Ok(marked)
}

/// The process `pid`, if it lives and, with its pidfd open, is who was meant.
fn find(pid: Pid, ours: impl FnOnce(&sys::Stat) -> bool) -> io::Result<Option<Member>> {
    let Some(handle) = ProcessHandle::open(pid)? else {
        return Ok(None);
    };
    let look = match sys::look(pid) {
        sys::Look::Found(stat) if ours(&stat) => Seen::Stat(stat),
        // It was found among its parent's children; more cannot be known of it.
        sys::Look::Hidden(error) if is_hiding(&error) => Seen::Hidden,
        sys::Look::Hidden(error) => return Err(error),
        sys::Look::Found(_) | sys::Look::Absent => return Ok(None),
    };
    // Not ended after the look: the pid was not handed on before it. (The state Z
    // alone says nothing: a first thread may end before the others.)
    Ok((!handle.has_ended()?).then_some(Member { pid, look }))
}

impl Found {
    /// Whether nobody came, went or ended since `before`. Whoever ends while we look
    /// may leave a child that was in no list yet; of one who had ended already when
    /// the look began, the children had been given away.
    fn is_same_as(&self, before: &Self) -> bool {
        let living = |found: &Self| sorted(found.members.iter().map(|member| member.pid));
        let ended = |found: &Self| sorted(found.ended.iter().copied());
        living(self) == living(before) && ended(self) == ended(before)
    }
}

fn sorted(pids: impl Iterator<Item = Pid>) -> Vec<Pid> {
    let mut pids: Vec<_> = pids.collect();
    pids.sort_unstable();
    pids
}

/// Whether `/proc` keeps a process from us, and not only in this moment: who cannot
/// be looked at for want of a descriptor is nobody who may be left out.
fn is_hiding(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

impl Member {
    /// Signals this process, and no other that has its pid by now. One pidfd at a
    /// time: a tree may have more processes than we may have descriptors.
    fn signal(&self, signal: i32) -> Result<(), TreeError> {
        let opened = ProcessHandle::open(self.pid).map_err(TreeError::Look)?;
        let Some(handle) = opened else { return Ok(()) };
        let now = sys::look(self.pid);
        if handle.has_ended().map_err(TreeError::Look)? {
            return Ok(());
        }
        match (self.look, now) {
            (Seen::Stat(then), sys::Look::Found(now)) if then.start_ticks == now.start_ticks => {}
            (_, sys::Look::Hidden(error)) if is_hiding(&error) => {}
            (_, sys::Look::Hidden(error)) => return Err(TreeError::Look(error)),
            // Its pid was handed on.
            (Seen::Stat(_), sys::Look::Found(_)) | (_, sys::Look::Absent) => return Ok(()),
            // To pass over it without a word would tell that it was signalled.
            (Seen::Hidden, sys::Look::Found(_)) => {
                let error =
                    io::Error::other(format!("process {} was hidden, and is not", self.pid));
                return Err(TreeError::Look(error));
            }
        }
        match handle.signal(signal) {
            Ok(()) | Err(SignalError::Gone(_)) => Ok(()),
            Err(error) => Err(TreeError::Signal(error)),
        }
    }

    /// Whether it is stopped, or as good as stopped: one that waits, as
    /// posix_spawn(3) does, for a child to execute its program (`vfork(2)`) stops
    /// only after a child that is stopped already; and one whose first thread has
    /// ended does not show that the others are stopped.
    fn rests_among(&self, members: &[Self], asked: &[Pid]) -> bool {
        let Seen::Stat(stat) = self.look else {
            return asked.contains(&self.pid);
        };
        let is_stopped_child = |other: &Self| match other.look {
            Seen::Stat(other) => other.ppid == self.pid.get() && other.is_stopped(),
            Seen::Hidden => false,
        };
        stat.is_stopped()
            || (stat.has_lost_its_first_thread() && asked.contains(&self.pid))
            || (stat.is_uninterruptible()
                && members.iter().any(is_stopped_child)
                && sys::is_pending(self.pid, libc_signal::STOP))
    }
}

/// The signals that trees are driven with.
pub(crate) mod libc_signal {
    use rustix::process::Signal;

    pub(crate) const TERM: i32 = Signal::TERM.as_raw();
    pub(crate) const KILL: i32 = Signal::KILL.as_raw();
    pub(crate) const STOP: i32 = Signal::STOP.as_raw();
    pub(crate) const CONT: i32 = Signal::CONT.as_raw();
}

/// A tree could not be driven as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The system does not show its processes.
    #[error("cannot look through the processes")]
    Look(#[source] io::Error),
    /// A process could not be signalled.
    #[error(transparent)]
    Signal(SignalError),
    /// Processes are forked faster than they can be stopped.
    #[error(
        "the tree does not come to rest: its processes are forked faster than they can be stopped"
    )]
    Restless,
    /// Some of the tree outlived every KILL.
    #[error("processes are still there after KILL: {}", .0.iter().map(Pid::to_string).collect::<Vec<_>>().join(", "))]
    Survivors(Vec<Pid>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_could_not_be_looked_at_before_is_not_passed_over_in_silence() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .expect("sleep can be executed");
        let member = Member {
            pid: Pid::new(child.id().into()).expect("a pid"),
            look: Seen::Hidden,
        };
        let told = member.signal(libc_signal::CONT);
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        assert!(matches!(told, Err(TreeError::Look(_))), "{told:?}");
    }
}
