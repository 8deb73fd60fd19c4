//! What a launcher hands to the supervisor that it starts, and what it hears back.
//!
//! Descriptors at fixed numbers, so that nothing of an agent's command line, and
//! no prompt, ever stands in the supervisor's own:
//!
//! | number | what |
//! |---|---|
//! | 0, 1, 2 | `/dev/null` |
//! | 3 | the lease: the same open file that the launcher locked |
//! | 4 | the report: a pipe, one JSON line per event |
//! | 5 | the order: JSON, the project, the directory of conversations, the agent's arguments, each with a NUL byte behind it |
//! | 6 | the agent's stdin |
//! | 7 | the lease of its conversation, where it is known: the same open file |

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use session_core::{Session, SessionId, parse_record};

use crate::hooks::Hooks;
use crate::reading::Reading;

/// The first argument of a process that is to be a supervisor.
pub(crate) const SUPERVISE: &str = "__supervise";

pub(crate) const LEASE_FD: i32 = session_core::process::LEASE_FD;
pub(crate) const REPORT_FD: i32 = 4;
pub(crate) const ORDER_FD: i32 = 5;
pub(crate) const STDIN_FD: i32 = 6;
pub(crate) const CONVERSATION_FD: i32 = 7;

/// What a supervisor is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Not in the JSON, which is UTF-8.
    #[serde(skip)]
    pub(crate) project: PathBuf,
    pub(crate) id: SessionId,
    /// Take over a running agent instead of starting one.
    pub(crate) adopt: bool,
    /// Leave what the agent left running.
    pub(crate) leave_children: bool,
    /// Remove the record and the log at the end.
    pub(crate) remove_at_end: bool,
    /// How long what the agent left running has to end after TERM.
    pub(crate) grace_seconds: f64,
    /// How to read what the agent prints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reading: Option<Reading>,
    /// What else to run. From here only: a record is never executed.
    #[serde(default)]
    pub(crate) hooks: Hooks,
    /// The directory of the leases on conversations, if they are kept apart.
    #[serde(skip)]
    pub(crate) conversations: Option<PathBuf>,
    /// Whether that of the agent's conversation is handed over.
    #[serde(default)]
    pub(crate) has_conversation: bool,
    #[serde(skip)]
    pub(crate) argv: Vec<OsString>,
}

impl Order {
    pub(crate) fn to_file(&self) -> io::Result<OwnedFd> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(0);
        let conversations = self.conversations.as_deref().unwrap_or(Path::new(""));
        let paths = [self.project.as_os_str(), conversations.as_os_str()];
        let arguments = self.argv.iter().map(OsString::as_os_str);
        for argument in paths.into_iter().chain(arguments) {
            if argument.as_bytes().contains(&0) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "an argument holds a NUL byte",
                ));
            }
            bytes.extend_from_slice(argument.as_bytes());
            bytes.push(0);
        }
        let mut file = File::from(rustix::fs::memfd_create(c"order", MemfdFlags::CLOEXEC)?);
        file.write_all(&bytes)?;
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
        Ok(file.into())
    }

    pub(crate) fn from_file(file: OwnedFd) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::from(file).read_to_end(&mut bytes)?;
        let mut parts = bytes.split(|byte| *byte == 0);
        let mut order: Self = serde_json::from_slice(parts.next().unwrap_or_default())?;
        let mut words = parts.map(|word| OsString::from_vec(word.to_vec()));
        order.project = words.next().unwrap_or_default().into();
        let conversations = words.next().filter(|path| !path.is_empty());
        order.conversations = conversations.map(Into::into);
        order.argv = words.collect();
        // Behind the last NUL byte there is nothing.
        order.argv.pop();
        Ok(order)
    }
}

/// What a supervisor tells its launcher.
#[derive(Debug)]
pub(crate) enum Report {
    /// The agent runs, and its record says so.
    Started(Box<Session>),
    /// No agent runs.
    Refused(Failure),
    /// The session has ended, and its record says how.
    Ended(Box<Session>),
}

/// Why no agent runs.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no such program.
    NotFound(String),
    /// The program cannot be executed.
    NotExecutable(String),
    /// Something else stood in the way.
    Other(String),
}

