//! The fault campaigns: they try to break the promise, and compare what they find
//! with a model that knows what was done. Run as `cargo xtask faults`.
#![expect(clippy::print_stdout, reason = "a command for people")]

mod chance;
mod kill;
mod model;
mod promise;
mod syscalls;

use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: faults [--minutes N] [--seed S] [--only CAMPAIGN] [--trial T]";

/// What a campaign is given, and what it has found.
pub(crate) struct Campaign {
    pub(crate) seed: u64,
    /// The one trial to repeat.
    only_trial: Option<u64>,
    until: Instant,
    pub(crate) trials: u64,
    pub(crate) failures: Vec<String>,
    /// What happened how often.
    counts: std::collections::BTreeMap<&'static str, u64>,
}

impl Campaign {
    /// The number of the next trial, while there is time.
    pub(crate) fn next_trial(&mut self) -> Option<u64> {
        if let Some(trial) = self.only_trial {
            return (std::mem::replace(&mut self.trials, 1) == 0).then_some(trial);
        }
        if Instant::now() >= self.until {
            return None;
        }
        self.trials += 1;
        Some(self.trials - 1)
    }

    /// Calls `attempt`, also where a check of the harness gives up in it.
    pub(crate) fn attempt<T>(
        &mut self,
        attempt: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        let attempt = std::panic::AssertUnwindSafe(|| attempt(self));
        std::panic::catch_unwind(attempt).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.unwrap_or_else(|| "the harness gave up".to_owned()))
        })
    }

    /// Notes that something happened.
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Notes that the promise was broken in `trial`.
    pub(crate) fn fail(&mut self, trial: u64, what: String) {
        println!("FAILED: trial {trial}: {what}");
        self.failures.push(what);
    }
}

/// A campaign by its name.
type Run = fn(&mut Campaign);

const CAMPAIGNS: [(&str, Run); 2] = [("kill", kill::run), ("syscalls", syscalls::run)];

fn main() -> ExitCode {
    let Some(options) = Options::read() else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    let chosen: Vec<_> = CAMPAIGNS
        .iter()
        .filter(|(name, _)| options.only.as_deref().is_none_or(|only| only == *name))
        .collect();
    let share = options.time / u32::try_from(chosen.len().max(1)).expect("few");
    println!("seed {}", options.seed);
    let (mut trials, mut failures) = (0, 0);
    for (name, run) in chosen {
        let mut campaign = Campaign {
            seed: options.seed,
            only_trial: options.trial,
            until: Instant::now() + share,
            trials: 0,
            failures: Vec::new(),
            counts: std::collections::BTreeMap::new(),
        };
        run(&mut campaign);
        let counts: Vec<_> = campaign
            .counts
            .iter()
            .map(|(what, n)| format!("{n} {what}"))
            .collect();
        let (n, failed) = (campaign.trials, campaign.failures.len());
        println!("{name}: {n} trials, {failed} failed; {}", counts.join(", "));
        trials += n;
        failures += failed;
    }
    println!("{trials} passed or failed, {failures} failed");
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Options {
    time: Duration,
    seed: u64,
    only: Option<String>,
    trial: Option<u64>,
}

impl Options {
    fn read() -> Option<Self> {
        let mut options = Self {
            time: Duration::from_secs(60),
            seed: u64::from(std::process::id()),
            only: None,
            trial: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next()?;
            match word.as_str() {
                "--minutes" => {
                    options.time =
                        Duration::try_from_secs_f64(60.0 * value.parse::<f64>().ok()?).ok()?
                }
                "--seed" => options.seed = value.parse().ok()?,
                "--only" => options.only = Some(value),
                "--trial" => options.trial = Some(value.parse().ok()?),
                _ => return None,
            }
        }
        Some(options)
    }
}
