//! Resume against stop against suspend against kill against the agent's own end, at
//! random moments, from several processes; the owner may sleep meanwhile, and is
//! not dead for that. Everybody is told what is true, the record's last word is one
//! that what was asked allows, and nobody is left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use monoco_tests::{Project, Signal, finish, is_awake, is_stopped, kill};
use session_core::{Liveness, Observation, SessionId, SessionManager, Status, error_chain};

use super::asked::{Act, Answer, Asked, Behaviour};
use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::promise::check_deserted;

/// Within which time everything is asked.
const SPREAD: Duration = Duration::from_millis(60);
/// Longer than anybody waits for an answer.
const LONG_SLEEP: Duration = Duration::from_secs(12);
/// In how many trials an owner sleeps so long, where the time is not limited.
const LONG_SLEEP_EVERY: u64 = 300;
/// How many trials share a project.
const SHARED: u64 = 100;

pub(crate) fn run(campaign: &mut Campaign) {
    let make = || Ok(Project::new());
    campaign.each_on_shared(SHARED, make, |campaign, project, _, chance| {
        attempt(project, chance, campaign)
    });
}

fn attempt(project: &Project, chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let behaviour = Behaviour::draw(chance);
    let harmless = chance.below(5) == 0;
    let acts = (0..2 + chance.below(5)).map(|_| match harmless {
        true => Act::draw_harmless(chance),
        false => Act::draw(chance, behaviour),
    });
    let mut asked = Asked {
        behaviour,
        acts: acts.collect(),
        slept_long: false,
    };
    let sleep = match chance.below(LONG_SLEEP_EVERY) {
        0 if !campaign.is_limited() => Some(LONG_SLEEP),
        n if n % 4 == 0 => Some(chance.moment(Duration::from_millis(50))),
        _ => None,
    };
    asked.slept_long = sleep == Some(LONG_SLEEP);
    let words = behaviour.words();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let (id, pids) = project.start_agent(&[], &words, 1);
    let scene = Scene {
        project,
        manager: project.manager(),
        id: SessionId::parse(&id).map_err(|error| error.to_string())?,
        agent: pids[0],
    };
    let answers = scene.play(&asked, sleep, chance)?;
    for answer in &answers {
        campaign.count(if answer.ran.code == 0 {
            "done"
        } else {
            "refused"
        });
        if answer.ran.err().contains("does not answer") {
            campaign.count("owners that did not answer in time");
        }
        asked
            .allow_answer(answer)
            .map_err(|why| format!("{id}: {why}; {asked:?}"))?;
    }
    if sleep.is_some() {
        campaign.count("owners that slept");
    }
    let told = |why| format!("{id}: {why}; {asked:?}");
    scene.check_at_rest().map_err(told)?;
    let ended = scene.end(&asked, campaign);
    ended.map_err(|why| format!("{id}: {why}; {answers:?}"))
}

struct Scene<'a> {
    project: &'a Project,
    manager: SessionManager,
    id: SessionId,
    agent: i32,
}

impl Scene<'_> {
    /// Has everything done at once, and returns what everybody was told.
    fn play(
        &self,
        asked: &Asked,
        sleep: Option<Duration>,
        chance: &mut Chance,
    ) -> Result<Vec<Answer>, String> {
        let supervisor = sleep.and_then(|_| self.owner());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looker = scope.spawn(|| self.look(&over));
            let sleeper = supervisor.zip(sleep).map(|(pid, time)| {
                let at = chance.moment(SPREAD);
                scope.spawn(move || put_to_sleep(pid, at, time))
            });
            let askers: Vec<_> = asked
                .acts
                .iter()
                .map(|act| {
                    let at = chance.moment(SPREAD);
                    scope.spawn(move || self.ask(*act, at))
                })
                .collect();
            let answers: Vec<_> = askers.into_iter().map(|asker| asker.join()).collect();
            // Whether it was there to be put to sleep or not.
            let _ = sleeper.map(|sleeper| sleeper.join());
            over.store(true, Ordering::SeqCst);
            looker
                .join()
                .map_err(|_| "the looker gave up".to_owned())??;
            let given_up = |_| "somebody who asked gave up".to_owned();
            answers
                .into_iter()
                .map(|answer| answer.map_err(given_up)?)
                .collect()
        })
    }

    fn seen(&self) -> Result<Observation, String> {
        let seen = self.manager.get(&self.id);
        seen.map_err(|error| error_chain(&error))
    }

    fn owner(&self) -> Option<i32> {
        let control = self.manager.try_control(&self.id).ok().flatten()?;
        Some(control.owner_pid()?.get())
    }

    fn ask(&self, act: Act, at: Duration) -> Result<Answer, String> {
        std::thread::sleep(at);
        let ran = finish(self.project.spawn(&act.words(self.id.as_str())));
        let seen = self.seen()?;
        let status = seen.session.status();
        Ok(Answer { act, ran, status })
    }

    /// As long as it has not ended it has an owner, also one who sleeps.
    fn look(&self, over: &AtomicBool) -> Result<(), String> {
        while !over.load(Ordering::SeqCst) {
            let seen = self.seen()?;
            if !matches!(seen.liveness, Liveness::Owned | Liveness::Ended) {
                return Err(format!("it was told to be {:?}", seen.liveness));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// When nothing is asked any more, the record says what the agent is.
    fn check_at_rest(&self) -> Result<(), String> {
        let seen = self.seen()?;
        let (status, stopped) = (seen.session.status(), is_stopped(self.agent));
        // Not whoever waits, as vfork(2) does, for a child that is stopped.
        let runs = is_awake(self.agent);
        let again = self.seen()?;
        match status {
            // It ended while it was looked at.
            _ if again.session.status() != status => Ok(()),
            Status::Suspended if runs => Err("suspended, and its agent runs".to_owned()),
            Status::Running if stopped => Err("running, and its agent is stopped".to_owned()),
            _ => Ok(()),
        }
    }

    /// Stops it, whatever it is; everything must be over then, and stay so.
    fn end(&self, asked: &Asked, campaign: &mut Campaign) -> Result<(), String> {
        let id = self.id.as_str();
        let path = self.project.record_path(id);
        let grace = asked.behaviour.grace().to_string();
        let ran = self.project.run(&["stop", "-t", &grace, id]);
        if ran.code != 0 {
            return Err(format!(
                "the last stop was refused: {}",
                ran.err().trim_end()
            ));
        }
        let record = std::fs::read(&path).map_err(|error| error.to_string())?;
        check_deserted(self.project, Some(id))?;
        let seen = self.seen()?;
        campaign.count(match seen.session.status() {
            Status::Terminated => "stopped",
            Status::Completed | Status::Failed => "ended by themselves",
            _ => "ended otherwise",
        });
        asked.allow_end(&seen.session)?;
        // Stopped once more, it stays what it is.
        self.project.run(&["stop", id]).ok();
        if std::fs::read(&path).map_err(|error| error.to_string())? != record {
            return Err("its record has changed after its end".to_owned());
        }
        Ok(())
    }
}

fn put_to_sleep(supervisor: i32, at: Duration, time: Duration) {
    std::thread::sleep(at);
    kill(supervisor, Signal::STOP);
    std::thread::sleep(time);
    kill(supervisor, Signal::CONT);
}
