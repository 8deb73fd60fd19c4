//! The disk's shape of a session: one JSON object, hostile until it is parsed.
//!
//! Reading is strict where a silent choice could make a status up: a key that
//! stands twice, invalid UTF-8, a wrong type or trailing bytes make the record
//! damaged. It is liberal where versions differ: our own fields are optional,
//! and fields that this version does not know survive its rewrites, byte for byte.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

pub(crate) use self::foreign::UnknownFields;
use self::foreign::{Foreign, Lenient};
use self::identity::{ReadIdentity, WrittenIdentity};
pub(crate) use self::text::Text;
use crate::id::SessionId;
use crate::outcome::Outcome;
use crate::process::{Pid, Process};
use crate::session::{End, MAX_SUSPENSION, Session, State};
use crate::status::Status;
use crate::timestamp::Timestamp;
use crate::verdict::Verdict;

mod foreign;
mod identity;
mod outcome;
mod text;
mod verdict;

/// The version of the format that this crate writes.
pub const SCHEMA: u32 = 1;

/// The largest record that is read, in bytes. Larger files are damaged.
pub const MAX_RECORD_LEN: usize = 1 << 20;

/// The bytes are not a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file is empty, as a crash of a careless writer leaves it.
    #[error("the file is empty")]
    Empty,
    /// The file holds NUL bytes only, as a power loss can leave it.
    #[error("the file holds only NUL bytes")]
    Zeroes,
    /// The file is larger than a record may be.
    #[error("the file is larger than {MAX_RECORD_LEN} bytes")]
    TooLarge,
    /// The bytes are not UTF-8.
    #[error("invalid UTF-8 at byte {}", .0.valid_up_to())]
    NotUtf8(std::str::Utf8Error),
    /// The text is not JSON of a record's shape.
    #[error("{}", plain(.0))]
    Malformed(serde_json::Error),
    /// The fields contradict each other.
    #[error("{}", plain(.0))]
    Contradiction(String),
}

/// A reason that quotes the record: short, and without what moves a cursor.
fn plain(reason: &impl fmt::Display) -> String {
    const LONGEST: usize = 300;
    let reason = reason.to_string();
    let mut plain = String::with_capacity(reason.len().min(LONGEST));
    for c in reason.chars().take(LONGEST) {
        match c {
            '"' | '\'' | '\\' => plain.push(c),
            c => plain.extend(c.escape_debug()),
        }
    }
    if reason.chars().nth(LONGEST).is_some() {
        plain.push('…');
    }
    plain
}

/// Reads a record.
///
/// # Errors
/// [`RecordError`] says what is wrong with the bytes.
pub fn parse(bytes: &[u8]) -> Result<Session, RecordError> {
    if bytes.len() > MAX_RECORD_LEN {
        return Err(RecordError::TooLarge);
    }
    if bytes.iter().all(|b| *b == 0) {
        return Err(if bytes.is_empty() {
            RecordError::Empty
        } else {
            RecordError::Zeroes
        });
    }
    // serde_json does not look at the UTF-8 of values that it skips.
    let text = std::str::from_utf8(bytes).map_err(RecordError::NotUtf8)?;
    let fields: Fields = serde_json::from_str(text).map_err(RecordError::Malformed)?;
    fields.into_session().map_err(RecordError::Contradiction)
}

/// The record of a session: two-space indented JSON with a newline at its end.
#[must_use]
pub fn to_json(session: &Session) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(session)
        .expect("a session has string keys and finite numbers only");
    json.push(b'\n');
    json
}

