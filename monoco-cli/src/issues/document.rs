//! The text of an issue as lines, and where in it the front matter is.

use crate::yaml::{Place, Span};

/// The longest front matter that is read, in bytes.
const MAX_FRONT_MATTER: usize = 64 << 10;

/// A text in lines, which end as YAML and LSP have it: with `\n`, `\r\n` or `\r`.
#[derive(Debug)]
pub(crate) struct Document<'t> {
    text: &'t str,
    /// Where each line begins, and where it ends without its end of line.
    lines: Vec<(usize, usize)>,
    /// The line of the second `---`.
    closed_at: Option<usize>,
}

/// A place for people (column in characters) and for LSP (in UTF-16 units), from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) utf16: usize,
}

/// From `start` up to, and without, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Range {
    pub(crate) start: Position,
    pub(crate) end: Position,
}

impl<'t> Document<'t> {
    /// Splits `text`.
    pub(crate) fn new(text: &'t str) -> Self {
        let mut document = Self {
            text,
            lines: lines(text),
            closed_at: None,
        };
        let is_fence = |line: &usize| document.line(*line).trim() == "---";
        if is_fence(&0) {
            document.closed_at = (1..document.n_lines()).find(is_fence);
        }
        document
    }

    pub(crate) fn n_lines(&self) -> usize {
        self.lines.len()
    }

    /// A line without its end; nothing where there is none.
    pub(crate) fn line(&self, line: usize) -> &'t str {
        let of = |&(start, end): &(usize, usize)| &self.text[start..end];
        self.lines.get(line).map_or("", of)
    }

    /// The text between the lines `---`, which begins on line 1.
    ///
    /// # Errors
    /// Where there is none, with what is wrong.
    pub(crate) fn front_matter(&self) -> Result<&'t str, &'static str> {
        if self.line(0).trim() != "---" {
            return Err("there is no front matter: expected `---` on the first line");
        }
        let Some(end) = self.closed_at else {
            return Err("the front matter does not end: expected a second line `---`");
        };
        let start = self.lines[1].0;
        let text = &self.text[start..self.lines[end].0];
        if text.len() > MAX_FRONT_MATTER {
            return Err("the front matter is longer than 64 KiB");
        }
        Ok(text)
    }

    /// The lines after the front matter, numbered.
    pub(crate) fn body(&self) -> impl Iterator<Item = (usize, &'t str)> {
        let first = self.closed_at.map_or(0, |end| end + 1);
        (first..self.n_lines()).map(|line| (line, self.line(line)))
    }

    /// The whole of a line, without the white space around it.
    pub(crate) fn span_of_line(&self, line: usize) -> Span {
        let text = self.line(line);
        let indent = text.len() - text.trim_start().len();
        let start = text[..indent].chars().count();
        let length = text.trim().chars().count();
        let place = |column| Place { line, column };
        Span {
            start: place(start),
            end: place(start + length),
        }
    }

    /// Where `span` is. What is beyond the text is at the end of its line, or the text.
    pub(crate) fn locate(&self, span: Span) -> Range {
        let start = self.position(span.start);
        Range {
            start,
            end: self.position(span.end).max(start),
        }
    }

    /// The place behind the last character.
    pub(crate) fn end(&self) -> Position {
        self.position(Place {
            line: usize::MAX,
            column: 0,
        })
    }

    fn position(&self, place: Place) -> Position {
        let last = self.n_lines() - 1;
        let column = if place.line > last {
            usize::MAX
        } else {
            place.column
        };
        let line = place.line.min(last);
        let text = self.line(line);
        // Most lines are; some are long, and have much in them.
        if text.is_ascii() {
            let column = column.min(text.len());
            return Position {
                line,
                column,
                utf16: column,
            };
        }
        let before = || text.chars().take(column);
        Position {
            line,
            column: before().count(),
            utf16: before().map(char::len_utf16).sum(),
        }
    }
}

/// Never empty: the empty text has one empty line.
fn lines(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut lines = Vec::with_capacity(bytes.len() / 32);
    let mut start = 0;
    let mut at = 0;
    while at < bytes.len() {
        let ended = match bytes[at] {
            b'\r' if bytes.get(at + 1) == Some(&b'\n') => 2,
            b'\n' | b'\r' => 1,
            _ => 0,
        };
        if ended > 0 {
            lines.push((start, at));
            start = at + ended;
        }
        at += ended.max(1);
    }
    lines.push((start, bytes.len()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_three_ways() {
        let document = Document::new("---\r\na: 1\n---\rbody\n");
        assert_eq!(document.front_matter(), Ok("a: 1\n"));
        let body: Vec<_> = document.body().collect();
        assert_eq!(body, [(3, "body"), (4, "")]);
    }

    #[test]
    fn front_matter_is_what_stands_between() {
        let refused = |text: &str| Document::new(text).front_matter().map(str::to_owned);
        assert!(refused("").is_err_and(|what| what.contains("first line")));
        assert!(refused("\n---\n---\n").is_err_and(|what| what.contains("first line")));
        assert!(refused("---\na: 1\n").is_err_and(|what| what.contains("second line")));
        assert_eq!(refused("---\n---"), Ok(String::new()));
        let long = format!("---\n{}\n---\n", "#".repeat(MAX_FRONT_MATTER));
        assert!(refused(&long).is_err_and(|what| what.contains("64 KiB")));
    }

    #[test]
    fn places_are_counted_in_characters_and_in_utf16() {
        let document = Document::new("持🦀x");
        let at = |line, column| {
            let place = Place { line, column };
            let range = document.locate(Span {
                start: place,
                end: place,
            });
            (range.start.line, range.start.column, range.start.utf16)
        };
        assert_eq!(at(0, 2), (0, 2, 3));
        assert_eq!(at(0, 99), (0, 3, 4));
        assert_eq!(at(7, 0), (0, 3, 4));
    }
}
