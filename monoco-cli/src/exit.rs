//! Exit codes, and what each stands for.

use session_core::{End, Outcome, Session, SpawnFailure, Status, WaitStatus};
use session_worker::LaunchError;

use crate::commands::run::PromptError;
use crate::error::CliError;

/// With which code this process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    pub(crate) const SUCCESS: Self = Self(0);
    /// `doctor` found something, or `issue lint` an error; `config` did not.
    pub(crate) const FINDINGS: Self = Self(1);
    /// The command line makes no sense.
    pub(crate) const USAGE: Self = Self(2);
    /// The service is installed, but does not run: as systemctl has it.
    pub(crate) const NOT_RUNNING: Self = Self(3);
    /// The service is not installed.
    pub(crate) const NOT_INSTALLED: Self = Self(4);
    /// Time was up.
    pub(crate) const TIMED_OUT: Self = Self(124);
    /// monoco itself failed.
    pub(crate) const FAILURE: Self = Self(125);
    /// The program exists, but cannot be executed.
    pub(crate) const NOT_EXECUTABLE: Self = Self(126);
    /// There is no such program.
    pub(crate) const NOT_FOUND: Self = Self(127);
    /// TERM, for agents that caught it and exited 0.
    pub(crate) const STOPPED: Self = Self(143);

    /// As shells show the death by a signal.
    pub(crate) fn signal(signal: i32) -> Self {
        Self((128 + (signal & 0x7f)) as u8)
    }

    /// The number.
    pub(crate) fn code(self) -> u8 {
        self.0
    }

    /// The code of a session that has ended: its agent's own, but never 0 for
    /// one that was stopped. `None` while it has not ended.
    pub(crate) fn of_session(session: &Session) -> Option<Self> {
        session.end().map(Self::of_end)
    }

    fn of_end(end: &End) -> Self {
        match &end.outcome {
            Some(Outcome::Exited { code }) => Self::agent(*code),
            Some(Outcome::Signaled { signal, .. }) => Self::signal(*signal),
            Some(Outcome::TimedOut { .. }) => Self::TIMED_OUT,
            Some(Outcome::Stopped { wait_status, .. }) => match wait_status {
                Some(WaitStatus::Exited { code: 0 }) | None => Self::STOPPED,
                Some(WaitStatus::Exited { code }) => Self::agent(*code),
                Some(WaitStatus::Signaled { signal, .. }) => Self::signal(*signal),
            },
            Some(Outcome::SpawnFailed { reason, .. }) => match reason {
                Some(SpawnFailure::NotFound) => Self::NOT_FOUND,
                Some(SpawnFailure::NotExecutable) => Self::NOT_EXECUTABLE,
                None => Self::FAILURE,
            },
            Some(Outcome::Lost { .. }) => Self::FAILURE,
            None => Self::of_status(end.status),
        }
    }

    /// Records of the original format tell no code.
    fn of_status(status: Status) -> Self {
        match status {
            Status::Completed => Self::SUCCESS,
            Status::Failed | Status::Crashed => Self(1),
            Status::Timeout => Self::TIMED_OUT,
            Status::Terminated => Self::STOPPED,
            Status::Pending | Status::Running | Status::Suspended => Self::FAILURE,
        }
    }

    fn agent(code: i32) -> Self {
        Self((code & 0xff) as u8)
    }

    /// The code of a command that failed.
    pub(crate) fn of_error(error: &CliError) -> Self {
        match error {
            CliError::Launch(LaunchError::NotFound(_)) => Self::NOT_FOUND,
            CliError::Launch(LaunchError::NotExecutable(_)) => Self::NOT_EXECUTABLE,
            CliError::TimedOut { .. } => Self::TIMED_OUT,
            CliError::NoEngine | CliError::OnlyGoesOn | CliError::Prompt(PromptError::Empty) => {
                Self::USAGE
            }
            CliError::NoProject(_)
            | CliError::Project { .. }
            | CliError::WorkingDirectory(_)
            | CliError::NoSuchSession(_)
            | CliError::DamagedRecord { .. }
            | CliError::Look(_)
            | CliError::Store(_)
            | CliError::Claim(_)
            | CliError::Control(_)
            | CliError::Act(_)
            | CliError::Launch(_)
            | CliError::Living { .. }
            | CliError::Untold { .. }
            | CliError::Ending(_)
            | CliError::Ended { .. }
            | CliError::Orphan(_)
            | CliError::HandsOff { .. }
            | CliError::SupervisorDied { .. }
            | CliError::Engines(_)
            | CliError::NotContinued(_)
            | CliError::Forgotten { .. }
            | CliError::NotLost(_)
            | CliError::NotEnded { .. }
            | CliError::Prompt(_)
            | CliError::Service(_)
            | CliError::Serve(_)
            | CliError::Issues(_)
            | CliError::NoIssues(_)
            | CliError::NoSuchIssue(_)
            | CliError::NoTokenFile
            | CliError::Config(_)
            | CliError::NoSuchRole { .. }
            | CliError::Io { .. }
            | CliError::Output(_) => Self::FAILURE,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use session_core::parse_record;

    /// The code of a record that ended with `status` and `outcome`.
    fn check(status: &str, outcome: &str, expected: u8) {
        let record = format!(
            r#"{{"id":"a","issue_id":"I","role_name":"R","status":"{status}","branch_name":"b",
            "pid":null,"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z",
            "command":["agent","x"],"outcome":{outcome}}}"#
        );
        let session = parse_record(record.as_bytes()).expect("a record");
        let code = Exit::of_session(&session).map(Exit::code);
        assert_eq!(code, Some(expected), "{outcome}");
    }

    #[test]
    fn the_documented_codes() {
        check("completed", r#"{"kind":"exited","code":0}"#, 0);
        check("failed", r#"{"kind":"exited","code":7}"#, 7);
        check(
            "crashed",
            r#"{"kind":"signaled","signal":11,"core_dumped":true}"#,
            139,
        );
        check("timeout", r#"{"kind":"timed_out","after_seconds":1}"#, 124);
        let exited_0 = r#""wait_status":{"kind":"exited","code":0}"#;
        check(
            "timeout",
            &format!(r#"{{"kind":"timed_out","after_seconds":1,{exited_0}}}"#),
            124,
        );
        check("terminated", r#"{"kind":"stopped","by":"cli"}"#, 143);
        check(
            "terminated",
            &format!(r#"{{"kind":"stopped","by":"cli",{exited_0}}}"#),
            143,
        );
        let exited_3 = r#"{"kind":"stopped","by":"cli","wait_status":{"kind":"exited","code":3}}"#;
        check("terminated", exited_3, 3);
        let killed = r#"{"kind":"stopped","by":"cli","wait_status":{"kind":"signaled","signal":9,"core_dumped":false}}"#;
        check("terminated", killed, 137);
        check("terminated", r#"{"kind":"lost","cause":"reboot"}"#, 125);
        check(
            "failed",
            r#"{"kind":"spawn_failed","error":"agent: not found","reason":"not_found"}"#,
            127,
        );
        check(
            "failed",
            r#"{"kind":"spawn_failed","error":"agent: permission denied","reason":"not_executable"}"#,
            126,
        );
        check(
            "failed",
            r#"{"kind":"spawn_failed","error":"whoever was starting it died"}"#,
            125,
        );
    }

    #[test]
    fn records_that_tell_no_outcome() {
        for (status, code) in [
            ("completed", 0),
            ("failed", 1),
            ("crashed", 1),
            ("timeout", 124),
            ("terminated", 143),
        ] {
            check(status, "null", code);
        }
    }
}
