//! What a record holds that this version does not know: kept byte for byte, as long as
//! whoever reads the record as plain JSON can read it.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::plain;
use super::text::Text;

/// How deep a record may be nested: as deep as serde_json and its like go, so that
/// whoever reads it as plain JSON can.
const MAX_DEPTH: usize = 127;

/// Fields of an object that this version does not know, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnknownFields(Vec<(String, Box<RawValue>)>);

impl PartialEq for UnknownFields {
    fn eq(&self, other: &Self) -> bool {
        self.pairs().eq(other.pairs())
    }
}

impl UnknownFields {
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.get()))
    }

    /// Writes them, but those named in `without`.
    pub(super) fn serialize_into<M: SerializeMap>(
        &self,
        map: &mut M,
        without: &[&str],
    ) -> Result<(), M::Error> {
        let wanted = |(key, _): &&(String, _)| !without.contains(&key.as_str());
        for (key, value) in self.0.iter().filter(wanted) {
            map.serialize_entry(key, value)?;
        }
        Ok(())
    }
}

impl Serialize for UnknownFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// Fields that this version does not know, while their object is being read.
pub(super) struct Foreign {
    level: usize,
    keys: BTreeSet<String>,
    fields: UnknownFields,
}

impl Foreign {
    /// Those of an object so many braces deep: 1 is the record itself.
    pub(super) fn at(level: usize) -> Self {
        Self {
            level,
            keys: BTreeSet::new(),
            fields: UnknownFields::default(),
        }
    }

    /// Takes the value of `key`, unless the key was there before.
    pub(super) fn take<'de, K: DeserializeOwned, A: MapAccess<'de>>(
        &mut self,
        key: Text<'de>,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let key = key.into_owned();
        insert(&mut self.keys, key.clone())?;
        let value: Box<RawValue> = map.next_value()?;
        check::<K>(&value, self.level).map_err(de::Error::custom)?;
        self.fields.0.push((key, value));
        Ok(())
    }

    pub(super) fn into_fields(self) -> UnknownFields {
        self.fields
    }
}

/// Notes a key, unless it was there before.
pub(super) fn insert<E: de::Error>(keys: &mut BTreeSet<String>, key: String) -> Result<(), E> {
    if let Some(key) = keys.get(&key) {
        let key = key.escape_debug();
        return Err(E::custom(format_args!("duplicate field `{key}`")));
    }
    keys.insert(key);
    Ok(())
}

/// Whether whoever reads the record as plain JSON can read `raw`: not nested too deep,
/// no number out of range, and, where that is ours to say, no key twice.
pub(super) fn check<K: DeserializeOwned>(raw: &RawValue, level: usize) -> Result<(), String> {
    if level + depth(raw.get()) > MAX_DEPTH {
        return Err("recursion limit exceeded".to_owned());
    }
    let looked = serde_json::from_str::<K>(raw.get());
    looked.map(drop).map_err(|error| plain(&error))
}

/// Any JSON; keys may stand twice.
pub(super) type Lenient = serde_json::Value;

/// Any JSON in which no object has a key twice.
pub(super) struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<Self>()?;
            insert(&mut keys, key)?;
        }
        Ok(self)
    }
}

/// How deep valid JSON is nested. serde_json does not count in what it skips.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.bytes();
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}
