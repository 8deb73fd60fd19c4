//! Text of unknown origin on one line: nothing in it can move the cursor, end
//! the line, or turn the text around.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` with every control character made visible.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| (b' '..=b'~').contains(&b)) || !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmful(c) {
            write_visible(&mut visible, c);
        } else {
            visible.push(c);
        }
    }
    Cow::Owned(visible)
}

/// Control characters (C0, DEL, C1), line separators, and those that change the
/// direction of text (Unicode Standard Annex 9).
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}'
        )
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Caret notation, as cat(1) shows it with `-v`; `<U+202E>` for what has none.
pub(crate) fn write_visible(out: &mut String, c: char) {
    let caret = |code: u32| char::from_u32(code ^ 0x40).unwrap_or('?');
    // Writing to a string does not fail.
    let _ = match u32::from(c) {
        code @ (0..=0x1f | 0x7f) => write!(out, "^{}", caret(code)),
        code @ 0x80..=0x9f => write!(out, "M-^{}", caret(code - 0x80)),
        code => write!(out, "<U+{code:04X}>"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(line(text), expected);
    }

    #[test]
    fn control_characters_become_visible() {
        check("plain text ~", "plain text ~");
        check("grüße 漢字 🦀", "grüße 漢字 🦀");
        check("\u{1b}[2J\u{1b}]0;title\u{7}", "^[[2J^[]0;title^G");
        check("a\nb\tc\rd\0\u{7f}", "a^Jb^Ic^Md^@^?");
        check("\u{9b}31m\u{85}", "M-^[31mM-^E");
        check("\u{202e}txt.exe\u{2028}", "<U+202E>txt.exe<U+2028>");
    }
}
