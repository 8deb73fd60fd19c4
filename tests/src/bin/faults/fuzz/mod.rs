//! Bytes that are nearly right, for every parser that strangers reach: what
//! `monoco_tests::fuzz` demands must hold for all of them. `cargo xtask fuzz` looks
//! for such bytes by coverage; these campaigns need nothing, and replay.

mod control;
mod http;

use std::time::Duration;

use monoco_tests::fuzz::{check_id, check_record, is_record, seeds};
use monoco_tests::memory_kb;
use rustix::time::{ClockId, clock_gettime};

use crate::campaign::Campaign;
use crate::mutator::Mutator;

pub(crate) use control::run as control;
pub(crate) use http::run as http;

/// How many mutants a trial tries that are only parsed.
const PARSED: u64 = 2000;
/// So many trials warm whoever is asked.
const WARM: u64 = 5;
/// The most of a processor's time that a parser may take for one of them: they are at
/// most 64 KiB.
const LONGEST: Duration = Duration::from_millis(500);

pub(crate) fn record(campaign: &mut Campaign) {
    parse(campaign, "record", |campaign, mutant| {
        check_record(mutant);
        if is_record(mutant) {
            campaign.count("sessions");
        }
    });
}

pub(crate) fn id(campaign: &mut Campaign) {
    parse(campaign, "id", |campaign, mutant| {
        check_id(mutant);
        let text = std::str::from_utf8(mutant);
        if text.is_ok_and(|text| session_core::SessionId::parse(text).is_ok()) {
            campaign.count("ids");
        }
    });
}

fn parse(campaign: &mut Campaign, target: &str, check: fn(&mut Campaign, &[u8])) {
    let mutator = Mutator::new(seeds(target));
    campaign.each_trial(|campaign, _, chance| {
        for _ in 0..PARSED {
            let mutant = mutator.mutant(chance);
            let before = processor_time();
            checked(campaign, &mutant, |campaign| check(campaign, &mutant))?;
            let took = processor_time().saturating_sub(before);
            if took > LONGEST {
                return Err(format!("{took:?} for {}", mutant.escape_ascii()));
            }
            campaign.count("mutants");
        }
        Ok(())
    });
}

/// What this thread has used of it, whatever else the machine does.
fn processor_time() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(used).expect("it only grows from 0")
}

/// Somebody who is asked much: once it is warm it grows no fatter.
struct Weight {
    /// What its growth is called, in KiB.
    figure: &'static str,
    /// How much of that it may be.
    most: u64,
    batches: u64,
    warm_kib: u64,
}

impl Weight {
    fn new(figure: &'static str, most: u64) -> Self {
        Self {
            figure,
            most,
            batches: 0,
            warm_kib: 0,
        }
    }

    /// Weighs it after each trial.
    fn check(&mut self, pid: i32, campaign: &mut Campaign) -> Result<(), String> {
        let kib = memory_kb(pid, "VmRSS:");
        self.batches += 1;
        if self.batches <= WARM {
            self.warm_kib = kib.max(self.warm_kib);
            return Ok(());
        }
        let grown = kib.saturating_sub(self.warm_kib);
        campaign.measure(self.figure, grown);
        if grown > self.most {
            return Err(format!("{grown} {}", self.figure));
        }
        Ok(())
    }
}

/// Says with which bytes a check failed.
pub(crate) fn checked<T>(
    campaign: &mut Campaign,
    bytes: &[u8],
    check: impl FnOnce(&mut Campaign) -> T,
) -> Result<T, String> {
    let done = campaign.attempt(|campaign| Ok(check(campaign)));
    done.map_err(|why| format!("{why}\n  for {}", bytes.escape_ascii()))
}
