//! `kill -9` at random moments: into launchers, supervisors, gates, agents,
//! reconcilers, daemons and whoever gives a command, alone and in pairs. Whatever
//! dies, nothing is torn, nothing that was acknowledged is lost, no agent runs that
//! no record knows, the next command is not refused, and no outcome is invented.

mod scene;
mod strike;
mod world;

use std::collections::BTreeMap;
use std::time::Instant;

use crate::campaign::Campaign;
use crate::chance::Chance;
use scene::Scene;
use world::World;

/// How many trials share a project: what earlier ones left is in their way.
const SHARED: u64 = 50;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    Launcher,
    Supervisor,
    /// The agent's process before it executes the agent.
    Gate,
    Agent,
    /// A `monoco reconcile`.
    Reconciler,
    /// The daemon, while it does what it was asked for.
    Daemon,
    /// Whoever stops, suspends, resumes, adopts or removes the session.
    Commander,
}

const VICTIMS: [Victim; 7] = [
    Victim::Launcher,
    Victim::Supervisor,
    Victim::Gate,
    Victim::Agent,
    Victim::Reconciler,
    Victim::Daemon,
    Victim::Commander,
];

impl Victim {
    pub(crate) fn killed(self) -> &'static str {
        match self {
            Self::Launcher => "launchers killed",
            Self::Supervisor => "supervisors killed",
            Self::Gate => "gates killed",
            Self::Agent => "agents killed",
            Self::Reconciler => "reconcilers killed",
            Self::Daemon => "daemons killed",
            Self::Commander => "commanders killed",
        }
    }
}

pub(crate) fn run(campaign: &mut Campaign) {
    let mut pairs = Pairs::default();
    let make = || Ok(World::new());
    campaign.each_on_shared(SHARED, make, |campaign, world, trial, chance| {
        let victims = victims(chance);
        let begun = Instant::now();
        let killed = attempt(world, &victims, chance, campaign)?;
        campaign.measure_since("longest trial in ms", begun);
        pairs.note(&victims, &killed);
        if trial % SHARED == SHARED - 1 {
            world.close(campaign)?;
        }
        Ok(())
    });
    pairs.tell(campaign);
    campaign.demand(&[
        "acknowledged",
        "launchers killed",
        "supervisors killed",
        "gates killed",
        "agents killed",
        "daemons killed",
        "commanders killed",
        "reconcilers killed",
    ]);
}

/// One of them, or two, in this order.
fn victims(chance: &mut Chance) -> Vec<Victim> {
    let first = *chance.pick(&VICTIMS);
    if chance.one_in(4) {
        return vec![first];
    }
    loop {
        let second = *chance.pick(&VICTIMS);
        if can_follow(first, second) {
            return vec![first, second];
        }
    }
}

/// Whether `second` may still be there when `first` is dead. Of one session there is
/// one launcher and one agent, which is a gate before, and never again.
fn can_follow(first: Victim, second: Victim) -> bool {
    use Victim::{Agent, Gate, Launcher};
    !matches!(
        (first, second),
        (Launcher, Launcher) | (Gate | Agent, Gate | Agent)
    )
}

/// Returns who was killed.
fn attempt(
    world: &mut World,
    victims: &[Victim],
    chance: &mut Chance,
    campaign: &mut Campaign,
) -> Result<Vec<Victim>, String> {
    let mut scene = Scene::open(world, victims, chance, campaign)?;
    let mut killed = Vec::new();
    for (n, victim) in victims.iter().enumerate() {
        if scene.strike(*victim, victims.get(n + 1), chance, campaign)? {
            campaign.count(victim.killed());
            killed.push(*victim);
        }
    }
    scene.close(chance, campaign)?;
    Ok(killed)
}

/// How often each pair was to be killed, and was.
#[derive(Default)]
struct Pairs(BTreeMap<(Victim, Victim), (u64, u64)>);

impl Pairs {
    fn note(&mut self, meant: &[Victim], killed: &[Victim]) {
        if let [first, second] = *meant {
            let (tried, hit) = self.0.entry((first, second)).or_default();
            *tried += 1;
            *hit += u64::from(killed == meant);
        }
    }

    fn tell(&self, campaign: &mut Campaign) {
        campaign.add("different pairs tried", self.0.len() as u64);
        let hit = self.0.values().filter(|(_, hit)| *hit > 0).count();
        campaign.add("different pairs killed", hit as u64);
        let fewest = self.0.iter().min_by_key(|(_, (_, hit))| *hit);
        if let Some(((first, second), (tried, hit))) = fewest {
            println!("  the pair killed least often: {first:?}, {second:?}: {hit} of {tried}");
        }
    }
}
