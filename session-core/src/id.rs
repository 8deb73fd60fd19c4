//! The name of a session, checked before it ever becomes a path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::record::Text;

/// A session's id: `[a-z0-9][a-z0-9_-]{0,63}`, equal to the stem of its record's file.
///
/// No value of this type can leave its directory, hide a file, or differ from
/// another only by case, so it is safe to use as a path component and in a URL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct SessionId(Box<str>);

/// The text is not a session id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a session id: expected 1 to {} of a-z, 0-9, `_` and `-`, beginning with a letter or a digit",
    .text.escape_debug(),
    SessionId::MAX_LEN
)]
pub struct InvalidSessionId {
    text: String,
}

impl SessionId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 64;

    /// A new random id (UUID version 4, RFC 9562).
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string().into())
    }

    /// Checks `text` and takes it as an id.
    ///
    /// # Errors
    /// [`InvalidSessionId`] when the text does not have the form of an id.
    pub fn parse(text: &str) -> Result<Self, InvalidSessionId> {
        if Self::is_valid(text.as_bytes()) {
            Ok(Self(text.into()))
        } else {
            // An id may come from a hostile file name: keep what is shown short.
            let text = text.chars().take(80).collect();
            Err(InvalidSessionId { text })
        }
    }

    fn is_valid(bytes: &[u8]) -> bool {
        let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        bytes.len() <= Self::MAX_LEN
            && bytes.first().is_some_and(word)
            && bytes.iter().all(|b| word(b) || matches!(b, b'_' | b'-'))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight characters, for people and for branch names.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..self.0.len().min(8)]
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0)
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl AsRef<str> for SessionId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_the_documented_form() {
        for good in [
            "a",
            "0",
            "36f675cc-81e7-4ef5-a8e2-5d940ed90475",
            "a_b-c",
            &"x".repeat(64),
        ] {
            assert_eq!(
                SessionId::parse(good).map(|id| id.to_string()),
                Ok(good.to_owned())
            );
        }
        let long = "x".repeat(65);
        let hostile = [
            "",
            ".",
            "..",
            "../x",
            "/etc/passwd",
            "%2F",
            "a/b",
            "a\0b",
            "A",
            "aB",
            "-a",
            "_a",
            ".hidden",
            "a.json",
            "ä",
            "a b",
            "\u{1b}[2J",
            &long,
        ];
        for bad in hostile {
            assert!(SessionId::parse(bad).is_err(), "{bad:?} must not be an id");
        }
    }

    #[test]
    fn an_error_never_echoes_control_characters() {
        let error = SessionId::parse("\u{1b}[2J")
            .expect_err("hostile")
            .to_string();
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }

    #[test]
    fn random_ids_are_valid_and_differ() {
        let (a, b) = (SessionId::random(), SessionId::random());
        assert_ne!(a, b);
        assert_eq!(SessionId::parse(a.as_str()), Ok(a));
    }
}
