//! A campaign: trials that are numbered, counted, and can be repeated one by one.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use monoco_tests::skip;

use crate::chance::Chance;

/// A campaign before it is run.
pub(crate) struct Plan {
    /// `AREA` or `AREA/PART`.
    pub(crate) name: &'static str,
    /// How many trials the full campaign has.
    pub(crate) trials: u64,
    /// Its share of a time that was set, beside those of the others.
    pub(crate) weight: u32,
    pub(crate) run: fn(&mut Campaign),
}

/// A campaign that is being run: what it is given, and what it has found.
pub(crate) struct Campaign {
    pub(crate) name: &'static str,
    pub(crate) seed: u64,
    /// The one trial to repeat.
    only_trial: Option<u64>,
    /// How many trials there are to be.
    most: u64,
    until: Option<Instant>,
    begun: Instant,
    pub(crate) trials: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// How many trials tried nothing, and so are no pass.
    void: u64,
    is_void: bool,
    /// What happened how often.
    counts: BTreeMap<&'static str, u64>,
    /// The largest that was measured of each.
    worst: BTreeMap<&'static str, u64>,
}

impl Campaign {
    pub(crate) fn new(
        plan: &Plan,
        seed: u64,
        only_trial: Option<u64>,
        until: Option<Instant>,
    ) -> Self {
        Self {
            name: plan.name,
            seed,
            only_trial,
            most: plan.trials,
            until,
            begun: Instant::now(),
            trials: 0,
            failed: 0,
            skipped: 0,
            void: 0,
            is_void: false,
            counts: BTreeMap::new(),
            worst: BTreeMap::new(),
        }
    }

    /// The number of the next trial, while there are any, and time for them.
    pub(crate) fn next_trial(&mut self) -> Option<u64> {
        let over = match self.only_trial {
            Some(_) => self.trials == 1,
            // Whoever comes when the time is over tries once all the same.
            None => {
                let late = self.until.is_some_and(|at| at <= Instant::now());
                self.trials >= self.most || (late && self.trials > 0)
            }
        };
        if over {
            return None;
        }
        self.trials += 1;
        Some(self.only_trial.unwrap_or(self.trials - 1))
    }

    /// Runs `trial` after `trial`, each with dice of its own. What goes wrong in
    /// one, the harness's own checks included, is noted, and the next one begins.
    pub(crate) fn each_trial(
        &mut self,
        mut attempt: impl FnMut(&mut Self, u64, &mut Chance) -> Result<(), String>,
    ) {
        while let Some(trial) = self.next_trial() {
            self.one_trial(trial, &mut attempt);
        }
    }

    /// As [`each_trial`](Self::each_trial), for trials whose numbers say what they are.
    /// The seed orders them, so that whoever has little time sees some of everything.
    pub(crate) fn each_of(
        &mut self,
        mut numbers: Vec<u64>,
        mut attempt: impl FnMut(&mut Self, u64, &mut Chance) -> Result<(), String>,
    ) {
        match self.only_trial {
            Some(number) => numbers = vec![number],
            None => self.chance(u64::MAX).shuffle(&mut numbers),
        }
        for number in numbers {
            if self.next_trial().is_none() {
                return;
            }
            self.one_trial(number, &mut attempt);
        }
    }

    /// As [`each_trial`](Self::each_trial), on a stage that the trials share.
    pub(crate) fn each_on<S>(
        &mut self,
        make: impl FnMut() -> Result<S, String>,
        attempt: impl FnMut(&mut Self, &mut S, u64, &mut Chance) -> Result<(), String>,
    ) {
        self.each_on_shared(u64::MAX, make, attempt);
    }

    /// As [`each_on`](Self::each_on), with a stage that no more than so many share: what
    /// earlier ones left on it is in the way of later ones.
    pub(crate) fn each_on_shared<S>(
        &mut self,
        shared: u64,
        mut make: impl FnMut() -> Result<S, String>,
        mut attempt: impl FnMut(&mut Self, &mut S, u64, &mut Chance) -> Result<(), String>,
    ) {
        let mut stage = None;
        self.each_trial(|campaign, trial, chance| {
            if trial.is_multiple_of(shared) {
                stage = None;
            }
            attempt_on(&mut stage, &mut make, |stage| {
                attempt(campaign, stage, trial, chance)
            })
        });
    }

    fn one_trial(
        &mut self,
        trial: u64,
        attempt: &mut impl FnMut(&mut Self, u64, &mut Chance) -> Result<(), String>,
    ) {
        let mut chance = self.chance(trial);
        self.is_void = false;
        let attempted = self.attempt(|campaign| attempt(campaign, trial, &mut chance));
        match attempted {
            Err(broken) => self.fail(trial, &broken),
            Ok(()) => self.void += u64::from(self.is_void),
        }
    }

