//! What an issue refers to, and how it can be found by it.

use std::path::Path;

use super::{Findings, Issue, Rule};
use crate::issues::front_matter::{Field, FrontMatter, bare};

pub(super) fn check(issue: &Issue<'_>, findings: &mut Findings<'_, '_>) {
    heading(issue, findings);
    tags(issue, findings);
    hashes(issue, findings);
    if let Some(project) = issue.project {
        files(issue, project, findings);
    }
}

/// The other issues that are named, with the field that names them.
pub(super) fn references(
    front: &FrontMatter,
) -> impl Iterator<Item = (&'static str, &Field<String>)> {
    let parent = front.parent.field().map(|id| ("parent", id));
    let dependencies = front.dependencies.iter().map(|id| ("dependencies", id));
    let related = front.related.iter().map(|id| ("related", id));
    parent.into_iter().chain(dependencies).chain(related)
}

fn heading(issue: &Issue<'_>, findings: &mut Findings<'_, '_>) {
    let (Some(id), Some(title)) = (issue.front.id.field(), issue.front.title.field()) else {
        return;
    };
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let id = bare(&id.value);
    let expected = words(&format!("{id}: {}", title.value));
    let headings = &issue.body.headings;
    if headings
        .iter()
        .any(|heading| heading.level == 2 && words(&heading.text) == expected)
    {
        return;
    }
    let almost = headings.iter().find(|heading| heading.text.starts_with(id));
    let (span, what) = match almost {
        Some(heading) => (heading.span, "differs"),
        None => (title.span, "is missing"),
    };
    let message = format!("the heading {what}; expected `## {expected}`");
    findings.add(Rule::MissingHeading, span, message);
}

fn tags(issue: &Issue<'_>, findings: &mut Findings<'_, '_>) {
    let front = issue.front;
    let own = front.id.field().map(|id| ("id", id));
    let mut seen = Vec::new();
    for (field, id) in own.into_iter().chain(references(front)) {
        let tag = format!("#{}", bare(&id.value));
        let is_there = front.tags.iter().any(|there| there.value == tag);
        if !is_there && !seen.contains(&tag) {
            let message = format!("the tag '{tag}' is missing, which `{field}` asks for");
            findings.add(Rule::MissingTag, front.tags_at, message);
            seen.push(tag);
        }
    }
}

fn hashes(issue: &Issue<'_>, findings: &mut Findings<'_, '_>) {
    let own = issue.front.id.field().map(|id| ("id", id));
    for (field, id) in own.into_iter().chain(references(issue.front)) {
        if id.value.starts_with('#') {
            let expected = bare(&id.value);
            let message = format!("`{field}` is written with `#`; expected {expected}");
            findings.add(Rule::HashInId, id.span, message);
        }
    }
}

fn files(issue: &Issue<'_>, project: &Path, findings: &mut Findings<'_, '_>) {
    let is_pattern = |file: &str| file.contains(['*', '?']);
    for file in &issue.front.files {
        let name = file.value.as_str();
        // What cannot be looked at may well be there.
        let exists = || project.join(name).symlink_metadata().is_ok();
        if !is_pattern(name) && !exists() {
            let message = format!("there is no file {name} in the project");
            findings.add(Rule::MissingFile, file.span, message);
        }
    }
}
