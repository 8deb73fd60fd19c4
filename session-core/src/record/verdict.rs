//! Verdicts, read in one pass. A word that this version does not know is
//! [`VerdictKind::Unknown`], and a detail that it does not understand is not told: a
//! record has to be readable for whoever wants to know how its session ended, whatever
//! newer engines have to say. Only a verdict without a kind, or one in which a key stands
//! twice, is none.

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
        let mut turns: Option<Part<'de>> = None;
        let mut cost_usd: Option<Part<'de>> = None;
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
            kind: self::kind(&kind, until),
            turns: turns.and_then(self::turns),
            cost_usd: cost_usd.and_then(cost),
        })
    }
}

/// The kind of this name.
fn kind(name: &str, until: Option<Part<'_>>) -> VerdictKind {
    match name {
        "succeeded" => VerdictKind::Succeeded,
        "failed" => VerdictKind::Failed,
        "denied" => VerdictKind::Denied,
        VerdictKind::RATE_LIMITED => VerdictKind::RateLimited {
            until: until.and_then(time),
        },
        "context_exhausted" => VerdictKind::ContextExhausted,
        _ => VerdictKind::Unknown,
    }
}

fn time(part: Part<'_>) -> Option<Timestamp> {
    match part {
        Part::Text(text) => Timestamp::parse(&text).ok(),
        _ => None,
    }
}

fn turns(part: Part<'_>) -> Option<u64> {
    match part {
        Part::Whole(n) => n.try_into().ok(),
        _ => None,
    }
}

fn cost(part: Part<'_>) -> Option<f64> {
    let cost = match part {
        Part::Whole(n) => n as f64,
        Part::Fraction(n) => n,
        _ => return None,
    };
    (cost >= 0.0).then_some(cost)
}
