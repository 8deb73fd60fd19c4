//! The program that people install has no failpoints in it.

use monoco_tests::{Project, monoco};

/// The variable that rules failpoints where there are any.
const VARIABLE: &str = "MONOCO_FAILPOINTS";
/// Rules that would end whoever records anything.
const RULES: &str = "record.created=kill,record.filled=kill,record.written=kill";

#[test]
fn no_text_of_a_failpoint_is_in_the_program() {
    let program = std::fs::read(monoco()).expect("the program can be read");
    let finder = |text: &str| {
        program
            .windows(text.len())
            .any(|found| found == text.as_bytes())
    };
    assert!(finder("control.sock"), "texts of the program can be found");
    for text in [VARIABLE, "record.renamed", "settle.taken"] {
        assert!(!finder(text), "{text}");
    }
}

#[test]
fn a_rule_for_failpoints_rules_nothing() {
    let project = Project::new();
    let mut run = project.monoco(&["run", "--", "echo", "unharmed"]);
    run.env(VARIABLE, RULES);
    let ran = monoco_tests::finish(run.spawn().expect("monoco can be executed")).ok();
    assert_eq!(ran.out(), "unharmed\n");
}
