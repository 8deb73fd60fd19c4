//! Verdicts, read in one pass, and strictly but for one thing: a word that this version
//! does not know is [`VerdictKind::Unknown`]. A record has to be readable for whoever
//! wants to know how its session ended, whatever newer engines have to say.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::foreign::{Strict, insert};
use super::once;
use super::outcome::Part;
use super::text::Text;
use crate::timestamp::Timestamp;
use crate::verdict::{Verdict, VerdictKind};

impl<'de> Deserialize<'de> for Verdict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(VerdictVisitor)
    }
}

struct VerdictVisitor;

impl<'de> Visitor<'de> for VerdictVisitor {
    type Value = Verdict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what an agent said of its end (a JSON object)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Verdict, A::Error> {
        let mut kind: Option<Text<'de>> = None;
        let mut until: Option<Part<'de>> = None;
        let mut turns: Option<Option<u64>> = None;
        let mut cost_usd: Option<Option<f64>> = None;
        let mut unknown = BTreeSet::new();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key {
                "kind" => once(&mut kind, "kind", &mut map)?,
                "until" => once(&mut until, "until", &mut map)?,
                "turns" => once(&mut turns, "turns", &mut map)?,
                "cost_usd" => once(&mut cost_usd, "cost_usd", &mut map)?,
                _ => {
                    insert(&mut unknown, key.into_owned())?;
                    map.next_value::<Strict>()?;
                }
            }
        }
        let kind = kind.ok_or_else(|| A::Error::missing_field("kind"))?;
        Ok(Verdict {
            kind: self::kind(&kind, until)?,
            turns: turns.flatten(),
            cost_usd: cost_usd.flatten(),
        })
    }
}

/// The kind of this name; `until` may be anything where it is not needed.
fn kind<E: Error>(name: &str, until: Option<Part<'_>>) -> Result<VerdictKind, E> {
    Ok(match name {
        "succeeded" => VerdictKind::Succeeded,
        "failed" => VerdictKind::Failed,
        "denied" => VerdictKind::Denied,
        VerdictKind::RATE_LIMITED => {
            let until = until.and_then(Part::some);
            let until = until.map(|part| part.text::<E>("until")).transpose()?;
            let until = until.map(|text| Timestamp::parse(&text)).transpose();
            VerdictKind::RateLimited {
                until: until.map_err(E::custom)?,
            }
        }
        "context_exhausted" => VerdictKind::ContextExhausted,
        _ => VerdictKind::Unknown,
    })
}
