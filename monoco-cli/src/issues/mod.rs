//! Issues: markdown files with front matter below a project's `Issues` folder, as
//! the original program keeps them. They are read and judged here, never written.
//!
//! ```text
//! Issues/<Features, Epics, …>/<open, closed, backlog>/FEAT-0101-title.md
//! ```

mod body;
mod document;
pub(crate) mod find;
pub(crate) mod front_matter;
pub(crate) mod lint;
mod read;
pub(crate) mod report;
pub(crate) mod tree;

pub(crate) use find::files_of;
pub(crate) use tree::{TreeError, is_id};

/// The folder of a project that holds its issues.
pub(crate) const FOLDER: &str = "Issues";
