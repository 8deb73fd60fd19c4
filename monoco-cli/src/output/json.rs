//! Sessions as JSON: the record as it is true, with `liveness` beside it.
//!
//! Every element is written straight from the record, one per line, with no tree
//! in between: a listing costs what its records cost.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, Write};

use serde::{Serialize, Serializer};
use session_core::{Damaged, Observation, SessionId};

use crate::describe;
use crate::error::CliError;
use crate::output::{self, Terminal};

/// One element of a listing.
#[derive(Debug)]
pub(crate) enum Element<'a> {
    /// A session that could be read.
    Seen(&'a Observation),
    /// A record that cannot be read.
    Damaged(&'a Damaged),
    /// A session whose record was removed.
    Removed(&'a SessionId),
}

impl Element<'_> {
    /// The session's id; the file's name where a damaged record's is none.
    pub(crate) fn id(&self) -> Cow<'_, str> {
        match self {
            Self::Seen(seen) => seen.session.id.as_str().into(),
            Self::Damaged(damaged) => describe::damaged_name(damaged).into(),
            Self::Removed(id) => id.as_str().into(),
        }
    }
}

impl Serialize for Element<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Seen(seen) => seen.serialize(serializer),
            Self::Damaged(damaged) => damaged.serialize(serializer),
            Self::Removed(id) => Removed {
                id,
                status: "removed",
            }
            .serialize(serializer),
        }
    }
}

#[derive(Serialize)]
struct Removed<'a> {
    id: &'a SessionId,
    status: &'static str,
}

/// Writes an array of elements, one per line.
pub(crate) fn write_array(
    out: &mut impl Write,
    elements: impl Iterator<Item = Box<[u8]>>,
) -> io::Result<()> {
    out.write_all(b"[")?;
    let mut between: &[u8] = b"\n";
    let mut any = false;
    for element in elements {
        out.write_all(between)?;
        out.write_all(&element)?;
        between = b",\n";
        any = true;
    }
    out.write_all(if any { b"\n]\n" } else { b"]\n" })
}

/// An element as text; see [`write_element`].
pub(crate) fn to_text(element: &Element<'_>, terminal: bool) -> Box<[u8]> {
    // A hundred thousand of them are kept at once: each as small as it can be.
    thread_local!(static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        write_element(scratch, element, terminal).expect("writing to memory does not fail");
        scratch.as_slice().into()
    })
}

/// Writes one element. What JSON leaves as it is, but a terminal obeys (DEL and
/// C1), is escaped for terminals.
pub(crate) fn write_element(
    out: &mut impl Write,
    element: &impl Serialize,
    terminal: bool,
) -> io::Result<()> {
    if !terminal {
        return Ok(serde_json::to_writer(out, element)?);
    }
    write_for_terminal(out, &serde_json::to_string(element)?)
}

/// Writes JSON with what a terminal obeys escaped.
pub(crate) fn write_for_terminal(out: &mut impl Write, json: &str) -> io::Result<()> {
    // Outside of strings JSON has no such characters.
    for part in json.split_inclusive(char::is_control) {
        let control = part.chars().next_back().filter(|c| c.is_control());
        let text = &part[..part.len() - control.map_or(0, char::len_utf8)];
        out.write_all(text.as_bytes())?;
        if let Some(c) = control {
            write!(out, "\\u{:04x}", u32::from(c))?;
        }
    }
    Ok(())
}

/// Prints one value on one line of standard output.
pub(crate) fn print(value: &impl Serialize) -> Result<(), CliError> {
    let terminal = Terminal::of_stdout().is_some();
    let mut out = output::stdout();
    let written = write_element(&mut out, value, terminal);
    output::written(
        written
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush()),
    )
}

/// Prints an array on standard output, one element per line.
pub(crate) fn print_array<T: Serialize>(values: &[T]) -> Result<(), CliError> {
    let terminal = Terminal::of_stdout().is_some();
    let to_text = |value| -> io::Result<Box<[u8]>> {
        let mut text = Vec::new();
        write_element(&mut text, value, terminal)?;
        Ok(text.into())
    };
    let texts: io::Result<Vec<_>> = values.iter().map(to_text).collect();
    let mut out = output::stdout();
    let written = texts.and_then(|texts| write_array(&mut out, texts.into_iter()));
    output::written(written.and_then(|()| out.flush()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use session_core::process::Unknowable;
    use session_core::{Liveness, LostCause, parse_record};

    fn seen(liveness: Liveness) -> Observation {
        let record = "{\"id\":\"a\",\"issue_id\":\"I\u{9b}2J\",\"role_name\":\"R\",\
            \"status\":\"running\",\"branch_name\":\"b\",\"pid\":42,\
            \"created_at\":\"2026-01-01T00:00:00Z\",\"updated_at\":\"2026-01-01T00:00:00Z\",\
            \"theirs\":{\"n\":1.50, \"status\":\"x\"}}";
        let session = parse_record(record.as_bytes()).expect("a record");
        Observation { session, liveness }
    }

    fn render(liveness: Liveness, terminal: bool) -> String {
        let seen = seen(liveness);
        let mut out = Vec::new();
        let element = to_text(&Element::Seen(&seen), terminal);
        write_array(&mut out, [element].into_iter()).expect("a vector");
        String::from_utf8(out).expect("JSON is text")
    }

    #[test]
    fn a_session_is_its_record_with_liveness() {
        insta::assert_snapshot!(render(Liveness::Owned, true), @r#"
        [
        {"id":"a","issue_id":"I\u009b2J","role_name":"R","status":"running","branch_name":"b","pid":42,"created_at":"2026-01-01T00:00:00+00:00","updated_at":"2026-01-01T00:00:00+00:00","theirs":{"n":1.50, "status":"x"},"liveness":"owned"}
        ]
        "#);
    }

    #[test]
    fn a_lost_session_is_shown_as_it_will_be_recorded() {
        insta::assert_snapshot!(render(Liveness::Lost(LostCause::Reboot), true), @r#"
        [
        {"id":"a","issue_id":"I\u009b2J","role_name":"R","status":"terminated","branch_name":"b","pid":42,"created_at":"2026-01-01T00:00:00+00:00","updated_at":"2026-01-01T00:00:00+00:00","outcome":{"kind":"lost","cause":"reboot"},"theirs":{"n":1.50, "status":"x"},"liveness":"lost"}
        ]
        "#);
    }

    #[test]
    fn what_cannot_be_told_is_unknown() {
        let liveness = Liveness::Unknown(Unknowable::OtherHost("elsewhere".into()));
        insta::assert_snapshot!(render(liveness, true), @r#"
        [
        {"id":"a","issue_id":"I\u009b2J","role_name":"R","status":"unknown","branch_name":"b","pid":42,"created_at":"2026-01-01T00:00:00+00:00","updated_at":"2026-01-01T00:00:00+00:00","theirs":{"n":1.50, "status":"x"},"liveness":"unknown","liveness_reason":"it runs on another host (elsewhere)"}
        ]
        "#);
    }

    #[test]
    fn a_pipe_gets_the_characters_and_a_terminal_their_names() {
        let of = |terminal| render(Liveness::Owned, terminal);
        assert!(of(false).contains('\u{9b}') && !of(true).contains('\u{9b}'));
        let parse = |json: &str| serde_json::from_str::<serde_json::Value>(json).expect("JSON");
        assert_eq!(parse(&of(false)), parse(&of(true)));
    }

    #[test]
    fn nothing_is_an_empty_array() {
        let mut out = Vec::new();
        write_array(&mut out, std::iter::empty()).expect("a vector");
        assert_eq!(out, b"[]\n");
    }
}
