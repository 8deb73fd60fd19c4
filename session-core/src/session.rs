//! The model: one run of one agent, and the arrows along which its state moves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::id::SessionId;
use crate::outcome::Outcome;
use crate::process::{Pid, Process};
use crate::record::UnknownFields;
use crate::status::Status;
use crate::timestamp::Timestamp;
use crate::verdict::Verdict;

/// The longest that a session can have been suspended: more than lies between
/// any two timestamps. What a record says beyond it is not read, and what adds
/// up to more is not written.
pub(crate) const MAX_SUSPENSION: Duration = Duration::from_secs(1_000_000_000_000);

/// One run of one agent, for one issue, in one role.
///
/// A value of this type is a copy of what a record says. Changing it changes
/// nothing on disk: only a [`Claim`](crate::Claim) writes records.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// The session's id, equal to the stem of its record's file.
    pub id: SessionId,
    /// The issue the agent works on; [`NewSession::NO_ISSUE`] when none was named.
    pub issue_id: String,
    /// The agent's role; [`NewSession::DEFAULT_ROLE`] when none was named.
    pub role_name: String,
    /// The branch the agent works on.
    pub branch_name: String,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Timestamp,
    /// The agent's argument vector; empty in records of the original format.
    pub command: Vec<String>,
    /// The agent's working directory.
    pub cwd: Option<PathBuf>,
    /// The kind of agent, where it is known.
    pub engine: Option<String>,
    /// The agent's own id of its conversation, as soon as it is known. Not checked
    /// when a record is read: see [`check_conversation_id`](crate::check_conversation_id).
    pub conversation_id: Option<String>,
    /// A name people gave the session; no two living sessions share one.
    pub name: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// The session whose agent started this one.
    pub parent_id: Option<SessionId>,
    /// The session whose conversation this one continues.
    pub resumes: Option<SessionId>,
    /// How long the agent may run, not counting the time it is suspended.
    pub timeout: Option<Duration>,
    /// How long the session was suspended so far, not counting a suspension that lasts.
    pub suspended_for: Duration,
    /// The version of the record's format; `None` for the original one.
    pub schema: Option<u32>,
    pub(crate) state: State,
    pub(crate) unknown_fields: UnknownFields,
    pub(crate) unknown_process_fields: UnknownFields,
}

/// Where a session is in its life, with the facts that hold there.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Recorded; no agent has been started.
    Pending,
    /// The agent runs.
    Running {
        /// The agent's first process.
        process: Process,
        /// When it was started; unknown in records of the original format.
        started_at: Option<Timestamp>,
    },
    /// The agent's tree is stopped and can be resumed.
    Suspended {
        /// The agent's first process.
        process: Process,
        /// When it was started; unknown in records of the original format.
        started_at: Option<Timestamp>,
        /// When it was suspended; unknown in records of the original format.
        since: Option<Timestamp>,
    },
    /// The session has ended and never changes again.
    Ended(End),
}

/// The end of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// One of the terminal statuses.
    pub status: Status,
    /// How it ended; unknown in records of the original format.
    pub outcome: Option<Outcome>,
    /// What the agent said of it; `None` where nobody listened.
    pub verdict: Option<Verdict>,
    /// The agent's first process, as history; `None` when it never ran.
    pub process: Option<Process>,
    /// When the agent was started; `None` when it never ran or nobody noted it.
    pub started_at: Option<Timestamp>,
    /// When the session ended; unknown in records of the original format.
    pub ended_at: Option<Timestamp>,
}

/// What an agent told of itself until it ended, as far as somebody listened.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LastWords {
    /// Its conversation; that which is known already stays.
    pub conversation_id: Option<String>,
    /// What it said of its end. An agent that never ran, or was lost, said nothing.
    pub verdict: Option<Verdict>,
}

/// There is no such arrow in a session's life.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("session {id} is {from} and cannot {verb}")]
pub struct TransitionError {
    /// The session.
    pub id: SessionId,
    /// Its status.
    pub from: Status,
    /// What was attempted, such as `start`, or `end so`.
    pub verb: &'static str,
}

impl State {
    /// The word for this state.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Pending => Status::Pending,
            Self::Running { .. } => Status::Running,
            Self::Suspended { .. } => Status::Suspended,
            Self::Ended(end) => end.status,
        }
    }
}

