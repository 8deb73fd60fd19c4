//! `monoco issue lint`: what is wrong with issues.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::args::{Issue, IssueLint, IssueVerb};
use crate::error::CliError;
use crate::exit::Exit;
use crate::issues::lint::{self, Linted, Severity};
use crate::issues::{self, report, tree};
use crate::{output, project};

pub(super) fn issue(project: Option<&Path>, args: &Issue) -> Result<Exit, CliError> {
    match &args.verb {
        IssueVerb::Lint(args) => lint(project, args),
    }
}

fn lint(project: Option<&Path>, args: &IssueLint) -> Result<Exit, CliError> {
    let files = files(project, &args.issues)?;
    let linted = lint::lint(&files)?;
    if args.json {
        print_json(&linted)?;
    } else {
        print_text(&linted)?;
    }
    output::words(&report::summary(&linted));
    let is_error = |finding: &lint::Finding| finding.rule.severity() == Severity::Error;
    let mut findings = linted.iter().flat_map(|linted| &linted.findings);
    Ok(if findings.any(is_error) {
        Exit::FINDINGS
    } else {
        Exit::SUCCESS
    })
}

/// The files that are meant, as the system names them.
fn files(project: Option<&Path>, named: &[PathBuf]) -> Result<BTreeSet<PathBuf>, CliError> {
    let mut files = BTreeSet::new();
    if named.is_empty() {
        let project = project::here(project)?;
        let no_issues = || CliError::NoIssues(project.join(issues::FOLDER));
        let folder = tree::folder_in(&project).ok_or_else(no_issues)?;
        files.extend(tree::issues(&canonical(&folder)?)?);
    }
    for path in named {
        files.extend(of_argument(project, path)?);
    }
    Ok(files)
}

/// An id goes before a file that is called so.
fn of_argument(project: Option<&Path>, path: &Path) -> Result<Vec<PathBuf>, CliError> {
    if let Some(id) = path.to_str().filter(|text| issues::is_id(text)) {
        let files = issues::files_of(&project::here(project)?, id)?;
        if !files.is_empty() {
            return files.iter().map(|path| canonical(path)).collect();
        }
    }
    let Ok(metadata) = path.metadata() else {
        return Err(CliError::NoSuchIssue(path.display().to_string()));
    };
    let path = canonical(path)?;
    if !metadata.is_dir() {
        return Ok(vec![path]);
    }
    // The folder of a project stands for its issues.
    let found = if let Some(folder) = tree::folder_in(&path) {
        tree::issues(&folder)
    } else if path.ends_with(issues::FOLDER) || tree::folder_of(&path).is_some() {
        tree::issues(&path)
    } else {
        tree::files(&path)
    };
    Ok(found?)
}

fn canonical(path: &Path) -> Result<PathBuf, CliError> {
    let attempt = format!("find the way to {}", path.display());
    path.canonicalize().map_err(CliError::io(attempt))
}

fn print_text(linted: &[Linted]) -> Result<(), CliError> {
    let here = std::env::current_dir().ok();
    let mut out = output::stdout();
    for linted in linted {
        for finding in &linted.findings {
            let line = report::line(&linted.path, finding, here.as_deref());
            output::written(writeln!(out, "{}", output::sanitise::line(&line)))?;
        }
    }
    output::written(out.flush())
}

fn print_json(linted: &[Linted]) -> Result<(), CliError> {
    let for_terminal = output::Terminal::of_stdout().is_some();
    let mut out = output::stdout();
    let published = report::published(linted).map(|file| {
        let json = serde_json::to_string(&file).expect("text and numbers are JSON");
        let mut element = Vec::with_capacity(json.len());
        if for_terminal {
            let written = output::json::write_for_terminal(&mut element, &json);
            written.expect("writing to memory does not fail");
        } else {
            element.extend(json.into_bytes());
        }
        element.into_boxed_slice()
    });
    output::written(output::json::write_array(&mut out, published).and_then(|()| out.flush()))
}
