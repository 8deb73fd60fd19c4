//! What is true of a session, in words.

use std::path::Path;

use session_core::{
    Damaged, Liveness, LostCause, Observation, Outcome, Session, Status, Timestamp, Verdict,
    VerdictKind, WaitStatus,
};

use crate::args::signal_name;
use crate::output::ago;
use crate::output::table::Style;

/// The status for a table: `running (orphan)`, `failed (exit 7)`.
pub(crate) fn status(seen: &Observation) -> String {
    match &seen.liveness {
        Liveness::Ended => ended(&seen.session),
        Liveness::Lost(_) | Liveness::Abandoned => ended(&seen.shown()),
        _ => seen.status_in_words(),
    }
}

/// How a session ended, for a table.
pub(crate) fn ended(session: &Session) -> String {
    let status = session.status();
    let details = [
        session.outcome().and_then(detail),
        session
            .verdict()
            .and_then(|verdict| remark(verdict, status)),
    ];
    let details: Vec<_> = details.into_iter().flatten().collect();
    match details.is_empty() {
        true => status.to_string(),
        false => format!("{status} ({})", details.join(", ")),
    }
}

/// What the agent said of its end, where the status does not say as much.
fn remark(verdict: &Verdict, status: Status) -> Option<String> {
    match (verdict.kind, status) {
        (VerdictKind::Unknown, _)
        | (VerdictKind::Succeeded, Status::Completed)
        | (VerdictKind::Failed, Status::Failed) => None,
        (VerdictKind::Succeeded | VerdictKind::Failed, _) => {
            Some(format!("says {}", verdict.kind.as_str()))
        }
        (VerdictKind::RateLimited { until: Some(until) }, _) => {
            let (kind, now) = (verdict.kind.as_str(), Timestamp::now());
            Some(match until > now {
                true => format!("{kind} until {}", until.on_the_clock(now)),
                false => kind.to_owned(),
            })
        }
        (kind, _) => Some(kind.as_str().to_owned()),
    }
}

/// What the agent said of its end, in a sentence.
pub(crate) fn verdict(verdict: &Verdict) -> String {
    let mut words = match verdict.kind {
        VerdictKind::Succeeded => "succeeded".to_owned(),
        VerdictKind::Failed => "failed".to_owned(),
        VerdictKind::Denied => "denied: it was not allowed to do what it needed to".to_owned(),
        VerdictKind::RateLimited { until: None } => "rate_limited".to_owned(),
        VerdictKind::RateLimited { until: Some(until) } => format!("rate_limited until {until}"),
        VerdictKind::ContextExhausted => {
            "context_exhausted: its conversation is too long".to_owned()
        }
        VerdictKind::Unknown => "unknown".to_owned(),
    };
    if let Some(turns) = verdict.turns {
        words.push_str(&format!(
            "; {turns} {}",
            if turns == 1 { "turn" } else { "turns" }
        ));
    }
    if let Some(cost) = verdict.cost_usd {
        words.push_str(&format!("; {cost} USD"));
    }
    words
}

/// What the status alone does not say.
fn detail(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Exited { code: 0 } => None,
        Outcome::Exited { code } => Some(format!("exit {code}")),
        Outcome::Signaled { signal, .. } => Some(signal_words(*signal)),
        Outcome::TimedOut { .. } => None,
        Outcome::Stopped { by, .. } => Some(format!("by {by}")),
        Outcome::SpawnFailed { .. } => Some("not started".to_owned()),
        Outcome::Lost { cause } => Some(format!("lost: {}", cause_words(*cause))),
    }
}

/// The outcome in a sentence.
pub(crate) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited { code } => format!("exited with code {code}"),
        Outcome::Signaled {
            signal,
            core_dumped,
        } => {
            format!(
                "killed by {}{}",
                signal_words(*signal),
                core_words(*core_dumped)
            )
        }
        Outcome::TimedOut {
            after_seconds,
            wait_status,
        } => {
            let after = ago::length(std::time::Duration::from_secs(*after_seconds));
            format!("its time was up after {after}{}", then(*wait_status))
        }
        Outcome::Stopped { by, wait_status } => format!("stopped by {by}{}", then(*wait_status)),
        Outcome::SpawnFailed { error, .. } => format!("never started: {error}"),
        Outcome::Lost {
            cause: LostCause::Reboot,
        } => "lost: the machine was started anew, and nobody saw how the agent ended".to_owned(),
        Outcome::Lost {
            cause: LostCause::OwnerDied,
        } => "lost: its owner died, and nobody saw how the agent ended".to_owned(),
    }
}

