//! Outcomes, read in one pass. In ours no key stands twice, not even one that is not
//! known; what a kind does not need may be anything.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::foreign::{Strict, insert};
use super::once;
use super::text::Text;
use crate::outcome::{Outcome, WaitStatus};

/// Everything that an outcome, or a wait status, may hold.
#[derive(Default)]
pub(super) struct Parts<'de> {
    kind: Option<Part<'de>>,
    code: Option<Part<'de>>,
    signal: Option<Part<'de>>,
    core_dumped: Option<Part<'de>>,
    after_seconds: Option<Part<'de>>,
    wait_status: Option<Part<'de>>,
    by: Option<Part<'de>>,
    error: Option<Part<'de>>,
    reason: Option<Part<'de>>,
    cause: Option<Part<'de>>,
}

/// A value, of whatever type.
pub(super) enum Part<'de> {
    Null,
    Bool(bool),
    Whole(i128),
    Fraction(f64),
    Text(Text<'de>),
    Object(Box<Parts<'de>>),
    Other,
}

impl<'de> Deserialize<'de> for Part<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor)
    }
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Part<'de>, E> {
        Ok(Part::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Part<'de>, E> {
        Ok(Part::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Part<'de>, E> {
        Ok(Part::Whole(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Part<'de>, E> {
        Ok(Part::Whole(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Part<'de>, E> {
        Ok(Part::Fraction(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Part<'de>, E> {
        Ok(Part::Text(Text(text.into())))
    }

    fn visit_str<E>(self, text: &str) -> Result<Part<'de>, E> {
        Ok(Part::Text(Text(text.to_owned().into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Part<'de>, A::Error> {
        while seq.next_element::<Strict>()?.is_some() {}
        Ok(Part::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Part<'de>, A::Error> {
        Parts::read(map).map(Box::new).map(Part::Object)
    }
}

impl<'de> Part<'de> {
    fn whole<T: TryFrom<i128>, E: Error>(self, name: &str) -> Result<T, E> {
        match self {
            Self::Whole(n) => n
                .try_into()
                .map_err(|_| E::custom(format_args!("`{name}` is out of range: {n}"))),
            _ => Err(E::custom(format_args!(
                "invalid type: `{name}` is not a whole number"
            ))),
        }
    }

    fn bool<E: Error>(self, name: &str) -> Result<bool, E> {
        match self {
            Self::Bool(value) => Ok(value),
            _ => Err(E::custom(format_args!(
                "invalid type: `{name}` is not true or false"
            ))),
        }
    }

    fn text<E: Error>(self, name: &str) -> Result<Text<'de>, E> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(E::custom(format_args!(
                "invalid type: `{name}` is not a string"
            ))),
        }
    }

    /// One of the words that `T` knows.
    fn word<T: for<'a> Deserialize<'a>, E: Error>(self, name: &str) -> Result<T, E> {
        let text = self.text::<E>(name)?;
        let deserializer: StrDeserializer<'_, E> = (*text).into_deserializer();
        T::deserialize(deserializer)
    }

    fn wait_status<E: Error>(self) -> Result<WaitStatus, E> {
        match self {
            Self::Object(parts) => parts.into_wait_status(),
            _ => Err(E::custom("invalid type: `wait_status` is not an object")),
        }
    }

    /// The same, unless it is null.
    fn some(self) -> Option<Self> {
        (!matches!(self, Self::Null)).then_some(self)
    }
}

fn needed<'de, E: Error>(part: Option<Part<'de>>, name: &'static str) -> Result<Part<'de>, E> {
    part.ok_or_else(|| E::missing_field(name))
}

impl<'de> Parts<'de> {
    fn read<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut parts = Self::default();
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

    fn into_outcome<E: Error>(mut self) -> Result<Outcome, E> {
        const KINDS: &[&str] = &[
            "exited",
            "signaled",
            "timed_out",
            "stopped",
            "spawn_failed",
            "lost",
        ];
        let kind = needed::<E>(self.kind.take(), "kind")?.text::<E>("kind")?;
        let wait_status = |part: Option<Part<'de>>| {
            let part = part.and_then(Part::some);
            part.map(Part::wait_status).transpose()
        };
        Ok(match &*kind {
            "exited" | "signaled" => self.with_kind(&kind, KINDS)?.into(),
            "timed_out" => Outcome::TimedOut {
                after_seconds: needed::<E>(self.after_seconds, "after_seconds")?
                    .whole("after_seconds")?,
                wait_status: wait_status(self.wait_status)?,
            },
            "stopped" => Outcome::Stopped {
                by: needed::<E>(self.by, "by")?.text::<E>("by")?.into_owned(),
                wait_status: wait_status(self.wait_status)?,
            },
            "spawn_failed" => Outcome::SpawnFailed {
                error: needed::<E>(self.error, "error")?
                    .text::<E>("error")?
                    .into_owned(),
                reason: match self.reason.and_then(Part::some) {
                    Some(reason) => Some(reason.word("reason")?),
                    None => None,
                },
            },
            "lost" => Outcome::Lost {
                cause: needed::<E>(self.cause, "cause")?.word("cause")?,
            },
            kind => return Err(E::unknown_variant(kind, KINDS)),
        })
    }

    fn into_wait_status<E: Error>(mut self) -> Result<WaitStatus, E> {
        let kind = needed::<E>(self.kind.take(), "kind")?.text::<E>("kind")?;
        self.with_kind(&kind, &["exited", "signaled"])
    }

    /// The wait status of this kind; `kinds` are those that there could be.
    fn with_kind<E: Error>(
        self,
        kind: &str,
        kinds: &'static [&'static str],
    ) -> Result<WaitStatus, E> {
        match kind {
            "exited" => Ok(WaitStatus::Exited {
                code: needed::<E>(self.code, "code")?.whole("code")?,
            }),
            "signaled" => Ok(WaitStatus::Signaled {
                signal: needed::<E>(self.signal, "signal")?.whole("signal")?,
                core_dumped: needed::<E>(self.core_dumped, "core_dumped")?.bool("core_dumped")?,
            }),
            kind => Err(E::unknown_variant(kind, kinds)),
        }
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("how something ended (a JSON object)")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Parts<'de>, A::Error> {
        Parts::read(map)
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PartsVisitor)?.into_outcome()
    }
}

impl<'de> Deserialize<'de> for WaitStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = deserializer.deserialize_map(PartsVisitor)?;
        parts.into_wait_status()
    }
}
