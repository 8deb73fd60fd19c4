//! The ids of conversations, which agents give or are given.
//!
//! They become arguments of an agent's program, and may have been read from what
//! another agent printed: so they are checked wherever they come from.

use std::fmt;

/// The longest id of a conversation, in bytes.
const MAX_LEN: usize = 128;

/// The text cannot be a conversation's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidConversationId(String);

impl fmt::Display for InvalidConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a conversation's id: expected 1 to {MAX_LEN} of A-Z, a-z, 0-9, `.`, `_`, `:` and `-`, not beginning with `-`",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for InvalidConversationId {}

/// Whether `text` can be a conversation's id: `[A-Za-z0-9._:-]{1,128}`, not beginning
/// with `-`, which a program could take for one of its flags.
///
/// # Errors
/// When it cannot.
pub fn check_conversation_id(text: &str) -> Result<(), InvalidConversationId> {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
    let is_id = (1..=MAX_LEN).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(is_letter);
    if is_id {
        return Ok(());
    }
    // It may come from a hostile place: keep what is shown short.
    Err(InvalidConversationId(text.chars().take(80).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_flag_or_a_path_is_no_id() {
        let longest = "a".repeat(MAX_LEN);
        for id in [
            "36f675cc-81e7-4ef5-a8e2-5d940ed90475",
            "ses_7:A.b",
            "0",
            &longest,
        ] {
            assert_eq!(check_conversation_id(id), Ok(()), "{id}");
        }
        let too_long = "a".repeat(MAX_LEN + 1);
        for no_id in [
            "", "-", "--resume", "a b", "a/b", "ä", "a\n", "\0", &too_long,
        ] {
            assert!(check_conversation_id(no_id).is_err(), "{no_id}");
        }
    }
}
