//! `monoco reconcile`: record the end of sessions that ended without their owner.

use std::io::Write;

use session_core::reconcile::{Action, Report};
use session_core::{Outcome, SessionId, SessionManager, Status};

use crate::args::Reconcile;
use crate::error::CliError;
use crate::exit::Exit;
use crate::{describe, output};

pub(super) fn reconcile(manager: &SessionManager, args: &Reconcile) -> Result<Exit, CliError> {
    if args.dry_run {
        return dry_run(manager);
    }
    let report = manager.reconcile()?;
    print(
        report
            .settled
            .iter()
            .map(|(id, outcome)| (id, Some(outcome))),
    )?;
    for (id, error) in &report.failed {
        let error = session_core::error_chain(error);
        output::words(&format!("cannot record the end of session {id}: {error}"));
    }
    output::words(&summary(&report));
    Ok(if report.failed.is_empty() {
        Exit::SUCCESS
    } else {
        Exit::FAILURE
    })
}

fn dry_run(manager: &SessionManager) -> Result<Exit, CliError> {
    let planned = manager.reconcile_plan()?;
    print(planned.iter().map(|action| match action {
        Action::Settle { id, outcome } => (id, Some(outcome)),
        Action::Clear { id } => (id, None),
    }))?;
    Ok(Exit::SUCCESS)
}

fn print<'a>(
    settled: impl Iterator<Item = (&'a SessionId, Option<&'a Outcome>)>,
) -> Result<(), CliError> {
    let mut out = output::stdout();
    for (id, outcome) in settled {
        let what = match outcome {
            Some(outcome) => format!("{} ({})", Status::of(outcome), describe::outcome(outcome)),
            None => "its owner's run directory is left over".to_owned(),
        };
        output::written(writeln!(out, "{id}  {}", output::sanitise::line(&what)))?;
    }
    output::written(out.flush())
}

fn summary(report: &Report) -> String {
    let done = [
        (report.settled.len(), "recorded"),
        (report.failed.len(), "not recorded"),
        (report.cleared, "run directories removed"),
    ];
    let done = done.iter().filter(|(n, _)| *n > 0);
    let done: Vec<_> = done.map(|(n, what)| format!("{n} {what}")).collect();
    if done.is_empty() {
        "nothing to record".to_owned()
    } else {
        done.join(", ")
    }
}
