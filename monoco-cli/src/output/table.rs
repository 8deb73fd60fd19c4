//! A table for people: columns as wide as they need to be, cut where the
//! terminal ends. One line per row, whatever the cells hold.

use std::borrow::Cow;
use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::error::CliError;
use crate::output::{self, Terminal, sanitise};

const GAP: &str = "  ";
/// No column is made narrower than this.
const NARROWEST: usize = 6;
/// The last column gives way to the others down to this.
const NARROW: usize = 12;

/// How a cell stands out on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    #[default]
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

impl Style {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Red => Some("31"),
            Self::Green => Some("32"),
            Self::Yellow => Some("33"),
        }
    }
}

/// One cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::styled(text, Style::Plain)
    }

    /// Control characters become visible here, so no cell can hold any.
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        let text = text.into();
        let text = match sanitise::line(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(visible) => visible,
        };
        Self { text, style }
    }

    fn width(&self) -> usize {
        self.text.width()
    }
}

/// Rows of `N` cells under headings.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    headings: [&'static str; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(headings: [&'static str; N]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// Writes the table: no wider than `columns`, where there are any, except
    /// that the first column is always whole. A column whose cells are all empty
    /// is left out.
    pub(crate) fn write(
        &self,
        out: &mut impl Write,
        columns: Option<usize>,
        colour: bool,
    ) -> io::Result<()> {
        let widths = self.widths(columns);
        let headings = self
            .headings
            .map(|heading| Cell::styled(heading, Style::Bold));
        for row in std::iter::once(&headings).chain(&self.rows) {
            write_row(out, row, &widths, colour)?;
        }
        Ok(())
    }

    /// Prints the table on standard output, as wide as the terminal is.
    pub(crate) fn print(&self) -> Result<(), CliError> {
        let terminal = Terminal::of_stdout();
        let columns = terminal.map(|terminal| terminal.columns);
        let colour = terminal.is_some_and(|terminal| terminal.colour);
        let mut out = output::stdout();
        let written = self.write(&mut out, columns, colour);
        output::written(written.and_then(|()| out.flush()))
    }

    fn widths(&self, columns: Option<usize>) -> [usize; N] {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let is_empty = |width: usize| width == 0 && !self.rows.is_empty();
        for (width, heading) in widths.iter_mut().zip(self.headings) {
            if !is_empty(*width) {
                *width = (*width).max(heading.len());
            }
        }
        if let Some(columns) = columns {
            shrink(&mut widths, columns);
        }
        widths
    }
}

/// Takes from the last column first, then from the widest one, until the row
/// fits, or nothing can give.
fn shrink<const N: usize>(widths: &mut [usize; N], columns: usize) {
    let total = |widths: &[usize; N]| {
        let shown = widths.iter().filter(|width| **width > 0).count();
        widths.iter().sum::<usize>() + shown.saturating_sub(1) * GAP.len()
    };
    let excess = total(widths).saturating_sub(columns);
    if let Some(last) = widths.last_mut() {
        *last -= excess.min(last.saturating_sub(NARROW));
    }
    while total(widths) > columns {
        let excess = total(widths) - columns;
        let Some(widest) = widths.iter_mut().skip(1).max_by_key(|width| **width) else {
            return;
        };
        if *widest <= NARROWEST {
            return;
        }
        // By halves, so that one long column does not cost the next one all it has.
        *widest -= excess.min((*widest - NARROWEST).div_ceil(2));
    }
}

fn write_row<const N: usize>(
    out: &mut impl Write,
    row: &[Cell; N],
    widths: &[usize; N],
    colour: bool,
) -> io::Result<()> {
    let last = widths.iter().rposition(|width| *width > 0).unwrap_or(0);
    for (i, (cell, &width)) in row.iter().zip(widths).enumerate() {
        if width == 0 {
            continue;
        }
        let (text, used) = fit(&cell.text, width);
        match cell.style.code().filter(|_| colour) {
            Some(code) => write!(out, "\x1b[{code}m{text}\x1b[0m")?,
            None => out.write_all(text.as_bytes())?,
        }
        if i < last {
            write!(out, "{:pad$}{GAP}", "", pad = width - used)?;
        }
    }
    out.write_all(b"\n")
}

/// `text` cut to `width` columns, and how many of them it fills.
fn fit(text: &str, width: usize) -> (Cow<'_, str>, usize) {
    let whole = text.width();
    if whole <= width {
        return (Cow::Borrowed(text), whole);
    }
    let (mut cut, mut used) = (String::new(), 0);
    for c in text.chars() {
        let columns = c.width().unwrap_or(0);
        if used + columns >= width {
            break;
        }
        cut.push(c);
        used += columns;
    }
    cut.push('…');
    (Cow::Owned(cut), used + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(rows: &[[&str; 3]], columns: Option<usize>) -> String {
        let mut table = Table::new(["ID", "NAME", "COMMAND"]);
        for row in rows {
            table.push(row.map(Cell::new));
        }
        let mut out = Vec::new();
        table
            .write(&mut out, columns, false)
            .expect("a vector takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        insta::assert_snapshot!(render(&[["a1", "grüße", "x"], ["b2", "漢字", "y z"]], None), @"
        ID  NAME   COMMAND
        a1  grüße  x
        b2  漢字   y z
        ");
    }

    #[test]
    fn an_empty_column_is_left_out_unless_all_are() {
        insta::assert_snapshot!(render(&[["a", "", "x"]], None), @"
        ID  COMMAND
        a   x
        ");
        insta::assert_snapshot!(render(&[], None), @"ID  NAME  COMMAND");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let long = "漢字 and a command that goes on and on ".repeat(9);
        let rows = [["36f675cc", "a-name-that-is-rather-long", long.as_str()]];
        for columns in 30..120 {
            for line in render(&rows, Some(columns)).lines() {
                assert!(line.width() <= columns, "{columns}: {line}");
                assert!(line.starts_with("ID ") || line.starts_with("36f675cc"));
            }
        }
        assert!(
            render(&rows, None).contains(&long),
            "nothing is cut without a terminal"
        );
    }

    #[test]
    fn a_cell_cannot_end_its_line() {
        let shown = render(&[["a", "x\ny\u{1b}[2J", "\u{9b}H"]], None);
        assert_eq!(shown.lines().count(), 2);
        assert!(!shown.contains(['\u{1b}', '\u{9b}']));
    }

    #[test]
    fn colours_do_not_count() {
        let mut table = Table::new(["A", "B"]);
        table.push([Cell::styled("x", Style::Green), Cell::new("y")]);
        let mut out = Vec::new();
        table
            .write(&mut out, Some(40), true)
            .expect("a vector takes everything");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "\u{1b}[1mA\u{1b}[0m  \u{1b}[1mB\u{1b}[0m\n\u{1b}[32mx\u{1b}[0m  y\n"
        );
    }
}
