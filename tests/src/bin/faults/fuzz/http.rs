//! `fuzz/http`: anything at all at the door of a real `monoco serve`. It answers what
//! the API allows, never fails of its own, grows no fatter, and touches no file.

use monoco_tests::fuzz::{Http, seeds};
use monoco_tests::{Project, RawServer};
use session_core::SessionId;

use super::{Weight, checked};
use crate::campaign::Campaign;
use crate::mutator::Mutator;
use crate::tree::Tree;

/// How many mutants a trial tries.
const BATCH: usize = 200;
/// How much the daemon may grow once it is warm, in KiB.
const GROWTH: u64 = 8 << 10;

/// A daemon, and what it must not touch.
struct Door {
    http: Http,
    server: RawServer,
    tree: Tree,
    project: Project,
    weight: Weight,
}

impl Door {
    fn new() -> Self {
        let project = Project::in_subdirectory("project");
        let id = project.start(&["--issue", "A"], &["true"]);
        project.wait_for_release(&id);
        // What a path that leaves its folder would find.
        for folder in ["", ".monoco", ".monoco/sessions", ".monoco/logs"] {
            let canary = project.path().join(folder).join("canary");
            std::fs::write(canary, "untouched").expect("a writable project");
        }
        let above = project.path().join("../canary.json");
        std::fs::write(above, "untouched").expect("a writable directory");
        let server = RawServer::start(&project, &[]);
        let id = SessionId::parse(&id).expect("it was given by monoco");
        Self {
            http: Http::new(server.address(), server.token(), id),
            tree: Tree::of(&project.path().join("..")),
            server,
            project,
            weight: Weight::new("KiB that a daemon grew", GROWTH),
        }
    }

    fn check(&mut self, campaign: &mut Campaign) -> Result<(), String> {
        let listed = self.server.get("/api/v1/sessions").is(200).json();
        let n = listed["sessions"].as_array().map_or(0, Vec::len);
        if n != 1 {
            return Err(format!("{n} sessions are listed: {listed}"));
        }
        self.tree
            .check_same(&Tree::of(&self.project.path().join("..")))?;
        self.weight.check(self.server.pid(), campaign)
    }
}

pub(crate) fn run(campaign: &mut Campaign) {
    let mutator = Mutator::new(seeds("http"));
    let make = || Ok(Door::new());
    campaign.each_on(make, |campaign, door, _, chance| {
        for _ in 0..BATCH {
            let mutant = mutator.mutant(chance);
            checked(campaign, &mutant, |_| door.http.check(&mutant))?;
            campaign.count(match mutant.first() {
                Some(b'!') => "strangers' requests",
                Some(b'+') => "acts",
                _ => "targets",
            });
        }
        door.check(campaign)
    });
}
