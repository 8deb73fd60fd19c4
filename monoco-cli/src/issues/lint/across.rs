//! What only shows when issues are seen together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Checked, Finding, Rule};
use crate::issues::document::Range;
use crate::issues::front_matter::{ROOT, is_elsewhere};
use crate::issues::tree;

/// Compares the files of one `Issues` folder, or, where `has_all` is not so, files
/// that are in none: what those refer to may well be elsewhere.
pub(super) fn check(checked: &mut [Checked], has_all: bool) {
    let mut by_id: HashMap<String, Vec<PathBuf>> = HashMap::with_capacity(checked.len());
    for file in &*checked {
        if let Some((id, _)) = &file.id {
            by_id.entry(id.clone()).or_default().push(file.path.clone());
        }
    }
    for file in checked {
        duplicates(file, &by_id);
        if has_all {
            unknown(file, &by_id);
        } else {
            unchecked(file);
        }
    }
}

fn duplicates(file: &mut Checked, by_id: &HashMap<String, Vec<PathBuf>>) {
    let Some((id, range)) = &file.id else { return };
    let mut paths = by_id.get(id).into_iter().flatten();
    if let Some(other) = paths.find(|path| **path != file.path) {
        let project = tree::folder_of(other).and_then(Path::parent);
        let relative = project.and_then(|project| other.strip_prefix(project).ok());
        let other = relative.unwrap_or(other);
        file.findings.push(Finding {
            rule: Rule::DuplicateId,
            range: *range,
            message: format!("{id} is also the id of {}", other.display()),
        });
    }
}

fn unknown(file: &mut Checked, by_id: &HashMap<String, Vec<PathBuf>>) {
    let exists = |id: &str| id == ROOT || is_elsewhere(id) || by_id.contains_key(id);
    for reference in file
        .references
        .iter()
        .filter(|reference| !exists(&reference.id))
    {
        file.findings.push(Finding {
            rule: Rule::UnknownReference,
            range: reference.range,
            message: format!("`{}`: there is no issue {}", reference.field, reference.id),
        });
    }
}

fn unchecked(file: &mut Checked) {
    // Of a file that could not be read, nothing was checked.
    if file.id.is_some() {
        file.findings.push(Finding {
            rule: Rule::Unchecked,
            range: Range::default(),
            message: "outside an Issues folder: whether its references and files exist is \
                      unchecked"
                .to_owned(),
        });
    }
}
