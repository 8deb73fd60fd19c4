//! What an agent says of its end. Its final event decides, and nothing else: what it
//! printed on its way (a limit that was waited for, a permission that was refused, the
//! end of a turn before the next) is no end, however the agent ended then.
//!
//! The final event is the last line that is a JSON object. Lines that are none are
//! between the events of every log: warnings, and what tools print. A line that begins as
//! an object and cannot be read is an event all the same, of which nobody knows what it
//! says: the verdict is unknown then.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use session_core::{Timestamp, Verdict, VerdictKind};

use super::when::some_pointer;
use super::{Reading, When, parse};

/// A line that tells what became of the agent's work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which lines.
    #[serde(default)]
    pub when: When,
    /// What they tell.
    pub verdict: RuleVerdict,
    /// The events that may follow, each of which matches one of these: some agents say
    /// more after what decides. None for [`RuleVerdict::Succeeded`]: who said something
    /// later may have been at work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<When>,
    /// A JSON pointer to when a limit ends: a number, which are seconds or milliseconds
    /// since 1970, a text in RFC 3339, or one with such a number behind its last `|`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "some_pointer")]
    pub until: Option<String>,
    /// A JSON pointer to the number of turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "some_pointer")]
    pub turns: Option<String>,
    /// A JSON pointer to what they cost, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "some_pointer")]
    pub cost_usd: Option<String>,
}

/// A verdict that a rule can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleVerdict {
    /// The agent did what it was asked.
    Succeeded,
    /// It gave up.
    Failed,
    /// It was not allowed to.
    Denied,
    /// The model's provider had enough of it.
    RateLimited,
    /// The conversation has become too long.
    ContextExhausted,
    /// Such a line can mean the one or the other.
    Unknown,
}

/// The rules, if what they say can hold.
pub(super) fn rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Rule>, D::Error> {
    let rules = Vec::<Rule>::deserialize(deserializer)?;
    let refused = |rule: &Rule| rule.verdict == RuleVerdict::Succeeded && !rule.after.is_empty();
    match rules.iter().any(refused) {
        true => Err(D::Error::custom(
            "nothing may follow what says `succeeded`: `after` stands beside other verdicts",
        )),
        false => Ok(rules),
    }
}

impl Reading {
    /// What the final event in `tail`, the end of a log, says of the agent's end;
    /// [`VerdictKind::Unknown`] if it says nothing of it.
    #[must_use]
    pub fn verdict_in(&self, tail: &[u8]) -> Verdict {
        self.find_verdict(tail)
            .unwrap_or_else(|| VerdictKind::Unknown.into())
    }

    /// The same; `None` where what decides stands before `tail`, if anywhere.
    pub(super) fn find_verdict(&self, tail: &[u8]) -> Option<Verdict> {
        if self.verdicts.is_empty() {
            return None;
        }
        let unknown = || Some(VerdictKind::Unknown.into());
        let mut events = tail.rsplit(|byte| *byte == b'\n').filter_map(event);
        let mut later = Vec::new();
        let mut verdict = loop {
            let Event::Told(event) = events.next()? else {
                return unknown();
            };
            let mut rules = self.verdicts.iter();
            if let Some(rule) = rules.find(|rule| rule.when.holds(&event)) {
                match later.iter().all(|event| rule.may_precede(event)) {
                    true => break rule.judge(&event),
                    false => return unknown(),
                }
            }
            if !self.verdicts.iter().any(|rule| rule.may_precede(&event)) {
                return unknown();
            }
            later.push(event);
        };
        if self.asks_until(&verdict) {
            let until = events.find_map(|event| match event {
                Event::Told(event) => self.until_in(&event),
                Event::Unreadable => None,
            });
            verdict.kind = VerdictKind::RateLimited { until };
        }
        Some(verdict)
    }

    /// Whether an earlier line may tell when the limit ends, of which `verdict` does not.
    pub(super) fn asks_until(&self, verdict: &Verdict) -> bool {
        let open = VerdictKind::RateLimited { until: None };
        verdict.kind == open && !self.until.is_empty()
    }

    fn until_in(&self, event: &Value) -> Option<Timestamp> {
        let told = self.until.iter().filter(|at| at.when.holds(event));
        told.filter_map(|at| event.pointer(&at.at)).find_map(time)
    }
}

impl Rule {
    fn may_precede(&self, event: &Value) -> bool {
        self.after.iter().any(|when| when.holds(event))
    }

    fn judge(&self, event: &Value) -> Verdict {
        let part = |pointer: &Option<String>| event.pointer(pointer.as_deref()?);
        let kind = match self.verdict {
            RuleVerdict::Succeeded => VerdictKind::Succeeded,
            RuleVerdict::Failed => VerdictKind::Failed,
            RuleVerdict::Denied => VerdictKind::Denied,
            RuleVerdict::RateLimited => VerdictKind::RateLimited {
                until: part(&self.until).and_then(time),
            },
            RuleVerdict::ContextExhausted => VerdictKind::ContextExhausted,
            RuleVerdict::Unknown => VerdictKind::Unknown,
        };
        let cost = part(&self.cost_usd).and_then(Value::as_f64);
        Verdict {
            kind,
            turns: part(&self.turns).and_then(Value::as_u64),
            cost_usd: cost.filter(|cost| cost.is_finite() && *cost >= 0.0),
        }
    }
}

/// A line of what an agent tells.
enum Event {
    Told(Value),
    /// It was torn when the agent died, or mixed with another, or is too long.
    Unreadable,
}

/// The event that a line is; `None` for a line that is none.
fn event(line: &[u8]) -> Option<Event> {
    if let Some(told) = parse(line) {
        return Some(Event::Told(told));
    }
    let inside = line.trim_ascii().strip_prefix(b"{")?;
    inside
        .trim_ascii_start()
        .starts_with(b"\"")
        .then_some(Event::Unreadable)
}

fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => epoch(number.as_f64()?),
        Value::String(text) => match text.rsplit_once('|') {
            Some((_, number)) => epoch(number.trim().parse::<u64>().ok()? as f64),
            None => rfc_3339(text),
        },
        _ => None,
    }
    .filter(|time| time.as_second() >= SINCE)
}

/// 2020-01-01. Before it no agent was told of limits: such a number is no time.
const SINCE: i64 = 1_577_836_800;

/// With its offset: nobody knows in which zone an agent would leave it out.
fn rfc_3339(text: &str) -> Option<Timestamp> {
    let offset = text.get("2026-11-22T11:10:24".len()..)?;
    let has_offset = offset.contains(['Z', 'z', '+', '-']);
    has_offset.then(|| Timestamp::parse(text).ok())?
}

/// Seconds since 1970, or milliseconds: those of any year since 1973 are more than the
/// seconds of any year before 5138.
fn epoch(number: f64) -> Option<Timestamp> {
    const MILLISECONDS_FROM: f64 = 1e11;
    let seconds = match number {
        n if n >= MILLISECONDS_FROM => n / 1000.0,
        n => n,
    };
    // A cast of what is too large gives what is refused.
    Timestamp::from_second(seconds as i64)
}