    /// The one trial that is repeated, if one is.
    pub(crate) fn repeated(&self) -> Option<u64> {
        self.only_trial
    }

    /// The dice of one trial.
    pub(crate) fn chance(&self, trial: u64) -> Chance {
        Chance::of(self.seed, self.name, trial)
    }

    /// Calls `attempt`, also where a check of the harness gives up in it.
    pub(crate) fn attempt<T>(
        &mut self,
        attempt: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        caught(|| attempt(self))
    }

    /// Notes that something happened.
    pub(crate) fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// Notes that something happened `n` times.
    pub(crate) fn add(&mut self, what: &'static str, n: u64) {
        *self.counts.entry(what).or_default() += n;
    }

    /// Notes a figure, of which the largest is told.
    pub(crate) fn measure(&mut self, what: &'static str, figure: u64) {
        let worst = self.worst.entry(what).or_default();
        *worst = figure.max(*worst);
    }

    /// Notes how many ms have passed since then, of which the most is told.
    pub(crate) fn measure_since(&mut self, what: &'static str, begun: Instant) {
        let ms = begun.elapsed().as_millis();
        self.measure(what, u64::try_from(ms).unwrap_or(u64::MAX));
    }

    /// Notes that something could not be tried here. It is no pass.
    pub(crate) fn skip(&mut self, why: &str) {
        skip(&format!("{}: {why}", self.name));
        self.skipped += 1;
        self.is_void = true;
    }

    /// Notes that this trial has not met what it is about. It is no pass.
    pub(crate) fn miss(&mut self, what: &'static str) {
        self.count(what);
        self.is_void = true;
    }

    /// Demands that each of these has happened, once there were trials enough: a
    /// campaign that does nothing must not pass.
    pub(crate) fn demand(&mut self, happened: &[&'static str]) {
        const ENOUGH: u64 = 40;
        for what in happened {
            if self.trials >= ENOUGH && !self.counts.contains_key(what) {
                self.fail_whole(&format!("in all its trials there were no {what}"));
            }
        }
    }

    /// Whether the time was limited.
    pub(crate) fn is_limited(&self) -> bool {
        self.until.is_some()
    }

    /// Notes that the promise was broken in `trial`.
    pub(crate) fn fail(&mut self, trial: u64, what: &str) {
        println!("FAILED: {} trial {trial}: {what}", self.name);
        println!(
            "  again: cargo xtask faults --seed {} --only {} --trial {trial}",
            self.seed, self.name
        );
        self.failed += 1;
    }

    /// Notes that the campaign itself is broken, and no trial repeats it.
    pub(crate) fn fail_whole(&mut self, what: &str) {
        println!("FAILED: {}: {what}", self.name);
        println!(
            "  again: cargo xtask faults --seed {} --only {}",
            self.seed, self.name
        );
        self.failed += 1;
    }

    /// Whether nothing was tried, and nobody was told why.
    pub(crate) fn is_idle(&self) -> bool {
        self.trials == 0 && self.skipped == 0 && self.failed == 0
    }

    /// How many trials held the promise.
    pub(crate) fn passed(&self) -> u64 {
        self.trials.saturating_sub(self.failed + self.void)
    }

    /// What it came to, in one line.
    pub(crate) fn closing_line(&self) -> String {
        let mut line = format!(
            "{}: {} trials in {:.0} s: {} passed, {} failed, {} skipped",
            self.name,
            self.trials,
            self.begun.elapsed().as_secs_f64(),
            self.passed(),
            self.failed,
            self.skipped
        );
        if self.void > 0 {
            line += &format!(", {} void", self.void);
        }
        let counts = self.counts.iter().map(|(what, n)| format!("{n} {what}"));
        let worst = self.worst.iter().map(|(what, n)| format!("{what} {n}"));
        for (n, told) in counts.chain(worst).enumerate() {
            line += if n == 0 { "; " } else { ", " };
            line += &told;
        }
        line
    }
}

/// Calls `attempt` on the stage, which is made where there is none. When it fails or
/// gives up, the stage goes: what is left on it is not in the way of the next.
pub(crate) fn attempt_on<S>(
    stage: &mut Option<S>,
    make: impl FnOnce() -> Result<S, String>,
    attempt: impl FnOnce(&mut S) -> Result<(), String>,
) -> Result<(), String> {
    let mut ready = stage.take().map_or_else(make, Ok)?;
    attempt(&mut ready)?;
    *stage = Some(ready);
    Ok(())
}

/// What comes of `attempt`, also where a check of the harness gives up in it.
pub(crate) fn caught<T>(attempt: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(text.unwrap_or_else(|| "the harness gave up".to_owned()))
    })
}
