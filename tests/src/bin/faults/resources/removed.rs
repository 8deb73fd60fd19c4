//! What belongs to a living session is removed from under its owner, or replaced:
//! it is made anew within seconds, there are never two owners, and the end is told
//! as it was.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monoco_tests::{PATIENCE, Project, alive, finish, wait_until};
use rustix::fs::{FlockOperation, flock};
use session_core::{LostCause, Outcome};

use super::{
    Agent, SOON, ask_to_end, check_mended, check_truth, is_owned, recorded_end, start_by_shell,
    started,
};
use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::promise::check_deserted;

/// What is removed, below `.monoco`.
const PARTS: [&str; 8] = [
    "",
    "run",
    "run/ID",
    "run/ID/lease",
    "run/ID/control.sock",
    "run/ID/reserve",
    "sessions",
    "sessions/ID.json",
];

pub(crate) fn run(campaign: &mut Campaign) {
    campaign.each_trial(|campaign, _, chance| {
        let project = Project::new();
        let agent = Agent::draw(chance);
        let id =
            started(&start_by_shell(&project, "exec", agent, ""))?.ok_or("nothing is short")?;
        wait_until("the agent is ready", || project.log(&id).len() >= 10);
        let trial = Trial {
            project: &project,
            id,
            agent,
        };
        if chance.below(3) == 0 {
            trial.rival(chance, campaign)
        } else {
            trial.remove(chance, campaign)
        }
    });
}

struct Trial<'a> {
    project: &'a Project,
    id: String,
    agent: Agent,
}

