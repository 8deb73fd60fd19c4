//! `- [x] text`, and what only looks like it.

use super::section::Section;
use crate::yaml::Span;

/// An item of a list that can be ticked off.
#[derive(Debug)]
pub(crate) struct Checkbox {
    pub(crate) span: Span,
    pub(crate) state: State,
    pub(crate) text: String,
    pub(crate) section: Section,
}

/// What stands between the brackets; `-` and `+` are how it once was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// `[ ]`
    Open,
    /// `[/]`, `[-]`
    Doing,
    /// `[x]`
    Done,
    /// `[~]`, `[+]`
    Cancelled,
}

impl State {
    fn parse(text: &str) -> Option<Self> {
        match text {
            " " => Some(Self::Open),
            "/" | "-" => Some(Self::Doing),
            "x" | "X" => Some(Self::Done),
            "~" | "+" => Some(Self::Cancelled),
            _ => None,
        }
    }
}

/// The checkbox that a line begins with, and its text.
///
/// # Errors
/// Where one seems to be meant, with what is wrong about it.
pub(super) fn read(line: &str) -> Result<Option<(State, &str)>, String> {
    let Some((item, spaced)) = item_of(line) else {
        return Ok(None);
    };
    let Some(inner) = item.strip_prefix('[') else {
        return Ok(None);
    };
    let Some((inner, after)) = inner.split_once(']') else {
        let is_open = inner.starts_with(' ') || inner.is_empty();
        let is_done = ["x ", "X "].iter().any(|begins| inner.starts_with(begins));
        return if is_open || is_done {
            Err("a checkbox that is not closed; expected `- [ ] text`".to_owned())
        } else {
            Ok(None)
        };
    };
    if is_something_else(inner, after) {
        return Ok(None);
    }
    let expected = "expected `- [ ]`, `- [x]`, `- [/]` or `- [~]`";
    match State::parse(inner) {
        Some(_) if !spaced => Err(format!("no space before `[{inner}]`; {expected}")),
        Some(_) if !(after.is_empty() || after.starts_with(char::is_whitespace)) => {
            Err(format!("no space after `[{inner}]`; {expected}"))
        }
        Some(state) => Ok(Some((state, after.trim()))),
        None if !spaced => Ok(None),
        None => Err(format!("`[{inner}]` is no state; {expected}")),
    }
}

/// The text of a line that begins with a checkbox.
pub(super) fn text_of(line: &str) -> Option<&str> {
    read(line).ok().flatten().map(|(_, text)| text)
}

/// The text of a list's item, and whether it keeps its distance from the bullet.
fn item_of(line: &str) -> Option<(&str, bool)> {
    let line = line.trim();
    let rest = match line.strip_prefix(['-', '*', '+']) {
        Some(rest) => rest,
        None => {
            let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
            let number = line.len() - digits.len();
            let rest = digits.strip_prefix(['.', ')'])?;
            (1..=9).contains(&number).then_some(rest)?
        }
    };
    let item = rest.trim_start();
    Some((item, item.len() < rest.len()))
}

/// Links, footnotes, citations, and words in brackets.
fn is_something_else(inner: &str, after: &str) -> bool {
    let inner = inner.trim();
    let is_link =
        after.starts_with(['(', '[', ':', ']']) || inner.starts_with(['[', '^', '@', '#']);
    let is_number = !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_digit());
    is_link || is_number || inner.chars().count() > 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_states() {
        for (text, state) in [
            ("- [ ] a", State::Open),
            ("  * [x] a", State::Done),
            ("1. [X] a", State::Done),
            ("+ [/]\ta", State::Doing),
            ("- [-] a", State::Doing),
            ("- [~] a", State::Cancelled),
            ("-   [+] a", State::Cancelled),
        ] {
            assert_eq!(read(text), Ok(Some((state, "a"))), "{text}");
        }
        assert_eq!(read("- [ ]"), Ok(Some((State::Open, ""))));
    }

    #[test]
    fn what_is_meant_as_one() {
        for text in [
            "- [] a",
            "- [  ] a",
            "- [v] a",
            "- [xx] a",
            "- [ x] a",
            "- [x]a",
            "-[ ] a",
            "- [✓] a",
            "- [ a",
            "- [x a",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not() {
        for text in [
            "",
            "-",
            "text",
            "- text",
            "[ ] a",
            "- [a link](x)",
            "- [x](y)",
            "- [1] book",
            "- [^1]: note",
            "- [[wiki]]",
            "- [note] a",
            "- [ref][x]",
            "-[x](y)",
            "12345678901. [ ] a",
            "- [a b",
        ] {
            assert_eq!(read(text), Ok(None), "{text}");
        }
    }
}