/// A report as one JSON line.
#[derive(Serialize, Deserialize)]
struct ReportLine {
    event: Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    error: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Started,
    NotFound,
    NotExecutable,
    Failed,
    Ended,
}

impl Report {
    fn to_line(&self) -> Vec<u8> {
        // The command can be longer than a pipe holds, and the launcher has it.
        let with = |event, session: &Session| {
            let mut session = session.clone();
            session.command.clear();
            let json = serde_json::value::to_raw_value(&session);
            let json = json.expect("a session has string keys and finite numbers only");
            ReportLine {
                event,
                session: Some(json),
                error: String::new(),
            }
        };
        let without = |event, error: &String| ReportLine {
            event,
            session: None,
            error: error.clone(),
        };
        let line = match self {
            Self::Started(session) => with(Event::Started, session),
            Self::Ended(session) => with(Event::Ended, session),
            Self::Refused(Failure::NotFound(error)) => without(Event::NotFound, error),
            Self::Refused(Failure::NotExecutable(error)) => without(Event::NotExecutable, error),
            Self::Refused(Failure::Other(error)) => without(Event::Failed, error),
        };
        let mut bytes = serde_json::to_vec(&line).expect("a report has string keys only");
        bytes.push(b'\n');
        bytes
    }

    fn from_line(line: &[u8]) -> Option<Self> {
        let ReportLine {
            event,
            session,
            error,
        } = serde_json::from_slice(line).ok()?;
        let session = || parse_record(session.as_ref()?.get().as_bytes()).ok();
        Some(match event {
            Event::Started => Self::Started(Box::new(session()?)),
            Event::Ended => Self::Ended(Box::new(session()?)),
            Event::NotFound => Self::Refused(Failure::NotFound(error)),
            Event::NotExecutable => Self::Refused(Failure::NotExecutable(error)),
            Event::Failed => Self::Refused(Failure::Other(error)),
        })
    }
}

/// The launcher's end of the report.
#[derive(Debug)]
pub(crate) struct ReportReader(BufReader<File>);

impl ReportReader {
    pub(crate) fn new(pipe: OwnedFd) -> Self {
        Self(BufReader::new(pipe.into()))
    }

    /// The next event; `None` when the supervisor died, or will tell nothing more.
    pub(crate) fn next(&mut self) -> Option<Report> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).ok()?;
        Report::from_line(&line)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

/// A start and an end of this length fit into every pipe: one page at least (pipe(7)).
const SHORT_REPORT: usize = 2048;

/// The supervisor's end of the report. A launcher that is gone is not missed, and
/// one that does not listen is not waited for: the record says it all.
#[derive(Debug)]
pub(crate) struct ReportWriter(File);

impl ReportWriter {
    pub(crate) fn new(pipe: OwnedFd) -> Self {
        // A pipe that cannot be made so is written to all the same.
        let _ = rustix::io::ioctl_fionbio(&pipe, true);
        Self(pipe.into())
    }

    /// Tells whether it could be told. Whoever hears nothing has to be shown that
    /// nothing will come: the writer is to be dropped then.
    pub(crate) fn tell(&mut self, report: &Report) -> bool {
        let line = report.to_line();
        if line.len() > SHORT_REPORT {
            // Where it is refused, the launcher asks for the session instead.
            let _ = rustix::pipe::fcntl_setpipe_size(&self.0, 2 * line.len());
        }
        self.0.write_all(&line).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_carries_arguments_byte_for_byte() {
        let argv: Vec<OsString> = vec![
            "prog".into(),
            "".into(),
            "a b\nc".into(),
            OsString::from_vec(vec![0xff, 0xfe]),
        ];
        let order = Order {
            project: "/p".into(),
            id: SessionId::random(),
            adopt: false,
            leave_children: true,
            remove_at_end: false,
            grace_seconds: 10.0,
            reading: None,
            hooks: Hooks::default(),
            conversations: Some(OsString::from_vec(vec![b'/', 0xff]).into()),
            has_conversation: false,
            argv: argv.clone(),
        };
        let read = Order::from_file(order.to_file().expect("memfd")).expect("an order");
        assert_eq!(read.conversations, order.conversations);
        assert_eq!(
            (read.argv, read.id, read.leave_children),
            (argv, order.id, true)
        );
    }
}