impl Trial<'_> {
    fn path(&self, part: &str) -> PathBuf {
        let base = self.project.path().join(".monoco");
        base.join(part.replace("ID", &self.id))
    }

    fn remove(&self, chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
        let pid = self.project.agent(&self.id);
        let mut removed = Vec::new();
        for _ in 0..1 + chance.below(3) {
            let part = *chance.pick(&PARTS);
            removed.push(part);
            remove(&self.path(part));
            if chance.below(2) == 0 {
                std::thread::sleep(chance.moment(Duration::from_millis(50)));
            }
        }
        let told = |why: String| format!("{removed:?} removed: {why}");
        campaign.add("removals", removed.len() as u64);
        // The owner watches its own folder, and `.monoco`; of a record that goes by
        // itself it is not told, and writes it again with the next change.
        let is_noticed = !removed.contains(&"sessions/ID.json");
        let lives_on = is_noticed && chance.below(4) != 0;
        if lives_on {
            self.check_back(&removed, campaign).map_err(told)?;
        }
        monoco_tests::kill(pid, monoco_tests::Signal::TERM);
        self.check_end_of_removed().map_err(told)?;
        campaign.count(if lives_on {
            "ended once all was back"
        } else {
            "ended meanwhile"
        });
        check_deserted(self.project, None).map_err(told)?;
        check_mended(self.project, &[]).map_err(told)
    }

    /// The record and the lease are there again, and the agent was not disturbed. The
    /// promise is 5 s, on a machine that has little else to do: it is measured only.
    fn check_back(&self, removed: &[&str], campaign: &mut Campaign) -> Result<(), String> {
        let begun = Instant::now();
        while !(self.is_recorded() && is_owned(self.project, &self.id)) {
            if begun.elapsed() > PATIENCE {
                return Err("it is not back".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        campaign.measure_since("slowest back, in ms", begun);
        let pid = self.project.agent(&self.id);
        if !alive(pid) || self.owners().len() != 1 {
            return Err(format!("{:?} own it", self.owners()));
        }
        // Without its own folder the ear is gone as well; alone it is not missed.
        if removed.iter().all(|part| !part.ends_with("control.sock")) {
            let reached = || self.project.run(&["suspend", &self.id]).code == 0;
            wait_until("it can be reached again", reached);
            self.project.run(&["resume", &self.id]).ok();
        }
        Ok(())
    }

    fn is_recorded(&self) -> bool {
        self.project.session(&self.id).is_ok()
    }

    /// Its end is recorded, whatever of it was removed before.
    fn check_end_of_removed(&self) -> Result<(), String> {
        check_deserted(self.project, Some(&self.id))?;
        if !self.is_recorded() {
            return Err("it has ended, and is lost".to_owned());
        }
        // The log may have been removed with the rest, so it does not tell what was said.
        let agent = Agent {
            said: 0,
            ..self.agent
        };
        check_truth(self.project, &self.id, agent, false)
    }

    /// Everybody who holds this session's lease, or was started to.
    fn owners(&self) -> Vec<i32> {
        let everybody = self.project.survivors().into_iter();
        let is_owner = |pid: &i32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let has = |word: &[u8]| words.split(|byte| *byte == 0).any(|it| it == word);
            // Only a supervisor is started with the bare id of its session.
            has(self.id.as_bytes()) && monoco_tests::executes(*pid, monoco_tests::monoco())
        };
        everybody.filter(is_owner).collect()
    }

    /// The lease is put aside for another one, which is free, or taken by somebody
    /// else, and a rival comes at once.
    fn rival(&self, chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
        let lease = self.path("run/ID/lease");
        let taken = chance.below(3) == 0;
        let made = lease.with_file_name("record-rival");
        let file = File::create(&made).map_err(|error| error.to_string())?;
        if taken {
            flock(&file, FlockOperation::NonBlockingLockExclusive)
                .map_err(|error| error.to_string())?;
        }
        // In the lease's place without a moment in which there is none.
        std::fs::rename(&made, &lease).map_err(|error| error.to_string())?;
        let verb = *chance.pick(&["adopt", "reconcile", "stop"]);
        let mut words = vec![verb];
        if verb == "stop" {
            // Whoever holds the lease without an ear is waited for 10 s longer than this.
            words.extend(["-t", "1"]);
        }
        words.extend((verb != "reconcile").then_some(self.id.as_str()));
        let told = |why: String| format!("a lease that is taken: {taken}, {verb}: {why}");
        let rival = finish(self.project.spawn(&words));
        campaign.count(match (verb, rival.code) {
            ("adopt", 0) => "rivals who were faster",
            ("adopt", _) => "rivals refused",
            _ => "others with a free lease",
        });
        self.check_one_owner(campaign)
            .map_err(|why| told(format!("{why}: {rival}")))?;
        drop(file);
        if verb == "stop" {
            // Whoever it reached: nothing is left, and no success is made of it.
            let _ = self.project.run(&["stop", &self.id]);
            check_deserted(self.project, Some(&self.id)).map_err(told)?;
            return match self.project.session(&self.id)?.outcome() {
                Some(Outcome::Stopped { .. } | Outcome::Lost { .. }) => Ok(()),
                // The agent answers TERM, whoever sent it.
                Some(Outcome::Exited { code }) if *code == self.agent.code => Ok(()),
                other => Err(told(format!("{other:?} is recorded"))),
            };
        }
        ask_to_end(self.project, &self.id);
        let waited = self.project.run(&["wait", &self.id]).code;
        let outcome = recorded_end(self.project, &self.id, SOON)?;
        let is_true = match outcome {
            Some(Outcome::Exited { code }) => code == self.agent.code && waited == code,
            Some(Outcome::Lost {
                cause: LostCause::OwnerDied,
            }) => waited == 125,
            _ => false,
        };
        if !is_true {
            return Err(told(format!(
                "{waited} by wait, and {outcome:?} is recorded"
            )));
        }
        check_deserted(self.project, Some(&self.id)).map_err(told)?;
        check_mended(self.project, &[]).map_err(told)
    }

    /// The one who lost the lease steps down, and no second one appears.
    fn check_one_owner(&self, campaign: &mut Campaign) -> Result<(), String> {
        let begun = Instant::now();
        while self.owners().len() > 1 {
            if begun.elapsed() > PATIENCE {
                return Err(format!("{:?} own it", self.owners()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        campaign.measure_since("slowest to step down, in ms", begun);
        Ok(())
    }
}

/// Whose inhabitants may be faster in making something anew: then for now.
fn remove(path: &Path) {
    if path.is_dir() {
        let _ = std::fs::remove_dir_all(path);
    } else {
        let _ = std::fs::remove_file(path);
    }
}
