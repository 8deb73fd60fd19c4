//! How to read what an engine prints: JSON lines, among whatever else an agent and its
//! tools print into the same log.
//!
//! The rules are data, which people write. What they are applied to is hostile: an
//! agent prints anything. So a line is looked at only up to [`MAX_LINE_LEN`], what is no
//! JSON object is skipped, and nothing that was read is more than a hint: what becomes an
//! argument later is checked ([`check_conversation_id`]), and no verdict changes an outcome.

mod tail;
mod verdict;
mod when;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::check_conversation_id;

pub use self::verdict::{Rule, RuleVerdict};
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
    /// What the agent says of its end: its last line that is a JSON object decides, by
    /// the first of them that matches it. What it says on its way is no verdict.
    #[serde(deserialize_with = "verdict::rules")]
    pub verdicts: Vec<Rule>,
    /// Where it stands when a limit ends, if a verdict that there is one does not tell:
    /// the last of such lines before it counts. By itself none of them is a verdict.
    pub until: Vec<At>,
    /// How a line is shown to people: all that match, in this order.
    pub text: Vec<Show>,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// In which lines.
    #[serde(default)]
    pub when: When,
    /// A JSON pointer (RFC 6901) to the value.
    #[serde(deserialize_with = "pointer")]
    pub at: String,
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
    /// Whether it is a piece of a text, which goes on with the next such line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub piece: bool,
}

/// A part of a line, as it is shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// What stands before the text.
    pub prefix: Option<String>,
    /// The text, which may have several lines; whatever an agent prints.
    pub text: String,
    /// Whether what is shown next goes on where this ends, if that is a piece, too.
    pub piece: bool,
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

    /// How a line is shown to people: nothing of a JSON object that no rule is about;
    /// `None` for what is no JSON object, which is shown as it is.
    #[must_use]
    pub fn shown(&self, line: &[u8]) -> Option<Vec<Shown>> {
        let line = parse(line)?;
        let shows = self.text.iter().filter(|show| show.when.holds(&line));
        let shown = shows.filter_map(|show| {
            let text = text_of(line.pointer(&show.at)?);
            (!text.is_empty()).then(|| Shown {
                prefix: show.prefix.clone(),
                text,
                piece: show.piece,
            })
        });
        Some(shown.collect())
    }
}

/// A line that is a JSON object, and no longer than is looked at.
fn parse(line: &[u8]) -> Option<Value> {
    let line = line.trim_ascii();
    let is_object = line.first() == Some(&b'{') && line.len() <= MAX_LINE_LEN;
    is_object.then(|| serde_json::from_slice(line).ok())?
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
