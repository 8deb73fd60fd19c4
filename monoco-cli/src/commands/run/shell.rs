//! Words as a POSIX shell would be given them.

use std::borrow::Cow;

/// `words` in one line that a shell reads as just these words.
pub(super) fn quoted(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| one(word)).collect();
    words.join(" ")
}

fn one(word: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,+@%".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_reads_the_same_words() {
        let words = [
            "", "a b", "it's", "$(id)", "-x", "a\nb", "*", "~", "grüße", "a=b",
        ];
        let words = words.map(str::to_owned);
        let script = format!("printf '%s\\0' {}", quoted(&words));
        let ran = Command::new("sh")
            .args(["-c", &script])
            .output()
            .expect("sh is there");
        let read = String::from_utf8(ran.stdout).expect("text");
        assert_eq!(read.split_terminator('\0').collect::<Vec<_>>(), words);
        assert_eq!(
            quoted(&["plain".to_owned(), "--a=b/c".to_owned()]),
            "plain --a=b/c"
        );
    }
}
