//! `process`: who the agent's process is, as a record has it.

use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::foreign::{Foreign, Strict, UnknownFields};
use super::once;
use super::text::Text;
use crate::process::ProcessIdentity;

/// An identity, with what another version wrote beside it.
pub(super) struct ReadIdentity {
    pub(super) identity: ProcessIdentity,
    pub(super) unknown: UnknownFields,
}

impl<'de> Deserialize<'de> for ReadIdentity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(IdentityVisitor)
    }
}

struct IdentityVisitor;

impl<'de> Visitor<'de> for IdentityVisitor {
    type Value = ReadIdentity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the identity of a process (a JSON object)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ReadIdentity, A::Error> {
        let (mut host, mut boot_id, mut pid_namespace, mut start_ticks) = (None, None, None, None);
        let mut foreign = Foreign::at(2);
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key {
                "host" => once(&mut host, "host", &mut map)?,
                "boot_id" => once(&mut boot_id, "boot_id", &mut map)?,
                "pid_namespace" => once(&mut pid_namespace, "pid_namespace", &mut map)?,
                "start_ticks" => once(&mut start_ticks, "start_ticks", &mut map)?,
                _ => foreign.take::<Strict, _>(key, &mut map)?,
            }
        }
        let missing = A::Error::missing_field;
        Ok(ReadIdentity {
            identity: ProcessIdentity {
                host: host.ok_or_else(|| missing("host"))?,
                boot_id: boot_id.ok_or_else(|| missing("boot_id"))?,
                pid_namespace: pid_namespace.ok_or_else(|| missing("pid_namespace"))?,
                start_ticks: start_ticks.ok_or_else(|| missing("start_ticks"))?,
            },
            unknown: foreign.into_fields(),
        })
    }
}

/// An identity, to be written with what another version wrote beside it.
#[derive(Serialize)]
pub(super) struct WrittenIdentity<'a> {
    #[serde(flatten)]
    pub(super) identity: &'a ProcessIdentity,
    #[serde(flatten)]
    pub(super) unknown: &'a UnknownFields,
}
