//! Whether status, stage, solution and times can be true together.

use super::{Findings, Issue, Rule};
use crate::issues::front_matter::{Field, Reading, Stage, Status, Time};

pub(super) fn check(issue: &Issue<'_>, findings: &mut Findings<'_, '_>) {
    if let Some(status) = issue.front.status.field() {
        stage(issue, status, findings);
        solution(issue, status, findings);
    }
    times(issue, findings);
}

/// Two statuses go with one stage each.
fn stage(issue: &Issue<'_>, status: &Field<Status>, findings: &mut Findings<'_, '_>) {
    let (rule, expected) = match status.value {
        Status::Closed => (Rule::ClosedNotDone, Stage::Done),
        Status::Backlog => (Rule::BacklogNotFreezed, Stage::Freezed),
        Status::Open | Status::Archived => return,
    };
    let (span, found) = match &issue.front.stage {
        Reading::Bad => return,
        Reading::Absent => (status.span, "missing"),
        Reading::Is(stage) if stage.value == expected => return,
        Reading::Is(stage) => (stage.span, stage.value.word()),
    };
    let (status, expected) = (status.value.word(), expected.word());
    let message = format!("the status is {status}, but the stage is {found}; expected {expected}");
    findings.add(rule, span, message);
}

fn solution(issue: &Issue<'_>, status: &Field<Status>, findings: &mut Findings<'_, '_>) {
    if status.value == Status::Closed && issue.front.solution.is_absent() {
        let message = "the status is closed, but there is no `solution`";
        findings.add(Rule::ClosedWithoutSolution, status.span, message);
    }
}

/// Each time with the next one that is known.
fn times(issue: &Issue<'_>, findings: &mut Findings<'_, '_>) {
    let front = issue.front;
    let times = [
        ("created_at", &front.created_at),
        ("opened_at", &front.opened_at),
        ("closed_at", &front.closed_at),
    ];
    let known: Vec<(&str, &Field<Time>)> = times
        .iter()
        .filter_map(|(name, reading)| Some((*name, reading.field()?)))
        .collect();
    for pair in known.windows(2) {
        let [(earlier, before), (later, after)] = pair else {
            continue;
        };
        if after.value < before.value {
            findings.add(
                Rule::TimeOrder,
                after.span,
                format!("`{later}` is before `{earlier}`"),
            );
        }
    }
}