/// Every field, as far as it was there.
#[derive(Default)]
struct Fields {
    id: Option<SessionId>,
    issue_id: Option<String>,
    role_name: Option<String>,
    status: Option<Status>,
    branch_name: Option<String>,
    pid: Option<Option<i64>>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
    schema: Option<Option<u32>>,
    command: Option<Option<Vec<String>>>,
    cwd: Option<Option<String>>,
    engine: Option<Option<String>>,
    conversation_id: Option<Option<String>>,
    name: Option<Option<String>>,
    labels: Option<Option<Labels>>,
    parent_id: Option<Option<SessionId>>,
    resumes: Option<Option<SessionId>>,
    process: Option<Option<ReadIdentity>>,
    started_at: Option<Option<Timestamp>>,
    suspended_at: Option<Option<Timestamp>>,
    suspended_seconds: Option<Option<f64>>,
    ended_at: Option<Option<Timestamp>>,
    timeout_seconds: Option<Option<u64>>,
    outcome: Option<Option<Outcome>>,
    verdict: Option<Option<Verdict>>,
    unknown: UnknownFields,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

/// Takes a field's value, unless it was there before.
fn once<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    slot: &mut Option<T>,
    key: &'static str,
    map: &mut A,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(de::Error::duplicate_field(key));
    }
    *slot = Some(map.next_value()?);
    Ok(())
}

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session record (a JSON object)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut f = Fields::default();
        let mut foreign = Foreign::at(1);
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key {
                "id" => once(&mut f.id, "id", &mut map)?,
                "issue_id" => once(&mut f.issue_id, "issue_id", &mut map)?,
                "role_name" => once(&mut f.role_name, "role_name", &mut map)?,
                "status" => once(&mut f.status, "status", &mut map)?,
                "branch_name" => once(&mut f.branch_name, "branch_name", &mut map)?,
                "pid" => once(&mut f.pid, "pid", &mut map)?,
                "created_at" => once(&mut f.created_at, "created_at", &mut map)?,
                "updated_at" => once(&mut f.updated_at, "updated_at", &mut map)?,
                "schema" => once(&mut f.schema, "schema", &mut map)?,
                "command" => once(&mut f.command, "command", &mut map)?,
                "cwd" => once(&mut f.cwd, "cwd", &mut map)?,
                "engine" => once(&mut f.engine, "engine", &mut map)?,
                "conversation_id" => once(&mut f.conversation_id, "conversation_id", &mut map)?,
                "name" => once(&mut f.name, "name", &mut map)?,
                "labels" => once(&mut f.labels, "labels", &mut map)?,
                "parent_id" => once(&mut f.parent_id, "parent_id", &mut map)?,
                "resumes" => once(&mut f.resumes, "resumes", &mut map)?,
                "process" => once(&mut f.process, "process", &mut map)?,
                "started_at" => once(&mut f.started_at, "started_at", &mut map)?,
                "suspended_at" => once(&mut f.suspended_at, "suspended_at", &mut map)?,
                "suspended_seconds" => {
                    once(&mut f.suspended_seconds, "suspended_seconds", &mut map)?
                }
                "ended_at" => once(&mut f.ended_at, "ended_at", &mut map)?,
                "timeout_seconds" => once(&mut f.timeout_seconds, "timeout_seconds", &mut map)?,
                "outcome" => once(&mut f.outcome, "outcome", &mut map)?,
                "verdict" => once(&mut f.verdict, "verdict", &mut map)?,
                _ => foreign.take::<Lenient, _>(key, &mut map)?,
            }
        }
        f.unknown = foreign.into_fields();
        Ok(f)
    }
}

/// Labels, in which no key stands twice.
struct Labels(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelsVisitor;
        impl<'de> Visitor<'de> for LabelsVisitor {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if labels.contains_key(&key) {
                        map.next_value::<IgnoredAny>()?;
                        return Err(de::Error::custom(format_args!(
                            "duplicate label `{}`",
                            key.escape_debug()
                        )));
                    }
                    labels.insert(key, map.next_value()?);
                }
                Ok(Labels(labels))
            }
        }
        deserializer.deserialize_map(LabelsVisitor)
    }
}

fn required<T>(field: Option<T>, name: &str) -> Result<T, String> {
    field.ok_or_else(|| format!("missing field `{name}`"))
}

impl Fields {
    fn into_session(mut self) -> Result<Session, String> {
        let (process, unknown_process_fields) = self.process()?;
        let status = required(self.status, "status")?;
        let started_at = self.started_at.flatten();
        let alive = || {
            process
                .clone()
                .ok_or_else(|| format!("the status is {status}, but there is no pid"))
        };
        let outcome = self.outcome.take().flatten();
        // Nobody could tell whether that process is the agent, or ever was.
        let too_early = status == Status::Pending && process.is_some();
        let state = match status {
            Status::Pending => State::Pending,
            Status::Running => State::Running {
                process: alive()?,
                started_at,
            },
            Status::Suspended => State::Suspended {
                process: alive()?,
                started_at,
                since: self.suspended_at.flatten(),
            },
            _ => State::Ended(End {
                status,
                outcome: None,
                verdict: None,
                process,
                started_at,
                ended_at: self.ended_at.flatten(),
            }),
        };
        let state = with_verdict(with_outcome(state, outcome)?, self.verdict.take().flatten())?;
        if too_early {
            return Err(format!("the status is {status}, but there is a pid"));
        }
        Ok(Session {
            id: required(self.id, "id")?,
            issue_id: required(self.issue_id, "issue_id")?,
            role_name: required(self.role_name, "role_name")?,
            branch_name: required(self.branch_name, "branch_name")?,
            created_at: required(self.created_at, "created_at")?,
            updated_at: required(self.updated_at, "updated_at")?,
            command: self.command.flatten().unwrap_or_default(),
            cwd: self.cwd.flatten().map(Into::into),
            engine: self.engine.flatten(),
            conversation_id: self.conversation_id.flatten(),
            name: self.name.flatten(),
            labels: self
                .labels
                .flatten()
                .map(|labels| labels.0)
                .unwrap_or_default(),
            parent_id: self.parent_id.flatten(),
            resumes: self.resumes.flatten(),
            timeout: self.timeout_seconds.flatten().map(Duration::from_secs),
            suspended_for: seconds(self.suspended_seconds.flatten())?,
            schema: self.schema.flatten(),
            state,
            unknown_fields: self.unknown,
            unknown_process_fields,
        })
    }

