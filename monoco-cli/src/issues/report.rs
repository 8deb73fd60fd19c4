//! How findings are told: in lines for people, and as LSP publishes diagnostics.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use super::document::Range;
use super::lint::{Finding, Linted, Severity};

/// Who says so, in LSP.
const SOURCE: &str = "monoco";

/// One finding as `path:line:column: error[code]: message`, counted from 1. The path
/// is relative to `here` where it can be.
pub(crate) fn line(path: &Path, finding: &Finding, here: Option<&Path>) -> String {
    let relative = here.and_then(|here| path.strip_prefix(here).ok());
    let path = relative.unwrap_or(path).display();
    let start = finding.range.start;
    let severity = match finding.rule.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Information => "note",
    };
    let (line, column) = (start.line + 1, start.column + 1);
    let (code, message) = (finding.rule.code(), &finding.message);
    format!("{path}:{line}:{column}: {severity}[{code}]: {message}")
}

/// How much was found, in words.
pub(crate) fn summary(linted: &[Linted]) -> String {
    let of = |severity| {
        let findings = linted.iter().flat_map(|linted| &linted.findings);
        findings
            .filter(|finding| finding.rule.severity() == severity)
            .count()
    };
    let counted = |n, what| match n {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let errors = counted(of(Severity::Error), "error");
    let warnings = counted(of(Severity::Warning), "warning");
    let issues = counted(linted.len(), "issue");
    format!("{errors}, {warnings} in {issues}")
}

/// What is published for each file in which something was found
/// (`PublishDiagnosticsParams` of LSP 3.17).
pub(crate) fn published(linted: &[Linted]) -> impl Iterator<Item = Published<'_>> {
    let with_findings = linted.iter().filter(|linted| !linted.findings.is_empty());
    with_findings.map(|linted| Published {
        uri: uri(&linted.path),
        diagnostics: linted.findings.iter().map(diagnostic).collect(),
    })
}

#[derive(Debug, Serialize)]
pub(crate) struct Published<'a> {
    uri: String,
    diagnostics: Vec<Diagnostic<'a>>,
}

#[derive(Debug, Serialize)]
struct Diagnostic<'a> {
    range: Span,
    severity: u8,
    code: &'static str,
    source: &'static str,
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct Span {
    start: Position,
    end: Position,
}

/// From 0, in UTF-16 units, as LSP counts unless it is told otherwise.
#[derive(Debug, Serialize)]
struct Position {
    line: usize,
    character: usize,
}

fn diagnostic(finding: &Finding) -> Diagnostic<'_> {
    Diagnostic {
        range: span(finding.range),
        severity: finding.rule.severity() as u8,
        code: finding.rule.code(),
        source: SOURCE,
        message: &finding.message,
    }
}

fn span(range: Range) -> Span {
    let [start, end] = [range.start, range.end].map(|position| Position {
        line: position.line,
        character: position.utf16,
    });
    Span { start, end }
}

/// The address of a file (RFC 8089); everything but plain letters is escaped.
fn uri(path: &Path) -> String {
    let mut uri = "file://".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issues::document::Position;
    use crate::issues::lint::Rule;

    fn linted() -> Linted {
        let at = |column, utf16| Position {
            line: 2,
            column,
            utf16,
        };
        let finding = |rule| Finding {
            rule,
            range: Range {
                start: at(3, 4),
                end: at(5, 6),
            },
            message: "words".to_owned(),
        };
        Linted {
            path: "/a b/持.md".into(),
            findings: vec![finding(Rule::OpenTask), finding(Rule::Placeholder)],
        }
    }

    #[test]
    fn people_count_from_one() {
        let linted = linted();
        let line = |here| line(&linted.path, &linted.findings[0], here);
        assert_eq!(line(None), "/a b/持.md:3:4: error[open-task]: words");
        let here = Some(Path::new("/a b"));
        assert_eq!(line(here), "持.md:3:4: error[open-task]: words");
        let summary = summary(&[linted]);
        assert_eq!(summary, "1 error, 1 warning in 1 issue");
    }

    #[test]
    fn editors_count_from_zero_in_utf16() {
        let linted = [linted()];
        let published: Vec<_> = published(&linted).collect();
        let json = serde_json::to_string_pretty(&published).expect("JSON");
        insta::assert_snapshot!(json);
    }
}
