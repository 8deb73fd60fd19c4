//! Judging issues: each file by itself, then all of a folder with one another.
//!
//! Nothing that a file holds makes the linter fail: what cannot be read is a finding.

mod across;
mod links;
mod place;
mod rule;
mod state;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread;

use super::body::Body;
use super::document::{Document, Position, Range};
use super::front_matter::{FrontMatter, ProblemKind, bare};
use super::read::{self, ReadError};
use super::tree::{self, TreeError};
use crate::yaml::Span;

pub(crate) use rule::{Rule, Severity, help};

/// Something that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) rule: Rule,
    pub(crate) range: Range,
    pub(crate) message: String,
}

/// A file, and what was found in it, from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Linted {
    pub(crate) path: PathBuf,
    pub(crate) findings: Vec<Finding>,
}

/// A file that was judged by itself, with what others must know of it.
#[derive(Debug)]
struct Checked {
    path: PathBuf,
    id: Option<(String, Range)>,
    references: Vec<Reference>,
    findings: Vec<Finding>,
}

/// Another issue that is named in a field.
#[derive(Debug)]
struct Reference {
    field: &'static str,
    id: String,
    range: Range,
}

/// What the rules look at.
struct Issue<'a> {
    path: &'a Path,
    /// The directory that holds the `Issues` folder; unknown for a file that is in none.
    project: Option<&'a Path>,
    front: &'a FrontMatter,
    body: &'a Body,
}

/// Where rules leave what they find.
struct Findings<'d, 't> {
    document: &'d Document<'t>,
    found: Vec<Finding>,
}

impl Findings<'_, '_> {
    fn add(&mut self, rule: Rule, span: Span, message: impl Into<String>) {
        self.found.push(Finding {
            rule,
            range: self.document.locate(span),
            message: message.into(),
        });
    }
}

/// Judges `files`, whose paths are absolute and without links. Those in an `Issues`
/// folder are compared with all that is in it.
///
/// # Errors
/// When such a folder cannot be looked through.
pub(crate) fn lint(files: &BTreeSet<PathBuf>) -> Result<Vec<Linted>, TreeError> {
    let mut by_folder: BTreeMap<Option<&Path>, BTreeSet<PathBuf>> = BTreeMap::new();
    for file in files {
        let folder = by_folder.entry(tree::folder_of(file)).or_default();
        folder.insert(file.clone());
    }
    let mut linted = Vec::with_capacity(files.len());
    for (folder, mut in_folder) in by_folder {
        if let Some(folder) = folder {
            in_folder.extend(tree::issues(folder)?);
        }
        let project = folder.and_then(Path::parent);
        let mut checked = check_all(in_folder.into_iter().collect(), project);
        across::check(&mut checked, folder.is_some());
        linted.extend(checked.into_iter().filter_map(|checked| {
            let is_asked_for = files.contains(&checked.path);
            is_asked_for.then(|| finished(checked))
        }));
    }
    linted.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(linted)
}

fn finished(mut checked: Checked) -> Linted {
    checked.findings.sort_by_key(|finding| finding.range.start);
    Linted {
        path: checked.path,
        findings: checked.findings,
    }
}

/// Checks files, on all processors.
fn check_all(paths: Vec<PathBuf>, project: Option<&Path>) -> Vec<Checked> {
    let n_hands = thread::available_parallelism().map_or(1, usize::from);
    let share = paths.len().div_ceil(n_hands).max(1);
    thread::scope(|scope| {
        let hands: Vec<_> = paths
            .chunks(share)
            .map(|paths| {
                let check = |path: &PathBuf| check_file(path, project);
                scope.spawn(move || paths.iter().map(check).collect::<Vec<_>>())
            })
            .collect();
        hands
            .into_iter()
            .flat_map(|hand| hand.join().expect("checking does not panic"))
            .collect()
    })
}

fn check_file(path: &Path, project: Option<&Path>) -> Checked {
    match read::read(path) {
        Ok(text) => check(path, &text, project),
        Err(error) => unreadable(path, &error),
    }
}

fn unreadable(path: &Path, error: &ReadError) -> Checked {
    let at = match error {
        ReadError::NotText { at, .. } => *at,
        _ => Position::default(),
    };
    let range = Range { start: at, end: at };
    Checked {
        path: path.to_owned(),
        id: None,
        references: Vec::new(),
        findings: vec![Finding {
            rule: Rule::Unreadable,
            range,
            message: session_core::error_chain(error),
        }],
    }
}

/// Checks the text of one file, by itself.
fn check(path: &Path, text: &str, project: Option<&Path>) -> Checked {
    let document = Document::new(text);
    let mut findings = Findings {
        document: &document,
        found: Vec::new(),
    };
    let (front, problems) = FrontMatter::read(&document);
    for problem in problems {
        findings.add(rule_of(problem.kind), problem.span, problem.what);
    }
    let mut checked = Checked {
        path: path.to_owned(),
        id: None,
        references: Vec::new(),
        findings: Vec::new(),
    };
    if let Some(front) = &front {
        let body = Body::read(&document);
        let issue = Issue {
            path,
            project,
            front,
            body: &body,
        };
        for rules in [place::check, state::check, work::check, links::check] {
            rules(&issue, &mut findings);
        }
        let id = front.id.field();
        checked.id = id.map(|id| (bare(&id.value).to_owned(), document.locate(id.span)));
        checked.references = links::references(front)
            .map(|(field, id)| Reference {
                field,
                id: bare(&id.value).to_owned(),
                range: document.locate(id.span),
            })
            .collect();
    }
    checked.findings = findings.found;
    checked
}

fn rule_of(kind: ProblemKind) -> Rule {
    match kind {
        ProblemKind::FrontMatter => Rule::FrontMatter,
        ProblemKind::Missing => Rule::MissingField,
        ProblemKind::IllTyped => Rule::FieldType,
        ProblemKind::Type => Rule::UnknownType,
        ProblemKind::Status => Rule::UnknownStatus,
        ProblemKind::Stage => Rule::UnknownStage,
        ProblemKind::Solution => Rule::UnknownSolution,
        ProblemKind::Criticality => Rule::UnknownCriticality,
    }
}

#[cfg(test)]
mod tests;
