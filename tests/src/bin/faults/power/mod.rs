//! Power loss: what real commands did to the disk is replayed up to each moment,
//! with every way in which what was not synced by then may be lost. What was
//! acknowledged survives, and nothing is made up.
//!
//! Commands are recorded with `strace`, so that what is replayed is what the real
//! program asks of the real kernel (as ALICE does: Pillai et al., OSDI 2014). Of
//! two things nothing is promised, and so nothing is checked: the bytes of a log,
//! which only the agent could sync; and the user's registry of projects, which is a
//! hint.

mod check;
mod disk;
mod history;
mod scenarios;
mod stage;
mod states;
mod trace;

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use monoco_tests::{Project, agent, works};

use self::check::Bench;
use self::history::Moment;
use self::scenarios::{Played, SCENARIOS};
use self::stage::Recording;
use self::states::{Coverage, each_state};
use self::trace::Op;
use crate::campaign::Campaign;
use crate::chance::Chance;

/// Among how many moments each scenario's are spread out.
const MOMENTS: u64 = 128;
pub(crate) const TRIALS: u64 = MOMENTS * SCENARIOS.len() as u64;
/// At one of how many moments the real program looks as well.
const COMMANDS_EVERY: u64 = 8;

/// A scenario while the campaign runs.
enum Part {
    Unplayed,
    Skipped,
    Recorded {
        /// Boxed: a recording is large.
        recording: Box<Recording>,
        /// The states that were looked at, each with what was promised in it.
        seen: BTreeSet<u64>,
    },
}

pub(crate) fn run(campaign: &mut Campaign) {
    if !works(&["strace", "-qq", "-o", "/dev/null", "true"]) {
        return campaign.skip("strace is not there, or may not trace");
    }
    let bench = match Bench::new() {
        Ok(bench) => bench,
        Err(why) => return campaign.fail_whole(&format!("nowhere to look: {why}")),
    };
    let mut parts: Vec<Part> = SCENARIOS.iter().map(|_| Part::Unplayed).collect();
    campaign.each_trial(|campaign, trial, chance| {
        let n = trial % SCENARIOS.len() as u64;
        let n = usize::try_from(n).expect("an index");
        let scenario = &SCENARIOS[n];
        let told = |why: String| format!("{}: {why}", scenario.name);
        if let Part::Unplayed = parts[n] {
            parts[n] = record(n, campaign).map_err(told)?;
        }
        let Part::Recorded { recording, seen } = &mut parts[n] else {
            campaign.miss("of a scenario that is skipped");
            return Ok(());
        };
        let at = moment(trial / SCENARIOS.len() as u64, recording.ops.len());
        let op = format!("{:?}", recording.ops.get(at));
        let op: String = op.chars().take(160).collect();
        let told = |why| told(format!("power lost after call {at}, {op}: {why}"));
        attempt(recording, at, seen, &bench, chance, campaign).map_err(told)
    });
    campaign.demand(&["acknowledged sessions in them", "agents executed in them"]);
}

/// The operation after which the power is lost in trial `n`. The first trials are
/// spread over the whole scenario; all together meet each operation (van der
/// Corput's sequence: the bits of `n`, mirrored).
fn moment(n: u64, n_ops: usize) -> usize {
    let bits = MOMENTS.trailing_zeros();
    let mirrored = (n % MOMENTS).reverse_bits() >> (u64::BITS - bits);
    // Where most is promised first.
    let mirrored = mirrored ^ (MOMENTS / 2 + MOMENTS / 4);
    usize::try_from(mirrored * n_ops as u64 / MOMENTS).expect("an index")
}

fn record(n: usize, campaign: &mut Campaign) -> Result<Part, String> {
    let scenario = &SCENARIOS[n];
    let project = Project::new();
    let recording = match (scenario.play)(&project)? {
        Played::Recorded(recording) => recording,
        Played::Skipped(why) => {
            campaign.skip(&format!("{}: {why}", scenario.name));
            return Ok(Part::Skipped);
        }
    };
    campaign.count("scenarios recorded");
    let is_agent = |argv: &[String]| argv.first().is_some_and(|program| program == agent());
    for op in &recording.ops {
        if matches!(op, Op::Executed { argv, .. } if is_agent(argv)) {
            campaign.count("agents executed in them");
        }
    }
    campaign.measure("most calls in one", recording.ops.len() as u64);
    Ok(Part::Recorded {
        recording: Box::new(recording),
        seen: BTreeSet::new(),
    })
}

fn attempt(
    recording: &Recording,
    at: usize,
    seen: &mut BTreeSet<u64>,
    bench: &Bench,
    chance: &mut Chance,
    campaign: &mut Campaign,
) -> Result<(), String> {
    let mut moment = Moment::first(&recording.before);
    for op in recording.ops.iter().take(at + 1) {
        moment.pass(op)?;
    }
    campaign.count("moments");
    let promised = moment.lives.values().filter(|life| life.is_promised());
    campaign.add("acknowledged sessions in them", promised.count() as u64);
    let (lives, with_commands) = (&moment.lives, chance.below(COMMANDS_EVERY) == 0);
    let mut one = None;
    let coverage = each_state(&moment.disk, &mut chance.clone(), |left| {
        let mut hasher = DefaultHasher::new();
        (&left, lives).hash(&mut hasher);
        if !seen.insert(hasher.finish()) {
            return Ok(());
        }
        campaign.count("states");
        bench.check(left.as_ref(), lives, campaign)?;
        if one.is_none() || chance.below(64) == 0 {
            one = Some(left);
        }
        Ok(())
    })?;
    campaign.count(match coverage {
        Coverage::Whole => "moments seen whole",
        Coverage::RecordsWhole => "moments with every state of the records",
        Coverage::Sampled => "moments sampled",
    });
    if let (Some(left), true) = (one, with_commands) {
        campaign.count("states seen by the real program");
        bench.check_commands(left.as_ref(), lives)?;
    }
    Ok(())
}
