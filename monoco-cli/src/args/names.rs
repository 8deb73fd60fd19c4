//! What sessions, issues and roles may be called.

/// The longest name, in bytes.
const MAX_NAME_LEN: usize = 64;
/// The longest issue or role, in bytes.
const MAX_WORD_LEN: usize = 200;

/// A session's name: `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}`, as docker has them.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let inner = |b: &u8| b.is_ascii_alphanumeric() || b"_.-".contains(b);
    let bytes = text.as_bytes();
    let valid = bytes.len() <= MAX_NAME_LEN
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(inner);
    check(
        text,
        valid,
        "a name is 1 to 64 of A-Z, a-z, 0-9, `_`, `.` and `-`, beginning with a letter or a digit",
    )
}

/// An issue: part of the branch's name, so what git refuses there is refused
/// here (git-check-ref-format(1)).
pub(crate) fn issue(text: &str) -> Result<String, String> {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.ends_with('.')
            && !part.ends_with(".lock")
    };
    let valid = text.len() <= MAX_WORD_LEN
        && !text.contains(forbidden)
        && !text.contains("..")
        && !text.contains("@{")
        && text.split('/').all(part);
    check(
        text,
        valid,
        "an issue becomes part of a git branch's name: expected letters and digits, such as \
         FEAT-101, without spaces, `..` or any of ~^:?*[\\",
    )
}

/// A role: any words on one line.
pub(crate) fn role(text: &str) -> Result<String, String> {
    let valid =
        !text.trim().is_empty() && text.len() <= MAX_WORD_LEN && !text.contains(char::is_control);
    check(text, valid, "a role is a few words on one line")
}

fn check(text: &str, valid: bool, expected: &str) -> Result<String, String> {
    if valid {
        Ok(text.to_owned())
    } else {
        Err(expected.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_all(rule: fn(&str) -> Result<String, String>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(rule(text), Ok((*text).to_owned()));
        }
        for text in bad {
            assert!(rule(text).is_err(), "{text:?}");
        }
        assert!(rule(&"x".repeat(201)).is_err());
    }

    #[test]
    fn names_are_as_docker_has_them() {
        check_all(
            name,
            &["a", "Review_2", "0.x-y"],
            &["", "-a", ".a", "_a", "a b", "a/b", "ä", "a\n", "\u{1b}[2J"],
        );
        assert!(name(&"x".repeat(64)).is_ok() && name(&"x".repeat(65)).is_err());
    }

    #[test]
    fn an_issue_fits_into_a_branch() {
        check_all(
            issue,
            &["FEAT-101", "a/b", "ünïcode", "#12", "x.y", "NEW_TASK"],
            &[
                "",
                "/a",
                "a/",
                "a//b",
                ".a",
                "a.",
                "a/.b",
                "a..b",
                "a b",
                "a\tb",
                "a~b",
                "a^b",
                "a:b",
                "a?b",
                "a*b",
                "a[b",
                "a\\b",
                "a\u{7f}b",
                "a.lock",
                "a@{b",
                "\u{1b}[2J",
            ],
        );
    }

    #[test]
    fn a_role_is_one_line() {
        check_all(
            role,
            &["Engineer", "Code Reviewer"],
            &["", " ", "a\nb", "\u{9b}2J"],
        );
    }
}
