//! Errors in one line.

use std::error::Error;

/// An error with its sources, each link once: `cannot open /p: permission denied`.
#[must_use]
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut source = error.source();
    while let Some(error) = source {
        let link = error.to_string();
        // A transparent wrapper says what its source says.
        if !last.ends_with(&link) {
            text.push_str(": ");
            text.push_str(&link);
        }
        last = link;
        source = error.source();
    }
    text
}
