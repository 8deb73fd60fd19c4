//! All campaigns, in the order in which they are run.

use crate::campaign::{Campaign, Plan};
use crate::{
    agents, failpoints, fuzz, hostile, identity, kill, outcomes, power, races, resources, syscalls,
};

/// With how many trials each has in full, and its share where the time is limited: about
/// how long it takes in full.
pub(crate) const PLANS: &[Plan] = &[
    plan("kill", 10_000, 6, kill::run),
    plan("syscalls", ALL, 12, syscalls::run),
    plan("failpoints", ALL, 2, failpoints::run),
    plan("power", power::TRIALS, 6, power::run),
    plan("races/starters", 1_250, 3, races::starters),
    plan("races/takes", 20_000, 1, races::takes),
    plan("races/reconcilers", 250, 1, races::reconcilers),
    plan("races/readers", 60, 1, races::readers),
    plan("races/verbs", 500, 1, races::verbs),
    plan("identity/reuse", 3_000, 2, identity::reuse),
    plan("identity/forged", 20_000, 1, identity::forged),
    plan("identity/reboot", 250, 1, identity::reboot),
    plan("identity/namespaces", 300, 1, identity::namespaces),
    plan("identity/zombies", 500, 1, identity::zombies),
    plan("hostile/records", hostile::RECORDS, 2, hostile::records),
    plan("hostile/files", 200, 2, hostile::files),
    plan("hostile/mutants", 60, 1, hostile::mutants),
    plan("hostile/many", 3, 1, hostile::many),
    plan("fuzz/record", 250, 1, fuzz::record),
    plan("fuzz/id", 250, 1, fuzz::id),
    plan("fuzz/control", 200, 1, fuzz::control),
    plan("fuzz/http", 200, 1, fuzz::http),
    plan("resources/disk", 400, 1, resources::disk),
    plan("resources/limits", 250, 3, resources::limits),
    plan("resources/paths", 200, 1, resources::paths),
    plan("resources/removed", 120, 1, resources::removed),
    plan("agents/behaviour", 800, 12, agents::behaviour),
    plan("agents/exec", 300, 1, agents::unstartable),
    plan("agents/uid", 60, 1, agents::untouchable),
    plan("outcomes", 10_000, 5, outcomes::run),
];

/// As many trials as there are things to try.
const ALL: u64 = u64::MAX;

const fn plan(name: &'static str, trials: u64, weight: u32, run: fn(&mut Campaign)) -> Plan {
    Plan {
        name,
        trials,
        weight,
        run,
    }
}