    /// The process, with what another version wrote beside its identity.
    fn process(&mut self) -> Result<(Option<Process>, UnknownFields), String> {
        let read = self.process.take().flatten();
        let (identity, unknown) = read.map(|read| (read.identity, read.unknown)).unzip();
        let process = match self.pid.flatten() {
            None if identity.is_some() => {
                return Err("there is a `process`, but no pid".to_owned());
            }
            None => None,
            Some(pid) => {
                let pid = Pid::new(pid).ok_or_else(|| format!("{pid} is not the pid of an agent"));
                Some(Process {
                    pid: pid?,
                    identity,
                })
            }
        };
        Ok((process, unknown.unwrap_or_default()))
    }
}

fn with_outcome(state: State, outcome: Option<Outcome>) -> Result<State, String> {
    match (state, outcome) {
        (State::Ended(end), Some(outcome)) if Status::of(&outcome) == end.status => {
            Ok(State::Ended(End {
                outcome: Some(outcome),
                ..end
            }))
        }
        (state, Some(outcome)) => Err(format!(
            "the status is {}, but the outcome is {outcome:?}",
            state.status()
        )),
        (state, None) => Ok(state),
    }
}

fn with_verdict(state: State, verdict: Option<Verdict>) -> Result<State, String> {
    match (state, verdict) {
        (State::Ended(end), verdict) => Ok(State::Ended(End { verdict, ..end })),
        (state, Some(_)) => Err(format!(
            "the status is {}, but there is a verdict",
            state.status()
        )),
        (state, None) => Ok(state),
    }
}

fn seconds(seconds: Option<f64>) -> Result<Duration, String> {
    let seconds = seconds.unwrap_or_default();
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| *duration <= MAX_SUSPENSION)
        .ok_or_else(|| format!("{seconds} is not a duration in seconds"))
}

impl Serialize for Session {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.serialize_with_status(&mut map, self.status().as_str(), &[])?;
        map.end()
    }
}

impl Session {
    /// All fields of the record, in their order, with this word for the status,
    /// but not the unknown ones named in `without`.
    pub(crate) fn serialize_with_status<M: SerializeMap>(
        &self,
        map: &mut M,
        status: &str,
        without: &[&str],
    ) -> Result<(), M::Error> {
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("issue_id", &self.issue_id)?;
        map.serialize_entry("role_name", &self.role_name)?;
        map.serialize_entry("status", status)?;
        map.serialize_entry("branch_name", &self.branch_name)?;
        map.serialize_entry("pid", &self.pid())?;
        map.serialize_entry("created_at", &self.created_at)?;
        map.serialize_entry("updated_at", &self.updated_at)?;
        self.serialize_ours(map)?;
        self.unknown_fields.serialize_into(map, without)
    }

    fn serialize_ours<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        entry(map, "schema", self.schema)?;
        entry(
            map,
            "command",
            (!self.command.is_empty()).then_some(&self.command),
        )?;
        entry(
            map,
            "cwd",
            self.cwd.as_ref().map(|cwd| cwd.to_string_lossy()),
        )?;
        entry(map, "engine", self.engine.as_ref())?;
        entry(map, "conversation_id", self.conversation_id.as_ref())?;
        entry(map, "name", self.name.as_ref())?;
        entry(
            map,
            "labels",
            (!self.labels.is_empty()).then_some(&self.labels),
        )?;
        entry(map, "parent_id", self.parent_id.as_ref())?;
        entry(map, "resumes", self.resumes.as_ref())?;
        let identity = self.process().and_then(|process| process.identity.as_ref());
        let unknown = &self.unknown_process_fields;
        let written = identity.map(|identity| WrittenIdentity { identity, unknown });
        entry(map, "process", written)?;
        entry(map, "started_at", self.started_at())?;
        if let State::Suspended { since, .. } = &self.state {
            entry(map, "suspended_at", since.as_ref())?;
        }
        let suspended = self.suspended_for;
        entry(
            map,
            "suspended_seconds",
            (!suspended.is_zero()).then_some(suspended.as_secs_f64()),
        )?;
        entry(map, "ended_at", self.end().and_then(|end| end.ended_at))?;
        entry(
            map,
            "timeout_seconds",
            self.timeout.map(|timeout| timeout.as_secs()),
        )?;
        entry(map, "outcome", self.outcome())?;
        entry(map, "verdict", self.verdict())
    }
}

fn entry<M: SerializeMap>(
    map: &mut M,
    key: &str,
    value: Option<impl Serialize>,
) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(key, &value),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
