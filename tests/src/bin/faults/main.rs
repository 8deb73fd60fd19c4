//! The fault campaigns: they try to break the promise, and compare what they find
//! with a model that knows what was done. Run as `cargo xtask faults`.
#![expect(clippy::print_stdout, reason = "a command for people")]

mod agents;
mod campaign;
mod chance;
mod command;
mod failpoints;
mod fuzz;
mod hostile;
mod identity;
mod kill;
mod left;
mod model;
mod mounts;
mod mutator;
mod outcomes;
mod plans;
mod power;
mod promise;
mod races;
mod resources;
mod syscalls;
mod tree;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use campaign::{Campaign, Plan};
use plans::PLANS;

const USAGE: &str = "\
usage: faults [--minutes N] [--seed S] [--only NAME[,NAME…] [--trial T]] [--list]

Without --minutes each campaign is run in full. NAME is that of a campaign, or what
stands before the `/` in those of several. The same seed throws the same dice.";

fn main() -> ExitCode {
    // A campaign's part in namespaces of its own is this program once more.
    if let Some(exit) = identity::if_asked() {
        return exit;
    }
    let Some(options) = Options::read() else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    let chosen: Vec<_> = PLANS.iter().filter(|plan| options.chose(plan)).collect();
    if options.list || chosen.is_empty() {
        for plan in PLANS {
            println!("{}", plan.name);
        }
        return ExitCode::from(if options.list { 0 } else { 2 });
    }
    mounts::take_ones_own();
    println!("seed {}", options.seed);
    let end = options.time.map(|time| Instant::now() + time);
    let mut weights: u32 = chosen.iter().map(|plan| plan.weight).sum();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for plan in chosen {
        // What the campaigns before it have left of their time is for all that follow.
        let until = end.map(|end| {
            let now = Instant::now();
            now + end.saturating_duration_since(now) * plan.weight / weights
        });
        weights -= plan.weight;
        let mut campaign = Campaign::new(plan, options.seed, options.trial, until);
        (plan.run)(&mut campaign);
        if campaign.is_idle() {
            campaign.fail_whole("nothing was tried");
        }
        println!("{}", campaign.closing_line());
        passed += campaign.passed();
        failed += campaign.failed;
        skipped += campaign.skipped;
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Options {
    time: Option<Duration>,
    seed: u64,
    only: Option<String>,
    trial: Option<u64>,
    list: bool,
}

impl Options {
    fn read() -> Option<Self> {
        let mut options = Self {
            time: None,
            seed: u64::from(std::process::id()),
            only: None,
            trial: None,
            list: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--list" {
                options.list = true;
                continue;
            }
            let value = words.next()?;
            match word.as_str() {
                "--minutes" => {
                    let seconds = 60.0 * value.parse::<f64>().ok()?;
                    options.time = Some(Duration::try_from_secs_f64(seconds).ok()?);
                }
                "--seed" => options.seed = value.parse().ok()?,
                "--only" => options.only = Some(value),
                "--trial" => options.trial = Some(value.parse().ok()?),
                _ => return None,
            }
        }
        let names = options.only.iter().flat_map(|only| only.split(','));
        if !names
            .clone()
            .all(|name| PLANS.iter().any(|plan| is_meant(plan, name)))
        {
            return None;
        }
        // A trial has its number in one campaign.
        let one = options.only.as_deref().is_some_and(is_one);
        (options.trial.is_none() || one).then_some(options)
    }

    fn chose(&self, plan: &Plan) -> bool {
        let Some(only) = &self.only else { return true };
        only.split(',').any(|name| is_meant(plan, name))
    }
}

/// Whether `name` is that of the campaign, or of several with this one among them.
fn is_meant(plan: &Plan, name: &str) -> bool {
    let rest = plan.name.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether `only` is the name of one campaign.
fn is_one(only: &str) -> bool {
    PLANS.iter().any(|plan| plan.name == only)
}
