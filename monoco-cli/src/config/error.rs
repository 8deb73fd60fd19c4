//! Why the configuration cannot be used.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::text_file::Refusal;

/// A place in a file, as editors count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
}

impl Place {
    /// The place of a byte of `text`.
    pub(super) fn of(path: PathBuf, text: &str, offset: usize) -> Self {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            path,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// The configuration cannot be used. What it says is never guessed at: a command
/// that depends on it does nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file, or its folder, is not to be read.
    #[error("cannot read the configuration {}", path.display())]
    Read { path: PathBuf, source: Refusal },
    /// Something in a file is wrong.
    #[error("cannot use the configuration {place}: {problem}")]
    File { place: Place, problem: String },
    /// A variable is wrong.
    #[error("cannot use the environment variable {variable}: {problem}")]
    Environment { variable: String, problem: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters() {
        let check = |text, offset, expected: &str| {
            let place = Place::of("f".into(), text, offset).to_string();
            assert_eq!(place, expected, "{text:?} at {offset}");
        };
        check("", 0, "f:1:1");
        check("ab", 1, "f:1:2");
        check("a\nb", 2, "f:2:1");
        check("ä\nöü", 5, "f:2:2");
        check("ä", 1, "f:1:1");
        check("a\n", 99, "f:2:1");
    }
}
