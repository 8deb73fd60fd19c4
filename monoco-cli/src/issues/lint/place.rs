//! Whether a file is called, and is, where its fields say.

use super::{Findings, Issue, Rule};
use crate::issues::front_matter::bare;
use crate::issues::tree;

pub(super) fn check(issue: &Issue<'_>, findings: &mut Findings<'_, '_>) {
    file_name(issue, findings);
    status_folder(issue, findings);
}

fn file_name(issue: &Issue<'_>, findings: &mut Findings<'_, '_>) {
    let Some(id) = issue.front.id.field() else {
        return;
    };
    let name = issue.path.file_name().unwrap_or_default().to_string_lossy();
    let bare = bare(&id.value);
    if !tree::belongs_to(&name, bare) {
        let message =
            format!("the id is {bare}, but the file is called {name}; expected {bare}-title.md");
        findings.add(Rule::IdFileName, id.span, message);
    }
}

fn status_folder(issue: &Issue<'_>, findings: &mut Findings<'_, '_>) {
    let (Some(status), Some((folder, of))) =
        (issue.front.status.field(), tree::status_of(issue.path))
    else {
        return;
    };
    if of != Some(status.value) {
        let word = status.value.word();
        let message = format!("the status is {word}, but the file is in the folder {folder}");
        findings.add(Rule::StatusFolder, status.span, message);
    }
}
