//! Which sessions a listing shows.

use session_core::{Liveness, Observation};

use crate::args::{LabelFilter, Ps, StatusFilter};

/// What was asked for.
#[derive(Debug)]
pub(super) struct Filter {
    /// Whether to look at those that have ended as well.
    pub(super) all: bool,
    issue: Option<String>,
    role: Option<String>,
    statuses: Vec<StatusFilter>,
    labels: Vec<LabelFilter>,
}

impl Filter {
    pub(super) fn new(args: &Ps) -> Self {
        Self {
            all: args.all
                || args
                    .status
                    .iter()
                    .any(|status| !is_found_among_the_living(*status)),
            issue: args.issue.clone(),
            role: args.role.clone(),
            statuses: args.status.clone(),
            labels: args.label.clone(),
        }
    }

    pub(super) fn matches(&self, seen: &Observation) -> bool {
        let session = &seen.session;
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        (self.all || seen.may_live())
            && is(&self.issue, &session.issue_id)
            && is(&self.role, &session.role_name)
            && self
                .labels
                .iter()
                .all(|label| label.matches(&session.labels))
            && (self.statuses.is_empty() || self.statuses.iter().any(|s| has_status(seen, *s)))
    }

    /// Nobody knows what a damaged record would say, so any question about what
    /// it says leaves it out.
    pub(super) fn shows_damaged(&self) -> bool {
        self.issue.is_none()
            && self.role.is_none()
            && self.labels.is_empty()
            && (self.statuses.is_empty() || self.statuses.contains(&StatusFilter::Corrupt))
    }
}

fn has_status(seen: &Observation, wanted: StatusFilter) -> bool {
    match wanted {
        StatusFilter::Orphan => seen.liveness == Liveness::Orphan,
        StatusFilter::Unknown => seen.status().is_none(),
        StatusFilter::Corrupt => false,
        wanted => wanted
            .status()
            .is_some_and(|wanted| seen.status() == Some(wanted)),
    }
}

/// Whether a session with this status has a run directory. Records that another
/// program wrote have none, and so may those that came from elsewhere.
fn is_found_among_the_living(status: StatusFilter) -> bool {
    match status {
        StatusFilter::Orphan => true,
        StatusFilter::Unknown | StatusFilter::Corrupt => false,
        status => status.status().is_some_and(|status| !status.is_terminal()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use session_core::process::Unknowable;
    use session_core::{LostCause, parse_record};

    fn filter(arguments: &str) -> Filter {
        let line = ["monoco", "ps"]
            .into_iter()
            .chain(arguments.split_whitespace());
        let args = crate::args::Args::try_parse_from(line).expect("valid");
        let crate::args::Verb::Ps(ps) = args.verb else {
            panic!("not ps")
        };
        Filter::new(&ps)
    }

    /// Whether `ps` with these arguments shows a session that says `running`.
    fn check(arguments: &str, liveness: Liveness, expected: bool) {
        let record = r#"{"id":"a","issue_id":"I","role_name":"R","status":"running","branch_name":"b",
            "pid":42,"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z",
            "labels":{"team":"core"}}"#;
        let session = parse_record(record.as_bytes()).expect("a record");
        let seen = Observation { session, liveness };
        assert_eq!(
            filter(arguments).matches(&seen),
            expected,
            "{arguments} {:?}",
            seen.liveness
        );
    }

    #[test]
    fn the_living_are_shown_and_all_when_asked() {
        let unknown = || Liveness::Unknown(Unknowable::OtherPidNamespace(1));
        check("", Liveness::Owned, true);
        check("", Liveness::Orphan, true);
        check("", unknown(), true);
        check("", Liveness::Lost(LostCause::Reboot), false);
        check("-a", Liveness::Lost(LostCause::Reboot), true);
        check("--status unknown", unknown(), true);
        check("--status running", unknown(), false);
        check("--status orphan", Liveness::Orphan, true);
        check("--status orphan", Liveness::Owned, false);
    }

    #[test]
    fn a_status_is_what_is_true_not_what_is_recorded() {
        check("--status running", Liveness::Lost(LostCause::Reboot), false);
        check(
            "--status terminated",
            Liveness::Lost(LostCause::Reboot),
            true,
        );
    }

    #[test]
    fn all_that_was_asked_for_must_hold() {
        check(
            "--issue I --role R --label team --label team=core",
            Liveness::Owned,
            true,
        );
        check("--issue I --role S", Liveness::Owned, false);
        check("--issue i", Liveness::Owned, false);
        check("--label team=cli", Liveness::Owned, false);
    }

    #[test]
    fn damage_is_hidden_only_by_questions_that_it_cannot_answer() {
        assert!(filter("").shows_damaged() && filter("-a").shows_damaged());
        assert!(filter("--status corrupt").shows_damaged() && filter("--status corrupt").all);
        assert!(!filter("--status failed").shows_damaged());
        assert!(!filter("--issue I").shows_damaged());
    }
}
