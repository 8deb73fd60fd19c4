//! Which lines a rule is about.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Conditions on a line, by JSON pointer (RFC 6901); all must hold. None always hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct When(pub BTreeMap<String, Condition>);

/// What must hold of the value at a pointer. As text it is the value itself, or a table
/// with one of the words `contains`, `starts_with`, `exists` and `one_of`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "snake_case",
    expecting = "expected a string, a number, true, false, or one of \
        `{ contains = \"text\" }`, `{ starts_with = \"text\" }`, `{ exists = true }` and `{ one_of = [values] }`"
)]
pub enum Condition {
    /// It is a text that contains this one, whatever the case of its letters; or an
    /// array with such a text in it.
    Contains(String),
    /// It is a text that begins with this one, whatever the case of its letters.
    StartsWith(String),
    /// It is there, and not null; or it is not.
    Exists(bool),
    /// It is one of these.
    OneOf(Vec<Literal>),
    /// It is this.
    #[serde(untagged)]
    Is(Literal),
}

/// A value that stands in a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a string, a number, true or false")]
pub enum Literal {
    /// True or false.
    Bool(bool),
    /// A number; 1 is 1.0.
    Number(f64),
    /// A text.
    Text(String),
}

impl When {
    /// Whether all of it holds for `line`.
    #[must_use]
    pub fn holds(&self, line: &Value) -> bool {
        let mut conditions = self.0.iter();
        conditions.all(|(pointer, condition)| condition.holds(line.pointer(pointer)))
    }
}

impl Condition {
    fn holds(&self, value: Option<&Value>) -> bool {
        let value = value.filter(|value| !value.is_null());
        match self {
            Self::Is(literal) => value.is_some_and(|value| literal.is(value)),
            Self::Contains(part) => value.is_some_and(|value| contains(value, part)),
            Self::StartsWith(part) => value
                .and_then(Value::as_str)
                .is_some_and(|text| text.to_lowercase().starts_with(&part.to_lowercase())),
            Self::Exists(wanted) => value.is_some() == *wanted,
            Self::OneOf(literals) => {
                value.is_some_and(|value| literals.iter().any(|literal| literal.is(value)))
            }
        }
    }
}

impl Literal {
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Bool(wanted) => value.as_bool() == Some(*wanted),
            Self::Number(wanted) => value.as_f64() == Some(*wanted),
            Self::Text(wanted) => value.as_str() == Some(wanted),
        }
    }
}

fn contains(value: &Value, part: &str) -> bool {
    match value {
        Value::String(text) => text.to_lowercase().contains(&part.to_lowercase()),
        Value::Array(values) => values
            .iter()
            .any(|value| value.is_string() && contains(value, part)),
        _ => false,
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let conditions = BTreeMap::<String, Condition>::deserialize(deserializer)?;
        for key in conditions.keys() {
            check(key)?;
        }
        Ok(Self(conditions))
    }
}

fn check<E: Error>(pointer: &str) -> Result<(), E> {
    match pointer.is_empty() || pointer.starts_with('/') {
        true => Ok(()),
        false => Err(E::custom(format_args!(
            "`{}` is not a JSON pointer, which begins with `/`",
            pointer.escape_debug()
        ))),
    }
}

pub(super) fn pointer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let pointer = String::deserialize(deserializer)?;
    check(&pointer)?;
    Ok(pointer)
}

pub(super) fn some_pointer<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    pointer(deserializer).map(Some)
}