impl Session {
    /// Where the session is in its life.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The word for where the session is in its life.
    #[must_use]
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// The agent's first process, also after the end.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        match &self.state {
            State::Pending => None,
            State::Running { process, .. } | State::Suspended { process, .. } => Some(process),
            State::Ended(end) => end.process.as_ref(),
        }
    }

    /// The agent's pid, also after the end.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.process().map(|process| process.pid)
    }

    /// When the agent was started.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        match &self.state {
            State::Pending => None,
            State::Running { started_at, .. } | State::Suspended { started_at, .. } => *started_at,
            State::Ended(end) => end.started_at,
        }
    }

    /// The end, once there is one.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        match &self.state {
            State::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// How the session ended, where that is known.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.end().and_then(|end| end.outcome.as_ref())
    }

    /// What the agent said of its end, where somebody listened.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        self.end().and_then(|end| end.verdict.as_ref())
    }

    /// How long the agent has run by `now`, without the time it was suspended.
    #[must_use]
    pub fn active_for(&self, now: Timestamp) -> Duration {
        let Some(started_at) = self.started_at() else {
            return Duration::ZERO;
        };
        let until = match &self.state {
            State::Suspended { since, .. } => since.unwrap_or(now),
            State::Ended(end) => end.ended_at.unwrap_or(now),
            State::Pending | State::Running { .. } => now,
        };
        until.since(started_at).saturating_sub(self.suspended_for)
    }

    /// pending → running.
    ///
    /// # Errors
    /// When the session is not pending.
    pub fn start(&mut self, process: Process, now: Timestamp) -> Result<(), TransitionError> {
        let State::Pending = self.state else {
            return Err(self.no_arrow("start"));
        };
        self.state = State::Running {
            process,
            started_at: Some(now),
        };
        self.touch(now);
        Ok(())
    }

    /// running → suspended.
    ///
    /// # Errors
    /// When the session is not running.
    pub fn suspend(&mut self, now: Timestamp) -> Result<(), TransitionError> {
        let State::Running {
            process,
            started_at,
        } = &self.state
        else {
            return Err(self.no_arrow("be suspended"));
        };
        self.state = State::Suspended {
            process: process.clone(),
            started_at: *started_at,
            since: Some(now),
        };
        self.touch(now);
        Ok(())
    }

    /// suspended → running.
    ///
    /// # Errors
    /// When the session is not suspended.
    pub fn resume(&mut self, now: Timestamp) -> Result<(), TransitionError> {
        let State::Suspended {
            process,
            started_at,
            since,
        } = self.state.clone()
        else {
            return Err(self.no_arrow("be resumed"));
        };
        self.add_suspension(since, now);
        self.state = State::Running {
            process,
            started_at,
        };
        self.touch(now);
        Ok(())
    }

    /// To the terminal status that belongs to `outcome`.
    ///
    /// # Errors
    /// When the session has ended already; when an agent that never ran would
    /// end otherwise than by [`Outcome::SpawnFailed`].
    pub fn finish(&mut self, outcome: Outcome, now: Timestamp) -> Result<(), TransitionError> {
        self.finish_saying(outcome, LastWords::default(), now)
    }

    /// As [`finish`](Self::finish), with what the agent told of itself.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_saying(
        &mut self,
        outcome: Outcome,
        words: LastWords,
        now: Timestamp,
    ) -> Result<(), TransitionError> {
        let seen = !matches!(outcome, Outcome::Lost { .. });
        self.conclude(outcome, words, now, seen)
    }

    /// Notes the conversation that the agent of a living session holds.
    ///
    /// # Errors
    /// When no agent lives; when another conversation is known already.
    pub fn learn_conversation(
        &mut self,
        conversation_id: &str,
        now: Timestamp,
    ) -> Result<(), TransitionError> {
        let lives = matches!(self.state, State::Running { .. } | State::Suspended { .. });
        if !lives {
            return Err(self.no_arrow("learn its conversation"));
        }
        match &self.conversation_id {
            Some(known) if known == conversation_id => return Ok(()),
            Some(_) => return Err(self.no_arrow("change its conversation")),
            None => self.conversation_id = Some(conversation_id.to_owned()),
        }
        self.touch(now);
        Ok(())
    }

    /// As [`finish`](Self::finish), for an end that nobody saw: when it was is not
    /// known, only (`updated_at`) when it became certain.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn settle(&mut self, outcome: Outcome, now: Timestamp) -> Result<(), TransitionError> {
        self.conclude(outcome, LastWords::default(), now, false)
    }

    fn conclude(
        &mut self,
        outcome: Outcome,
        words: LastWords,
        now: Timestamp,
        seen: bool,
    ) -> Result<(), TransitionError> {
        let may_end = match &self.state {
            State::Pending => matches!(outcome, Outcome::SpawnFailed { .. }),
            State::Running { .. } | State::Suspended { .. } => true,
            State::Ended(_) => false,
        };
        if !may_end {
            return Err(self.no_arrow("end so"));
        }
        if let State::Suspended { since, .. } = self.state {
            self.add_suspension(since, now);
        }
        // What was held at the gate never was the agent.
        let ran = !matches!(outcome, Outcome::SpawnFailed { .. });
        if !ran {
            self.unknown_process_fields = UnknownFields::default();
        }
        let lost = matches!(outcome, Outcome::Lost { .. });
        if self.conversation_id.is_none() && ran {
            self.conversation_id = words.conversation_id;
        }
        let started_at = self.started_at().filter(|_| ran);
        let now = now.max(started_at.unwrap_or(now));
        let verdict = words.verdict.filter(|_| ran && !lost);
        self.state = State::Ended(End {
            status: Status::of(&outcome),
            outcome: Some(outcome.shortened()),
            verdict: verdict.map(|verdict| verdict.since(started_at)),
            process: self.process().filter(|_| ran).cloned(),
            started_at,
            ended_at: seen.then_some(now),
        });
        self.touch(now);
        Ok(())
    }

    pub(crate) fn no_arrow(&self, verb: &'static str) -> TransitionError {
        TransitionError {
            id: self.id.clone(),
            from: self.status(),
            verb,
        }
    }

    fn add_suspension(&mut self, since: Option<Timestamp>, now: Timestamp) {
        let lasted = since.map_or(Duration::ZERO, |since| now.since(since));
        let suspended_for = (self.suspended_for + lasted).min(MAX_SUSPENSION);
        // As a record holds it: a long one has no nanoseconds in a floating-point number.
        self.suspended_for = Duration::from_secs_f64(suspended_for.as_secs_f64());
    }

    /// A clock that was set back must not make a record look older than it was.
    fn touch(&mut self, now: Timestamp) {
        self.updated_at = self.updated_at.max(now);
    }
}

