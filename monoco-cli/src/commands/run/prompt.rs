//! What an engine is told: the role's system prompt, the issue, the role's goal, and
//! what was typed, in that order, with an empty line between.

use std::path::Path;

/// Linux passes no longer argument, with the NUL at its end (execve(2): 32 pages). Some
/// of it is left to the words that a prompt is a part of.
const MAX_LEN: usize = 131_072 - 1024;

/// The parts of a prompt; what is not there leaves no trace.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Prompt<'a> {
    pub(super) system: Option<&'a str>,
    pub(super) issue: Option<Issue<'a>>,
    pub(super) goal: Option<&'a str>,
    pub(super) text: Option<&'a str>,
}

/// The issue that is worked on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Issue<'a> {
    pub(super) id: &'a str,
    /// Where it is written down.
    pub(super) path: Option<&'a Path>,
    pub(super) title: Option<&'a str>,
}

/// A prompt cannot be given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PromptError {
    /// There is nothing in it.
    #[error(
        "there is nothing to tell the engine: give it words before any `--`, -p TEXT, an issue (-i) or a role (-r)"
    )]
    Empty,
    /// The system would refuse it.
    #[error(
        "the prompt has {0} bytes, and no argument can have more than {MAX_LEN}; put it into a \
         file, and name that"
    )]
    TooLong(usize),
    /// It would end there.
    #[error("the prompt holds a NUL byte, which no argument can")]
    Nul,
}

impl Prompt<'_> {
    /// The whole.
    ///
    /// # Errors
    /// [`PromptError`].
    pub(super) fn compose(self) -> Result<String, PromptError> {
        let issue = self.issue.map(|issue| {
            let title = issue
                .title
                .map_or(String::new(), |title| format!(": {title}"));
            let path = issue.path.map(|path| format!("\nFile: {}", path.display()));
            format!("Issue {}{title}{}", issue.id, path.unwrap_or_default())
        });
        let parts = [self.system, issue.as_deref(), self.goal, self.text];
        let parts = parts.into_iter().flatten().map(str::trim_end);
        let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
        let prompt = parts.join("\n\n");
        match prompt.len() {
            0 => Err(PromptError::Empty),
            len if len > MAX_LEN => Err(PromptError::TooLong(len)),
            _ if prompt.contains('\0') => Err(PromptError::Nul),
            _ => Ok(prompt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_in_their_order() {
        let issue = Issue {
            id: "FEAT-101",
            path: Some(Path::new("Issues/Features/open/FEAT-101-x.md")),
            title: Some("Add x"),
        };
        let whole = Prompt {
            system: Some("You review.\n"),
            issue: Some(issue),
            goal: Some("Find faults."),
            text: Some("Look at main"),
        };
        insta::assert_snapshot!(whole.compose().expect("short"), @"
        You review.

        Issue FEAT-101: Add x
        File: Issues/Features/open/FEAT-101-x.md

        Find faults.

        Look at main
        ");
        let text = Prompt {
            text: whole.text,
            ..Prompt::default()
        };
        assert_eq!(text.compose().as_deref(), Ok("Look at main"));
        let unwritten = Prompt {
            issue: Some(Issue {
                path: None,
                title: None,
                ..issue
            }),
            text: Some(" "),
            ..Prompt::default()
        };
        assert_eq!(unwritten.compose().as_deref(), Ok("Issue FEAT-101"));
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        let check = |text: &str, expected| {
            let prompt = Prompt {
                text: Some(text),
                ..Prompt::default()
            };
            assert_eq!(prompt.compose(), Err(expected));
        };
        check("", PromptError::Empty);
        check(" \n", PromptError::Empty);
        check("a\0b", PromptError::Nul);
        check(&"x".repeat(200_000), PromptError::TooLong(200_000));
    }
}
