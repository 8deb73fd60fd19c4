//! A log on a terminal: colours, tabs and line ends pass, every other control
//! character is made visible. What an agent printed cannot move the cursor, set
//! the title, or make the terminal answer.
//!
//! Works on a stream in chunks of any size with a state of fixed size.

use crate::output::sanitise::write_visible;

/// The longest colour sequence that passes, without `ESC [` and `m`.
const MAX_SGR: usize = 48;

/// What of a sequence has been seen so far.
#[derive(Debug, Default)]
enum State {
    #[default]
    Ground,
    /// ESC.
    Escape,
    /// ESC [ and digits, `;` or `:`.
    Sgr(Held<MAX_SGR>),
    /// The beginning of a character of `wanted` bytes.
    Character { held: Held<4>, wanted: usize },
}

/// A few bytes that wait for what follows.
#[derive(Debug, Clone, Copy)]
struct Held<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Held<N> {
    fn default() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }
}

impl<const N: usize> Held<N> {
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn is_full(&self) -> bool {
        self.len == N
    }
}

/// Makes a stream of bytes harmless to a terminal.
#[derive(Debug, Default)]
pub(crate) struct Neutraliser {
    state: State,
    coloured: bool,
}

impl Neutraliser {
    /// Appends what `chunk` may show to `out`.
    pub(crate) fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        while let Some((&byte, after)) = rest.split_first() {
            if matches!(self.state, State::Ground) {
                let plain = rest.iter().take_while(|byte| is_plain(**byte)).count();
                if plain > 0 {
                    out.extend_from_slice(&rest[..plain]);
                    rest = &rest[plain..];
                    continue;
                }
            }
            if self.step(byte, out) {
                rest = after;
            }
        }
    }

    /// Appends what still waits for its continuation, and ends colours.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.give_up(out);
        if std::mem::take(&mut self.coloured) {
            out.extend_from_slice(b"\x1b[0m");
        }
    }

    /// Takes one byte; false when it has to be looked at again.
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) -> bool {
        match &mut self.state {
            State::Ground => {
                self.state = begin(byte, out);
                true
            }
            State::Escape if byte == b'[' => {
                self.state = State::Sgr(Held::default());
                true
            }
            State::Sgr(held) if byte == b'm' => {
                out.extend_from_slice(b"\x1b[");
                out.extend_from_slice(held.as_slice());
                out.push(b'm');
                self.coloured = !matches!(held.as_slice(), b"" | b"0");
                self.state = State::Ground;
                true
            }
            State::Sgr(held)
                if (byte.is_ascii_digit() || matches!(byte, b';' | b':')) && !held.is_full() =>
            {
                held.push(byte);
                true
            }
            State::Character { held, wanted } if (0x80..=0xbf).contains(&byte) => {
                held.push(byte);
                if held.len == *wanted {
                    write_character(held.as_slice(), out);
                    self.state = State::Ground;
                }
                true
            }
            State::Escape | State::Sgr(_) | State::Character { .. } => {
                self.give_up(out);
                false
            }
        }
    }

    /// Shows what turned out to be neither a colour nor a character.
    fn give_up(&mut self, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.state) {
            State::Ground => {}
            State::Escape => out.extend_from_slice(b"^["),
            State::Sgr(held) => {
                out.extend_from_slice(b"^[[");
                out.extend_from_slice(held.as_slice());
            }
            State::Character { held, .. } => write_bytes(held.as_slice(), out),
        }
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')
}

/// The state after the first byte of something that is not plain.
fn begin(byte: u8, out: &mut Vec<u8>) -> State {
    let wanted = match byte {
        0x1b => return State::Escape,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        0..=0x7f => {
            write_control(char::from(byte), out);
            return State::Ground;
        }
        _ => {
            write_bytes(&[byte], out);
            return State::Ground;
        }
    };
    let mut held = Held::default();
    held.push(byte);
    State::Character { held, wanted }
}

fn write_character(bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => match text.chars().next() {
            Some(c) if c.is_control() => write_control(c, out),
            _ => out.extend_from_slice(bytes),
        },
        Err(_) => write_bytes(bytes, out),
    }
}

fn write_control(c: char, out: &mut Vec<u8>) {
    let mut visible = String::new();
    write_visible(&mut visible, c);
    out.extend_from_slice(visible.as_bytes());
}

/// Bytes that are no text.
fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_chunks(input: &[u8], size: usize) -> String {
        let (mut neutraliser, mut out) = (Neutraliser::default(), Vec::new());
        for chunk in input.chunks(size) {
            neutraliser.push(chunk, &mut out);
        }
        neutraliser.finish(&mut out);
        String::from_utf8(out).expect("what is shown is text")
    }

    /// The same comes out however the input is cut.
    fn check(input: impl AsRef<[u8]>, expected: &str) {
        for size in 1..=input.as_ref().len().max(1) {
            assert_eq!(
                in_chunks(input.as_ref(), size),
                expected,
                "in chunks of {size}"
            );
        }
    }

    #[test]
    fn text_and_colours_pass() {
        check("plain\ttext\r\nnext", "plain\ttext\r\nnext");
        check("grüße 漢字 🦀", "grüße 漢字 🦀");
        check("\u{1b}[1;31mred\u{1b}[0m", "\u{1b}[1;31mred\u{1b}[0m");
        check("\u{1b}[38:5:9mx\u{1b}[m", "\u{1b}[38:5:9mx\u{1b}[m");
    }

    #[test]
    fn a_colour_that_is_left_on_is_ended() {
        check("\u{1b}[31mred", "\u{1b}[31mred\u{1b}[0m");
    }

    #[test]
    fn everything_else_becomes_visible() {
        check("\u{1b}[2J\u{1b}[1;1H", "^[[2J^[[1;1H");
        check("\u{1b}]0;owned\u{7}", "^[]0;owned^G");
        check("\u{1b}]52;c;AAAA\u{1b}\\", "^[]52;c;AAAA^[\\");
        check("\u{1b}P$q\u{1b}\\\u{1b}c", "^[P$q^[\\^[c");
        check("\u{1b}[>4;2m", "^[[>4;2m");
        check("\u{1b}\u{1b}[31\u{1b}", "^[^[[31^[");
        check("a\u{8}b\u{b}\u{c}\0\u{7f}", "a^Hb^K^L^@^?");
        check("\u{9b}2J\u{9d}0;x\u{9c}", "M-^[2JM-^]0;xM-^\\");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such() {
        check(b"\x9b2J", "\\x9b2J");
        check(b"\xff\xfe", "\\xff\\xfe");
        check(b"\xc3(", "\\xc3(");
        check(b"\xe2\x82", "\\xe2\\x82");
        check(b"\xe2\x82\x1b[2J", "\\xe2\\x82^[[2J");
        check(b"\xc0\x9b", "\\xc0\\x9b");
        check(b"\xe0\x82\x9b", "\\xe0\\x82\\x9b");
        check(b"\xf0\x9f\xa6a", "\\xf0\\x9f\\xa6a");
    }

    #[test]
    fn an_endless_colour_is_cut_off() {
        let endless = format!("\u{1b}[{}m", "1;".repeat(40));
        check(&endless, &format!("^[[{}m", "1;".repeat(40)));
    }
}