/// What a session is made from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewSession {
    /// The id; a random one when `None`.
    pub id: Option<SessionId>,
    /// The issue; [`NewSession::NO_ISSUE`] when `None`.
    pub issue_id: Option<String>,
    /// The role; [`NewSession::DEFAULT_ROLE`] when `None`.
    pub role_name: Option<String>,
    /// The agent's argument vector.
    pub command: Vec<String>,
    /// The agent's working directory.
    pub cwd: Option<PathBuf>,
    /// The kind of agent.
    pub engine: Option<String>,
    /// The conversation that the agent is told to hold, where it is told one.
    pub conversation_id: Option<String>,
    /// A name that no other living session has.
    pub name: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// The session whose agent starts this one.
    pub parent_id: Option<SessionId>,
    /// The session whose conversation this one continues.
    pub resumes: Option<SessionId>,
    /// The branch the agent works on; one named after issue and id when `None`.
    pub branch_name: Option<String>,
    /// How long the agent may run, not counting the time it is suspended; rounded
    /// up to whole seconds.
    pub timeout: Option<Duration>,
}

impl NewSession {
    /// The issue id of a session that was started for no issue.
    pub const NO_ISSUE: &'static str = "NEW_TASK";
    /// The role of a session for which none was named.
    pub const DEFAULT_ROLE: &'static str = "Default";

    /// The pending session that this describes, made at `now`.
    #[must_use]
    pub fn into_session(self, now: Timestamp) -> Session {
        let id = self.id.unwrap_or_else(SessionId::random);
        let issue_id = self.issue_id.unwrap_or_else(|| Self::NO_ISSUE.to_owned());
        Session {
            branch_name: self
                .branch_name
                .unwrap_or_else(|| format!("agent/{issue_id}/{}", id.short())),
            id,
            issue_id,
            role_name: self
                .role_name
                .unwrap_or_else(|| Self::DEFAULT_ROLE.to_owned()),
            created_at: now,
            updated_at: now,
            command: self.command,
            cwd: self.cwd,
            engine: self.engine,
            conversation_id: self.conversation_id,
            name: self.name,
            labels: self.labels,
            parent_id: self.parent_id,
            resumes: self.resumes,
            timeout: self.timeout.map(in_whole_seconds),
            suspended_for: Duration::ZERO,
            schema: Some(crate::record::SCHEMA),
            state: State::Pending,
            unknown_fields: UnknownFields::default(),
            unknown_process_fields: UnknownFields::default(),
        }
    }
}

