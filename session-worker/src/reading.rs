//! How to read what an engine prints: JSON lines, among whatever else an agent and its
//! tools print into the same log.
//!
//! The rules are data, which people write. What they are applied to is hostile: an
//! agent prints anything. So a line is looked at only up to [`MAX_LINE_LEN`], what is no
//! JSON object is skipped, and nothing that was read is more than a hint: what becomes an
//! argument later is checked ([`check_conversation_id`]), and no verdict changes an outcome.

mod tail;
mod when;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::{Timestamp, Verdict, VerdictKind, check_conversation_id};

use self::when::pointer;
pub use self::when::{Condition, Literal, When};

/// The longest line that is looked at, in bytes.
pub const MAX_LINE_LEN: usize = 1 << 20;

/// How to read what an engine prints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reading {
    /// Where a conversation's id stands that the agent made up. The first that is found
    /// in the log counts.
    pub conversation: Vec<At>,
    /// What the agent says of its end: the last line of the log that matches any of them
    /// decides; within one line, the first of them that matches. When a limit ends may
    /// stand in the matching line before.
    pub verdicts: Vec<Rule>,
    /// How a line is shown to people: all that match, in this order.
    pub text: Vec<Show>,
}

/// Where a string stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// In which lines.
    #[serde(default)]
    pub when: When,
    /// A JSON pointer (RFC 6901) to the string.
    #[serde(deserialize_with = "pointer")]
    pub at: String,
}

/// A line that tells what became of the agent's work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which lines.
    #[serde(default)]
    pub when: When,
    /// What they tell.
    pub verdict: RuleVerdict,
    /// A JSON pointer to when a limit ends: seconds or milliseconds since 1970, RFC 3339,
    /// or a text with such seconds behind its last `|`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "when::some_pointer")]
    pub until: Option<String>,
    /// A JSON pointer to the number of turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "when::some_pointer")]
    pub turns: Option<String>,
    /// A JSON pointer to what they cost, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "when::some_pointer")]
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
}

/// What of a line is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Show {
    /// Of which lines.
    #[serde(default)]
    pub when: When,
    /// A JSON pointer to a text, or to an array of content blocks, whose texts, uses of
    /// tools and results are taken.
    #[serde(deserialize_with = "pointer")]
    pub at: String,
    /// What stands before the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// A part of a line, as it is shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// What stands before the text.
    pub prefix: Option<String>,
    /// The text, which may have several lines; whatever an agent prints.
    pub text: String,
}

impl Reading {
    /// The id of the conversation that a line tells, if it tells one that can be an id.
    #[must_use]
    pub fn conversation_in(&self, line: &[u8]) -> Option<String> {
        let line = parse(line)?;
        let told = self.conversation.iter().filter(|at| at.when.holds(&line));
        told.filter_map(|at| line.pointer(&at.at)?.as_str())
            .find(|id| check_conversation_id(id).is_ok())
            .map(str::to_owned)
    }

    /// What the last line of `tail`, the end of a log, says that says anything of the
    /// agent's end; [`VerdictKind::Unknown`] if none does.
    #[must_use]
    pub fn verdict_in(&self, tail: &[u8]) -> Verdict {
        self.find_verdict(tail)
            .unwrap_or_else(|| VerdictKind::Unknown.into())
    }

    fn find_verdict(&self, tail: &[u8]) -> Option<Verdict> {
        if self.verdicts.is_empty() {
            return None;
        }
        let lines = tail.rsplit(|byte| *byte == b'\n').filter_map(parse);
        let judge = |line: Value| self.verdicts.iter().find_map(|rule| rule.judge(&line));
        let mut verdicts = lines.filter_map(judge);
        let mut verdict = verdicts.next()?;
        let open = VerdictKind::RateLimited { until: None };
        // Some engines tell when a limit ends in an event of its own before the last.
        if verdict.kind == open
            && let Some(before) = verdicts.next()
            && matches!(before.kind, VerdictKind::RateLimited { .. })
        {
            verdict.kind = before.kind;
        }
        Some(verdict)
    }

    /// How a line is shown to people: nothing of a JSON object that no rule is about;
    /// `None` for what is no JSON object, which is shown as it is.
    #[must_use]
    pub fn shown(&self, line: &[u8]) -> Option<Vec<Shown>> {
        let line = parse(line)?;
        let shows = self.text.iter().filter(|show| show.when.holds(&line));
        let shown = shows.filter_map(|show| {
            let text = text_of(line.pointer(&show.at)?);
            let prefix = show.prefix.clone();
            (!text.is_empty()).then_some(Shown { prefix, text })
        });
        Some(shown.collect())
    }
}

impl Rule {
    fn judge(&self, line: &Value) -> Option<Verdict> {
        if !self.when.holds(line) {
            return None;
        }
        let part = |pointer: &Option<String>| line.pointer(pointer.as_deref()?);
        let kind = match self.verdict {
            RuleVerdict::Succeeded => VerdictKind::Succeeded,
            RuleVerdict::Failed => VerdictKind::Failed,
            RuleVerdict::Denied => VerdictKind::Denied,
            RuleVerdict::RateLimited => VerdictKind::RateLimited {
                until: part(&self.until).and_then(time),
            },
            RuleVerdict::ContextExhausted => VerdictKind::ContextExhausted,
        };
        let cost = part(&self.cost_usd).and_then(Value::as_f64);
        Some(Verdict {
            kind,
            turns: part(&self.turns).and_then(Value::as_u64),
            cost_usd: cost.filter(|cost| cost.is_finite() && *cost >= 0.0),
        })
    }
}

/// A line that is a JSON object, and no longer than is looked at.
fn parse(line: &[u8]) -> Option<Value> {
    let line = line.trim_ascii();
    let is_object = line.first() == Some(&b'{') && line.len() <= MAX_LINE_LEN;
    is_object.then(|| serde_json::from_slice(line).ok())?
}

fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => epoch(number.as_f64()?),
        Value::String(text) => Timestamp::parse(text).ok().or_else(|| {
            let number = text.rsplit('|').next().unwrap_or(text).trim();
            epoch(number.parse().ok()?)
        }),
        _ => None,
    }
}

/// Seconds since 1970, or milliseconds: those of any year since 1973 are more than the
/// seconds of any year before 5138.
fn epoch(number: f64) -> Option<Timestamp> {
    const MILLISECONDS_FROM: f64 = 1e11;
    let seconds = match number {
        n if n >= MILLISECONDS_FROM => n / 1000.0,
        n => n,
    };
    // A cast of what is no number, or too large, gives what is refused.
    (seconds >= 1.0).then(|| Timestamp::from_second(seconds as i64))?
}

/// The text of a value: of a content block what people would read of it.
fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts = blocks.iter().map(block).filter(|text| !text.is_empty());
            texts.collect::<Vec<_>>().join("\n")
        }
        Value::Object(_) => block(value),
        other => other.to_string(),
    }
}

/// A content block: a text, a result (`content`), or the use of a tool. One level deep
/// blocks can hold others; what is nested deeper than a value can be is not parsed.
fn block(block: &Value) -> String {
    let Value::Object(fields) = block else {
        return text_of(block);
    };
    if let Some(text) = fields.get("text").or_else(|| fields.get("content")) {
        return text_of(text);
    }
    match (fields.get("name"), fields.get("input")) {
        (Some(Value::String(name)), Some(input)) => format!("{name} {input}"),
        (Some(Value::String(name)), None) => name.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
