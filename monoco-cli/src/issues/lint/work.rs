//! Whether what was to be done is done, as far as the stage says so.

use super::{Findings, Issue, Rule};
use crate::issues::body::{Checkbox, Section, State};
use crate::issues::front_matter::{Field, Stage};

pub(super) fn check(issue: &Issue<'_>, findings: &mut Findings<'_, '_>) {
    if let Some(stage) = issue.front.stage.field() {
        tasks(issue, stage, findings);
        open(issue, stage.value, findings);
        criteria(issue, stage.value, findings);
        review(issue, stage, findings);
    }
    for (span, why) in &issue.body.malformed {
        findings.add(Rule::MalformedCheckbox, *span, why.as_str());
    }
    for (span, text) in &issue.body.placeholders {
        let message = format!("a placeholder was left in: {text}");
        findings.add(Rule::Placeholder, *span, message);
    }
}

fn of_section<'a>(issue: &Issue<'a>, section: Section) -> impl Iterator<Item = &'a Checkbox> {
    let checkboxes = issue.body.checkboxes.iter();
    checkboxes.filter(move |checkbox| checkbox.section == section)
}

fn tasks(issue: &Issue<'_>, stage: &Field<Stage>, findings: &mut Findings<'_, '_>) {
    let in_progress = matches!(stage.value, Stage::Doing | Stage::Review | Stage::Done);
    if in_progress && of_section(issue, Section::Tasks).next().is_none() {
        let stage_word = stage.value.word();
        let message = format!(
            "the stage is {stage_word}, but there are no tasks (`- [ ] …` under `## Technical Tasks` or `## 技术任务`)"
        );
        findings.add(Rule::NoTasks, stage.span, message);
    }
}

/// Tasks are settled before the review, and what the review asks for before the end.
fn open(issue: &Issue<'_>, stage: Stage, findings: &mut Findings<'_, '_>) {
    let sections: &[Section] = match stage {
        Stage::Review => &[Section::Tasks],
        Stage::Done => &[Section::Tasks, Section::Review],
        Stage::Draft | Stage::Doing | Stage::Freezed => &[],
    };
    let tasks = sections
        .iter()
        .flat_map(|section| of_section(issue, *section));
    for task in tasks.filter(|task| matches!(task.state, State::Open | State::Doing)) {
        let (stage, text) = (stage.word(), &task.text);
        let message = format!("the stage is {stage}, but this task is open: {text}");
        findings.add(Rule::OpenTask, task.span, message);
    }
}

fn criteria(issue: &Issue<'_>, stage: Stage, findings: &mut Findings<'_, '_>) {
    if stage != Stage::Done {
        return;
    }
    let criteria = of_section(issue, Section::Criteria);
    for criterion in criteria.filter(|criterion| criterion.state != State::Done) {
        let text = &criterion.text;
        let message = format!("the stage is done, but this criterion is not met: {text}");
        findings.add(Rule::UnmetCriterion, criterion.span, message);
    }
}

fn review(issue: &Issue<'_>, stage: &Field<Stage>, findings: &mut Findings<'_, '_>) {
    if !matches!(stage.value, Stage::Review | Stage::Done) || issue.body.has_review {
        return;
    }
    let is_review = |section: Section| section == Section::Review;
    let mut headings = issue.body.headings.iter();
    let heading = headings.find(|heading| is_review(heading.section));
    let (span, what) = match heading {
        Some(heading) => (heading.span, "the review comments are empty"),
        None => (
            stage.span,
            "there are no review comments (`## Review Comments` or `## 评审备注`)",
        ),
    };
    let stage = stage.value.word();
    findings.add(
        Rule::ReviewComments,
        span,
        format!("the stage is {stage}, but {what}"),
    );
}