/// As a record holds it: rounded up, for a timeout of less than a second is not none.
fn in_whole_seconds(timeout: Duration) -> Duration {
    let part = u64::from(timeout.subsec_nanos() > 0);
    Duration::from_secs(timeout.as_secs().saturating_add(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::LostCause;

    fn at(second: u32) -> Timestamp {
        Timestamp::parse(&format!("2026-11-22T11:10:{second:02}Z")).expect("a time")
    }

    fn pending() -> Session {
        NewSession {
            issue_id: Some("FEAT-1".into()),
            ..NewSession::default()
        }
        .into_session(at(0))
    }

    fn process() -> Process {
        Process {
            pid: Pid::new(4242).expect("a pid"),
            identity: None,
        }
    }

    fn exited(code: i32) -> Outcome {
        Outcome::Exited { code }
    }

    #[test]
    fn a_new_session_is_pending_with_the_documented_defaults() {
        let session = NewSession::default().into_session(at(0));
        assert_eq!((session.status(), session.pid()), (Status::Pending, None));
        assert_eq!(
            (session.issue_id.as_str(), session.role_name.as_str()),
            ("NEW_TASK", "Default")
        );
        assert_eq!(
            session.branch_name,
            format!("agent/NEW_TASK/{}", session.id.short())
        );
    }

    #[test]
    fn only_the_documented_arrows_exist() {
        let mut s = pending();
        assert!(s.suspend(at(1)).is_err() && s.resume(at(1)).is_err());
        assert!(
            s.finish(exited(0), at(1)).is_err(),
            "what never ran cannot complete"
        );
        s.start(process(), at(1)).expect("pending → running");
        assert!(s.start(process(), at(1)).is_err() && s.resume(at(1)).is_err());
        s.suspend(at(2)).expect("running → suspended");
        assert!(s.suspend(at(2)).is_err() && s.start(process(), at(2)).is_err());
        s.resume(at(5)).expect("suspended → running");
        s.finish(exited(0), at(9)).expect("running → completed");
        let ended = s.clone();
        assert!(
            s.start(process(), at(9)).is_err()
                && s.suspend(at(9)).is_err()
                && s.resume(at(9)).is_err()
        );
        assert!(s.finish(exited(1), at(9)).is_err());
        assert_eq!(s, ended, "a refused transition changes nothing");
        assert_eq!(
            s.active_for(at(30)),
            Duration::from_secs(5),
            "8 s less 3 s suspended"
        );
    }

    #[test]
    fn the_cause_decides_the_status() {
        let caught_term = Some(crate::WaitStatus::Exited { code: 0 });
        let cases = [
            (exited(0), Status::Completed),
            (exited(7), Status::Failed),
            (
                Outcome::Signaled {
                    signal: 9,
                    core_dumped: false,
                },
                Status::Crashed,
            ),
            (
                Outcome::TimedOut {
                    after_seconds: 1,
                    wait_status: caught_term,
                },
                Status::Timeout,
            ),
            (
                Outcome::Stopped {
                    by: "cli".into(),
                    wait_status: caught_term,
                },
                Status::Terminated,
            ),
            (Outcome::never_ran("no"), Status::Failed),
            (
                Outcome::Lost {
                    cause: LostCause::Reboot,
                },
                Status::Terminated,
            ),
        ];
        for (outcome, status) in cases {
            let mut s = pending();
            s.start(process(), at(1)).expect("pending → running");
            s.finish(outcome.clone(), at(2)).expect("running → ended");
            let pid = (!matches!(outcome, Outcome::SpawnFailed { .. })).then(|| process().pid);
            assert_eq!(
                (s.status(), s.outcome(), s.pid()),
                (status, Some(&outcome), pid)
            );
        }
    }

    #[test]
    fn times_never_run_backwards() {
        let mut s = pending();
        s.start(process(), at(9)).expect("pending → running");
        s.finish(exited(0), at(3))
            .expect("a clock that was set back");
        let end = s.end().expect("ended");
        assert!(end.ended_at >= end.started_at && s.updated_at >= s.created_at);
    }
}
