//! The rules, by the codes under which they are known for good.

/// How much a finding matters; the numbers are those of LSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    Error = 1,
    Warning = 2,
    Information = 3,
}

macro_rules! rules {
    ($($severity:ident $code:literal $rule:ident $meaning:literal,)+) => {
        /// What can be found.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Rule { $(#[doc = $meaning] $rule,)+ }

        impl Rule {
            /// All rules, errors first.
            pub(crate) const ALL: &[Self] = &[$(Self::$rule,)+];

            /// The word that names it in every output.
            pub(crate) fn code(self) -> &'static str {
                match self { $(Self::$rule => $code,)+ }
            }

            /// What is wrong where it is found.
            pub(crate) fn meaning(self) -> &'static str {
                match self { $(Self::$rule => $meaning,)+ }
            }

            pub(crate) fn severity(self) -> Severity {
                match self { $(Self::$rule => Severity::$severity,)+ }
            }
        }
    };
}

rules! {
    Error "unreadable" Unreadable "no regular file, over 1 MiB, or not UTF-8",
    Error "front-matter" FrontMatter "no front matter, or none that is YAML",
    Error "missing-field" MissingField "a field that every issue has",
    Error "field-type" FieldType "a field that is not text, list or time as it should",
    Error "id-file-name" IdFileName "the file is not called ID.md or ID-title.md",
    Error "duplicate-id" DuplicateId "two files with one id",
    Error "unknown-type" UnknownType "not epic, feature, chore, fix or arch",
    Error "unknown-status" UnknownStatus "not open, closed, backlog or archived",
    Error "unknown-stage" UnknownStage "not draft, doing, review, done or freezed",
    Error "unknown-solution" UnknownSolution "not implemented, cancelled, wontfix, duplicate",
    Error "unknown-criticality" UnknownCriticality "not low, medium, high or critical",
    Error "closed-not-done" ClosedNotDone "closed, but the stage is not done",
    Error "closed-without-solution" ClosedWithoutSolution "closed, but nobody says how",
    Error "backlog-not-freezed" BacklogNotFreezed "in the backlog, but not freezed",
    Error "status-folder" StatusFolder "in the folder of another status",
    Error "open-task" OpenTask "in review or done, with a task that is open",
    Error "review-comments" ReviewComments "in review or done, and no review comments",
    Error "unmet-criterion" UnmetCriterion "done, with a criterion that is not met",
    Error "time-order" TimeOrder "closed before opened, or opened before created",
    Error "unknown-reference" UnknownReference "a parent, dependency or relation is nowhere",
    Warning "missing-file" MissingFile "a file in `files` that does not exist",
    Warning "missing-heading" MissingHeading "no heading `## ID: title`",
    Warning "missing-tag" MissingTag "no tag for the issue, or for what it refers to",
    Warning "hash-in-id" HashInId "an id with `#` in another field than tags",
    Warning "no-tasks" NoTasks "doing, in review or done, but without tasks",
    Warning "malformed-checkbox" MalformedCheckbox "not `- [ ]`, `- [x]`, `- [/]` or `- [~]`",
    Warning "placeholder" Placeholder "what a template left to be filled in",
    Information "unchecked" Unchecked "outside an Issues folder: references, files unknown",
}

/// What `--help` says about all of them.
pub(crate) fn help() -> String {
    use std::fmt::Write;
    let mut help = String::new();
    for (heading, severity) in [
        ("Errors", Severity::Error),
        ("\nWarnings", Severity::Warning),
        ("\nNotes", Severity::Information),
    ] {
        // Writing to a string does not fail.
        let _ = writeln!(help, "{heading}:");
        for rule in Rule::ALL.iter().filter(|rule| rule.severity() == severity) {
            let _ = writeln!(help, "  {:<24}{}", rule.code(), rule.meaning());
        }
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_words_and_each_is_one_rule() {
        let mut codes: Vec<_> = Rule::ALL.iter().map(|rule| rule.code()).collect();
        let is_kebab = |code: &&str| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        assert!(codes.iter().all(is_kebab));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Rule::ALL.len());
    }

    #[test]
    fn the_help_is_narrower_than_a_terminal() {
        let help = help();
        let widest = help.lines().max_by_key(|line| line.chars().count());
        assert!(
            widest.is_some_and(|line| line.chars().count() < 80),
            "{widest:?}"
        );
    }

    #[test]
    fn every_rule_is_documented() {
        let docs = include_str!("../../../../docs/issue-lint.md");
        for rule in Rule::ALL {
            assert!(
                docs.contains(&format!("| `{}` |", rule.code())),
                "{}",
                rule.code()
            );
        }
    }
}
