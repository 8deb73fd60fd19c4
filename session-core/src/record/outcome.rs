//! Outcomes, read in one pass. In ours no key stands twice, not even one that is not
//! known.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::foreign::{Strict, insert};
use super::once;
use super::text::Text;
use crate::outcome::{LostCause, Outcome, SpawnFailure, WaitStatus};

/// Everything that an outcome, or a wait status, may hold.
#[derive(Default)]
struct Parts<'de> {
    kind: Option<Text<'de>>,
    code: Option<i32>,
    signal: Option<i32>,
    core_dumped: Option<bool>,
    after_seconds: Option<u64>,
    wait_status: Option<Option<WaitStatus>>,
    by: Option<String>,
    error: Option<String>,
    reason: Option<Option<SpawnFailure>>,
    cause: Option<LostCause>,
}

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PartsVisitor)
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("how something ended (a JSON object)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
        let mut parts = Parts::default();
        let mut unknown = BTreeSet::new();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key {
                "kind" => once(&mut parts.kind, "kind", &mut map)?,
                "code" => once(&mut parts.code, "code", &mut map)?,
                "signal" => once(&mut parts.signal, "signal", &mut map)?,
                "core_dumped" => once(&mut parts.core_dumped, "core_dumped", &mut map)?,
                "after_seconds" => once(&mut parts.after_seconds, "after_seconds", &mut map)?,
                "wait_status" => once(&mut parts.wait_status, "wait_status", &mut map)?,
                "by" => once(&mut parts.by, "by", &mut map)?,
                "error" => once(&mut parts.error, "error", &mut map)?,
                "reason" => once(&mut parts.reason, "reason", &mut map)?,
                "cause" => once(&mut parts.cause, "cause", &mut map)?,
                _ => {
                    insert(&mut unknown, key.into_owned())?;
                    map.next_value::<Strict>()?;
                }
            }
        }
        Ok(parts)
    }
}

fn needed<T, E: Error>(part: Option<T>, name: &'static str) -> Result<T, E> {
    part.ok_or_else(|| E::missing_field(name))
}

impl Parts<'_> {
    fn outcome<E: Error>(self) -> Result<Outcome, E> {
        const KINDS: &[&str] = &[
            "exited",
            "signaled",
            "timed_out",
            "stopped",
            "spawn_failed",
            "lost",
        ];
        let kind = self.kind.as_deref().unwrap_or_default();
        Ok(match kind {
            "exited" | "signaled" => self.wait_status::<E>()?.into(),
            "timed_out" => Outcome::TimedOut {
                after_seconds: needed(self.after_seconds, "after_seconds")?,
                wait_status: self.wait_status.flatten(),
            },
            "stopped" => Outcome::Stopped {
                by: needed(self.by, "by")?,
                wait_status: self.wait_status.flatten(),
            },
            "spawn_failed" => Outcome::SpawnFailed {
                error: needed(self.error, "error")?,
                reason: self.reason.flatten(),
            },
            "lost" => Outcome::Lost {
                cause: needed(self.cause, "cause")?,
            },
            kind => return Err(no_kind(kind, KINDS)),
        })
    }

    fn wait_status<E: Error>(&self) -> Result<WaitStatus, E> {
        const KINDS: &[&str] = &["exited", "signaled"];
        match self.kind.as_deref().unwrap_or_default() {
            "exited" => Ok(WaitStatus::Exited {
                code: needed(self.code, "code")?,
            }),
            "signaled" => Ok(WaitStatus::Signaled {
                signal: needed(self.signal, "signal")?,
                core_dumped: needed(self.core_dumped, "core_dumped")?,
            }),
            kind => Err(no_kind(kind, KINDS)),
        }
    }
}

fn no_kind<E: Error>(kind: &str, kinds: &'static [&'static str]) -> E {
    match kind {
        "" => E::missing_field("kind"),
        kind => E::unknown_variant(kind, kinds),
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Parts::deserialize(deserializer)?.outcome()
    }
}

impl<'de> Deserialize<'de> for WaitStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Parts::deserialize(deserializer)?.wait_status()
    }
}
