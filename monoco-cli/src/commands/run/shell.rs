//! Words as a POSIX shell would be given them, each on one line.

use std::borrow::Cow;
use std::fmt::Write;

/// `words` in one line that a shell reads as just these words.
pub(super) fn quoted(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| one(word)).collect();
    words.join(" ")
}

/// One word.
pub(super) fn one(word: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,+@%".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return Cow::Borrowed(word);
    }
    if word.contains(char::is_control) {
        return Cow::Owned(escaped(word));
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// Dollar-single-quotes, which POSIX has since 2024, and bash, zsh and ksh have had.
fn escaped(word: &str) -> String {
    let mut quoted = "$'".to_owned();
    for c in word.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\'' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    // Writing to a string does not fail.
                    let _ = write!(quoted, "\\{byte:03o}");
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The shell that is asked; one with dollar-single-quotes.
    const SHELL: &str = "bash";

    #[test]
    fn a_shell_reads_the_same_words() {
        let words = [
            "",
            "a b",
            "it's",
            "$(id)",
            "-x",
            "*",
            "~",
            "grüße",
            "a=b",
            "a\nb's \\n",
            "\u{1b}[2J9\u{9b}1",
        ];
        let words = words.map(str::to_owned);
        let line = quoted(&words);
        assert!(!line.contains(char::is_control));
        let script = format!("printf '%s\\0' {line}");
        let ran = Command::new(SHELL).args(["-c", &script]).output();
        let read = String::from_utf8(ran.expect("it is there").stdout).expect("text");
        assert_eq!(read.split_terminator('\0').collect::<Vec<_>>(), words);
        let plain = ["plain", "--a=b/c"].map(str::to_owned);
        assert_eq!(quoted(&plain), "plain --a=b/c");
    }
}
