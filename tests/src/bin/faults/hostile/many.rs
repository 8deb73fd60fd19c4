//! `hostile/many`: a thousand records, ten thousand, a hundred thousand. Whoever lists
//! them sees exactly all of them, also the few among them that live or are damaged, and
//! takes memory in proportion. How long it takes is measured, and no promise here.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::time::Instant;

use monoco_tests::{Project, Ran, finish, memory_kb};
use serde_json::Value;

use super::corpus;
use crate::campaign::Campaign;
use crate::chance::Chance;

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
/// How much memory a listing may take in KiB: this much, and so much for each record,
/// which has less than a KiB.
const MEMORY: (u64, u64) = (64 << 10, 4);

pub(crate) fn run(campaign: &mut Campaign) {
    campaign.each_trial(|campaign, trial, chance| {
        let size = SIZES[(trial % SIZES.len() as u64) as usize];
        let crowd = Crowd::new(size, chance);
        campaign.add("records", size as u64);
        crowd.check_command(campaign)?;
        crowd.check_library()?;
        crowd.check_living()
    });
}

/// Ids, each of a record.
type Ids = BTreeSet<String>;

/// A project of very many sessions.
struct Crowd {
    project: Project,
    living: Ids,
    /// The living among them.
    healthy: Ids,
    damaged: Ids,
}

impl Crowd {
    fn new(size: usize, chance: &mut Chance) -> Self {
        let project = Project::new();
        let living: Ids = (0..1 + chance.below(4))
            .map(|_| project.start_agent(&[], &["sleep"], 1).0)
            .collect();
        let cases = corpus::ended();
        let mut healthy = living.clone();
        let mut damaged = Ids::new();
        let torn: BTreeSet<_> = (0..1 + chance.below(9))
            .map(|_| chance.below((size - living.len()) as u64) as usize)
            .collect();
        for n in 0..size - living.len() {
            let id = format!("r{n:05}");
            let mut bytes = cases[n % cases.len()].bytes(&id);
            let kind = if torn.contains(&n) {
                bytes.truncate(bytes.len() / 2);
                &mut damaged
            } else {
                &mut healthy
            };
            fs::write(project.record_path(&id), bytes).expect("a writable project");
            kind.insert(id);
        }
        Self {
            project,
            living,
            healthy,
            damaged,
        }
    }

    fn size(&self) -> u64 {
        (self.healthy.len() + self.damaged.len()) as u64
    }

    /// `ps -a --json` tells all of them, and takes no more memory than it may.
    fn check_command(&self, campaign: &mut Campaign) -> Result<(), String> {
        let begun = Instant::now();
        let (ran, peak) = self.list()?;
        if self.size() == SIZES[2] as u64 {
            campaign.measure_since("ms to list 100,000", begun);
            campaign.measure("KiB that this took", peak);
        }
        let most = MEMORY.0 + MEMORY.1 * self.size();
        if peak > most {
            return Err(format!("{peak} KiB to list {}", self.size()));
        }
        let (mut healthy, mut damaged) = (Ids::new(), Ids::new());
        // Each stands in a line of its own: all at once would take us too much memory.
        let text = ran.out();
        let lines = text.lines().map(|line| line.trim_end_matches(','));
        for line in lines.filter(|line| line.starts_with('{')) {
            let element: Value = serde_json::from_str(line).map_err(|e| format!("{e}: {line}"))?;
            if element["status"] == "corrupt" {
                damaged.insert(stem(element["path"].as_str().unwrap_or_default()));
            } else {
                healthy.insert(element["id"].as_str().unwrap_or_default().to_owned());
            }
        }
        same("ps -a", &self.healthy, &healthy)?;
        same("ps -a, of the damaged,", &self.damaged, &damaged)
    }

    /// What it printed, but for the first bytes, and the most memory that it had.
    fn list(&self) -> Result<(Ran, u64), String> {
        let mut child = self.project.spawn(&["ps", "-a", "--json"]);
        let pid = child.id().cast_signed();
        let stdout = child.stdout.as_mut().expect("it was piped");
        let first = stdout.read_exact(&mut [0; 2]);
        // It prints once it has them all, and cannot end before the rest, of which no
        // pipe holds so much, is read.
        let peak = first.is_ok().then(|| memory_kb(pid, "VmHWM:"));
        let ran = finish(child);
        match peak {
            Some(peak) if ran.code == 0 => Ok((ran, peak)),
            _ => Err(format!("ps -a: {ran}")),
        }
    }

    fn check_library(&self) -> Result<(), String> {
        let listing = self.project.manager().list_with(|seen| seen.session.id);
        let listing = listing.map_err(|error| error.to_string())?;
        let healthy = listing.sessions.iter().map(ToString::to_string).collect();
        let damaged = listing.damaged.iter();
        let damaged = damaged.map(|damaged| stem(&damaged.path.to_string_lossy()));
        same("the library", &self.healthy, &healthy)?;
        same(
            "the library, of the damaged,",
            &self.damaged,
            &damaged.collect(),
        )
    }

    /// `ps` finds the few that live.
    fn check_living(&self) -> Result<(), String> {
        let living = self.project.ids(&[]).into_iter().collect();
        same("ps", &self.living, &living)
    }
}

/// The id that the name of a record's file stands for.
fn stem(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.trim_end_matches(".json").to_owned()
}

fn same(who: &str, there: &Ids, told: &Ids) -> Result<(), String> {
    match there.symmetric_difference(told).next() {
        None => Ok(()),
        Some(id) => Err(format!(
            "{who} tells {} of {}; first differs {id}",
            told.len(),
            there.len()
        )),
    }
}
