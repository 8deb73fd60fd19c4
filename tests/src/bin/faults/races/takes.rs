//! The lease of a dead owner is taken, again and again, while others look all the
//! time. Nobody is refused for a look that is in the way; nobody owns beside somebody
//! else; and whoever looks while somebody owns sees that.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use monoco_tests::Project;
use session_core::{
    Claim, ClaimError, LeaseError, Liveness, SessionId, SessionManager, error_chain,
};

use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::left::{own_process, ownerless};

const PROBERS: usize = 4;
/// How long a taker goes on trying while others own.
const PATIENCE: Duration = Duration::from_secs(20);

/// One session, and who owns it.
struct Stage {
    _project: Project,
    manager: SessionManager,
    id: SessionId,
    /// Odd while somebody owns it, as far as those know who take and let go.
    owned: AtomicU64,
    over: AtomicBool,
    looks: AtomicU64,
}

pub(crate) fn run(campaign: &mut Campaign) {
    let stage = match Stage::new() {
        Ok(stage) => stage,
        Err(broken) => return campaign.fail(0, &broken),
    };
    std::thread::scope(|scope| {
        let probers: Vec<_> = (0..PROBERS)
            .map(|_| scope.spawn(|| stage.probe()))
            .collect();
        // What made a prober give up is told once, and no trial is tried without it.
        while probers.iter().all(|prober| !prober.is_finished())
            && let Some(trial) = campaign.next_trial()
        {
            let mut chance = campaign.chance(trial);
            let tried = campaign.attempt(|campaign| match chance.below(16) {
                0 => rivals(&stage, &mut chance, campaign),
                _ => alone(&stage, &mut chance, campaign),
            });
            if let Err(broken) = tried {
                campaign.fail(trial, &broken);
            }
        }
        stage.over.store(true, Ordering::SeqCst);
        for prober in probers {
            match prober.join() {
                Ok(Ok(())) => {}
                Ok(Err(broken)) => campaign.fail_whole(&broken),
                Err(_) => campaign.fail_whole("a prober gave up"),
            }
        }
    });
    campaign.add("looks meanwhile", stage.looks.load(Ordering::SeqCst));
}

impl Stage {
    /// A session of which this process is the agent, so that it is an orphan
    /// whenever nobody owns it.
    fn new() -> Result<Self, String> {
        let project = Project::new();
        let manager = SessionManager::create(project.path()).map_err(|e| e.to_string())?;
        let id = ownerless(&manager, own_process()?)?;
        Ok(Self {
            _project: project,
            manager,
            id,
            owned: AtomicU64::new(0),
            over: AtomicBool::new(false),
            looks: AtomicU64::new(0),
        })
    }

    /// Looks until it is over.
    fn probe(&self) -> Result<(), String> {
        while !self.over.load(Ordering::SeqCst) {
            let before = self.owned.load(Ordering::SeqCst);
            let seen = self.manager.get(&self.id);
            let after = self.owned.load(Ordering::SeqCst);
            self.looks.fetch_add(1, Ordering::Relaxed);
            let liveness = seen.map_err(|error| error_chain(&error))?.liveness;
            let owned_all_the_time = before == after && before % 2 == 1;
            match liveness {
                Liveness::Owned => {}
                Liveness::Orphan if !owned_all_the_time => {}
                other => {
                    return Err(format!(
                        "a prober saw {other:?}, owned: {owned_all_the_time}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Notes that somebody owns now. Nobody may have owned before.
    fn enter(&self) -> Result<(), String> {
        match self.owned.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => Ok(()),
            _ => Err("there are two owners".to_owned()),
        }
    }

    /// Owns for a moment, and lets go: as by a death, or in order.
    fn own(&self, claim: Claim, dies: bool, time: Duration) -> Result<(), String> {
        let entered = self.enter();
        let until = Instant::now() + time;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        self.owned.fetch_add(1, Ordering::SeqCst);
        if dies {
            drop(claim.into_lease());
        } else {
            claim.release().map_err(|error| error_chain(&error))?;
        }
        entered
    }
}

/// Nobody else takes it, so nobody may be refused.
fn alone(stage: &Stage, chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let claim = stage
        .manager
        .claim(&stage.id)
        .map_err(|error| format!("it was refused: {}", error_chain(&error)))?;
    campaign.count("takes");
    let dies = chance.below(4) > 0;
    campaign.count(if dies { "deaths" } else { "releases" });
    stage.own(claim, dies, chance.moment(Duration::from_micros(200)))
}

/// Several take it at once, each until it has had it.
fn rivals(stage: &Stage, chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let n = 2 + chance.below(3);
    let dice: Vec<_> = (0..n)
        .map(|i| Chance::of(chance.next(), "rival", i))
        .collect();
    let barrier = Barrier::new(dice.len());
    std::thread::scope(|scope| {
        let barrier = &barrier;
        let take = |mut dice: Chance| {
            scope.spawn(move || {
                barrier.wait();
                take_until_had(stage, &mut dice)
            })
        };
        let takers: Vec<_> = dice.into_iter().map(take).collect();
        for taker in takers {
            let refused = taker.join().map_err(|_| "a taker gave up".to_owned())??;
            campaign.count("takes");
            campaign.count("takes beside others");
            campaign.add("refusals while another owned", refused);
        }
        Ok(())
    })
}

/// Takes it a few times. Returns how often it was refused before.
fn take_until_had(stage: &Stage, chance: &mut Chance) -> Result<u64, String> {
    let begun = Instant::now();
    let mut refused = 0;
    let mut left = 1 + chance.below(4);
    while left > 0 {
        match stage.manager.claim(&stage.id) {
            Ok(claim) => {
                let dies = chance.below(2) > 0;
                stage.own(claim, dies, chance.moment(Duration::from_micros(200)))?;
                left -= 1;
            }
            Err(ClaimError::Lease(LeaseError::Held(_))) if begun.elapsed() < PATIENCE => {
                refused += 1;
            }
            Err(error) => return Err(format!("a rival was refused: {}", error_chain(&error))),
        }
    }
    Ok(refused)
}