/// How the agent's process ended after it was asked to.
fn then(wait_status: Option<WaitStatus>) -> String {
    match wait_status {
        Some(WaitStatus::Exited { code }) => format!("; the agent exited with code {code}"),
        Some(WaitStatus::Signaled {
            signal,
            core_dumped,
        }) => {
            let signal = signal_words(signal);
            format!(
                "; the agent was killed by {signal}{}",
                core_words(core_dumped)
            )
        }
        None => String::new(),
    }
}

fn signal_words(signal: i32) -> String {
    match signal_name(signal) {
        Some(name) => format!("signal {signal}, {name}"),
        None => format!("signal {signal}"),
    }
}

fn core_words(core_dumped: bool) -> &'static str {
    if core_dumped { ", core dumped" } else { "" }
}

fn cause_words(cause: LostCause) -> &'static str {
    match cause {
        LostCause::Reboot => "reboot",
        LostCause::OwnerDied => "owner died",
    }
}

/// Whether to believe the record, in a sentence.
pub(crate) fn liveness(liveness: &Liveness) -> String {
    let words = liveness.in_words();
    match liveness {
        Liveness::Orphan => format!("{words} (`monoco adopt` gives it a new owner)"),
        _ => words,
    }
}

/// How the status stands out.
pub(crate) fn style(seen: &Observation) -> Style {
    match (&seen.liveness, seen.status()) {
        (Liveness::Orphan | Liveness::Unverified | Liveness::Unknown(_), _) | (_, None) => {
            Style::Yellow
        }
        (_, Some(Status::Running)) => Style::Green,
        (_, Some(Status::Suspended | Status::Terminated | Status::Timeout)) => Style::Yellow,
        (_, Some(Status::Failed | Status::Crashed)) => Style::Red,
        (_, Some(Status::Completed)) if is_qualified(&seen.session) => Style::Yellow,
        (_, Some(Status::Completed)) => Style::Dim,
        (_, Some(Status::Pending)) => Style::Plain,
    }
}

/// Whether the agent said otherwise than its status does.
fn is_qualified(session: &Session) -> bool {
    let remark = |verdict| remark(verdict, session.status());
    session.verdict().and_then(remark).is_some()
}

/// A record that cannot be read, in a sentence.
pub(crate) fn damage(damaged: &Damaged) -> String {
    format!(
        "the record {} is damaged: {}",
        damaged.path.display(),
        damaged.damage
    )
}

/// What stands for the id of a record that cannot be read.
pub(crate) fn damaged_name(damaged: &Damaged) -> String {
    match &damaged.id {
        Some(id) => id.to_string(),
        None => damaged
            .path
            .file_name()
            .map(Path::new)
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
    }
}

/// An argument vector as one would type it.
pub(crate) fn command(argv: &[String]) -> String {
    let quoted: Vec<_> = argv.iter().map(|argument| quote(argument)).collect();
    quoted.join(" ")
}

fn quote(argument: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./=:,@%+".contains(&b) || b >= 0x80;
    if !argument.is_empty() && argument.bytes().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let argv = ["claude", "-p", "it's done", "", "--x=y"].map(str::to_owned);
        assert_eq!(command(&argv), r"claude -p 'it'\''s done' '' --x=y");
        assert_eq!(command(&[]), "");
    }

    #[test]
    fn signals_have_their_names() {
        let killed = Outcome::Signaled {
            signal: 9,
            core_dumped: false,
        };
        assert_eq!(detail(&killed).as_deref(), Some("signal 9, KILL"));
        assert_eq!(outcome(&killed), "killed by signal 9, KILL");
    }
}
