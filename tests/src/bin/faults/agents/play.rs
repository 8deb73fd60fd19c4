//! The play itself: the agent is started, what is to be done to it is done, and
//! what came of it is compared with what may come of it.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use monoco_tests::{
    PATIENCE, Project, Signal, agent, alive, cpu_ticks, finish, gone, ignored_signals, is_awake,
    kill, monoco, pending_signals, wait_until,
};
use session_core::SessionId;
use session_core::control::Request;

use super::cast::{Cast, Deed, End, Frozen};
use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::model::exit_code;
use crate::promise::{check_deserted, manager};

/// What is over at once takes no longer, on the busiest machine.
const AT_ONCE: Duration = Duration::from_secs(5);

pub(crate) fn run(campaign: &mut Campaign) {
    campaign.each_trial(|campaign, _, chance| {
        let cast = Cast::draw(chance);
        // As a shell has it for what it starts in the background.
        let is_deaf = ignored_signals() & (1 << (Signal::INT.as_raw() - 1)) != 0;
        if cast.deed == Deed::CtrlC && is_deaf {
            campaign.skip("whoever runs this ignores SIGINT");
            return Ok(());
        }
        let project = Project::new();
        let played = campaign.attempt(|campaign| {
            let mut play = Play::begin(&project, &cast)?;
            play.freeze(campaign)?;
            play.watch_idle(chance, campaign)?;
            play.act(campaign)?;
            play.check_end(campaign)
        });
        played.map_err(|why| format!("{cast:?}: {why}"))
    });
}

/// A session that runs, and who looks on.
struct Play<'a> {
    cast: &'a Cast,
    project: &'a Project,
    launcher: Option<Child>,
    follower: Option<Child>,
    id: String,
    agent: i32,
}

impl<'a> Play<'a> {
    /// Starts the session, and waits until its agent and all its company are there.
    fn begin(project: &'a Project, cast: &'a Cast) -> Result<Self, String> {
        let ready = project.state_home().join("ready");
        let steps = cast.steps(&ready.display().to_string());
        let mut words = vec!["run"];
        words.extend((!cast.foreground).then_some("-d"));
        words.extend(cast.leave_children.then_some("--leave-children"));
        if cast.deed == Deed::Timeout {
            words.extend(["--timeout", "1"]);
        }
        words.extend(["--", agent(), "be"]);
        words.extend(steps.iter().map(String::as_str));
        let launcher = project.spawn(&words);
        let launcher = if cast.foreground {
            Some(launcher)
        } else {
            finish(launcher).ok();
            None
        };
        wait_until("the agent is ready", || ready.exists());
        let manager = manager(project).ok_or("there is no project")?;
        let listing = manager.list().map_err(|error| error.to_string())?;
        let session = listing.sessions.into_iter().next();
        let session = session.ok_or("there is no session")?.session;
        let id = session.id.to_string();
        let agent = session.pid().ok_or("the agent has no pid")?.get();
        let follower = cast.followed.then(|| project.spawn(&["logs", "-f", &id]));
        Ok(Self {
            cast,
            project,
            launcher,
            follower,
            id,
            agent,
        })
    }

    /// Suspends the session, and lets it go on or not.
    fn freeze(&mut self, campaign: &mut Campaign) -> Result<(), String> {
        if self.cast.frozen == Frozen::Never {
            return Ok(());
        }
        let suspended = self.project.run(&["suspend", &self.id]);
        if suspended.code != 0 {
            // Its time may have been up before.
            return self
                .is_overdue()
                .then_some(())
                .ok_or(format!("suspend: {suspended}"));
        }
        campaign.count("suspended");
        let awake = self.company().into_iter().find(|pid| is_awake(*pid));
        if let Some(pid) = awake {
            return Err(format!("{pid} goes on while the session is suspended"));
        }
        if self.cast.deed == Deed::Timeout {
            // Past its time, which stands still.
            std::thread::sleep(Duration::from_millis(1200));
            if self.project.status(&self.id) != "suspended" {
                return Err("its time went on while it was suspended".to_owned());
            }
        }
        if self.cast.frozen == Frozen::Thawed {
            self.project.run(&["resume", &self.id]).ok();
        }
        Ok(())
    }

    fn is_overdue(&self) -> bool {
        self.cast.deed == Deed::Timeout
    }

    /// Everybody of the agent's tree.
    fn company(&self) -> Vec<i32> {
        let everybody = self.project.survivors().into_iter();
        everybody
            .filter(|pid| monoco_tests::executes(*pid, agent()))
            .collect()
    }

    /// An owner of agents that do nothing does nothing.
    fn watch_idle(&self, chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
        let quiet = self
            .cast
            .companions
            .iter()
            .all(|companion| companion.is_quiet());
        let waits = matches!(self.cast.end, End::Sleep | End::Deaf | End::Catch(_));
        if !quiet || !waits || self.is_overdue() || chance.below(4) != 0 {
            return Ok(());
        }
        let supervisor = self.project.supervisor(&self.id);
        let before = cpu_ticks(supervisor);
        std::thread::sleep(Duration::from_millis(100));
        let ticks = cpu_ticks(supervisor) - before;
        campaign.count("watched while idle");
        if ticks > 3 {
            return Err(format!("the owner was busy for {ticks} ticks of 10"));
        }
        Ok(())
    }

    /// Does to it what is to be done.
    fn act(&mut self, campaign: &mut Campaign) -> Result<(), String> {
        let id = self.id.clone();
        let project = self.project;
        let monoco = |words: &[&str]| {
            let ran = project.run(&[words, &[id.as_str()]].concat());
            if ran.code == 0 {
                Ok(())
            } else {
                Err(format!("{words:?}: {ran}"))
            }
        };
        let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
        match self.cast.deed {
            Deed::Nothing => campaign.count("ended by themselves"),
            Deed::Stop(grace) => {
                campaign.count("stopped");
                monoco(&["stop", "-t", &seconds(grace)])?;
            }
            Deed::StopInFlight(grace) => {
                campaign.count("stopped while they ended");
                monoco(&["stop", "-t", &seconds(grace)])?;
            }
            Deed::StopThenKill => {
                campaign.count("stopped, then killed");
                let stop = project.spawn(&["stop", "-t", "1h", &id]);
                std::thread::sleep(Duration::from_millis(20));
                let killed = project.run(&["kill", &id]);
                finish(stop).ok();
                if killed.code != 0 && !killed.err().contains("has ended") {
                    return Err(format!("kill: {killed}"));
                }
            }
            Deed::Kill => {
                campaign.count("killed");
                monoco(&["kill"])?;
            }
            Deed::Signal(signal) => {
                campaign.count("signalled");
                monoco(&["kill", "-s", &signal.to_string()])?;
            }
            Deed::KillPastMonoco => {
                campaign.count("killed past monoco");
                kill(self.agent, Signal::KILL);
            }
            Deed::Timeout => {
                campaign.count("timed out");
                self.await_timeout()?;
            }
            Deed::CtrlC => {
                campaign.count("interrupted in the foreground");
                self.interrupt()?;
            }
        }
        Ok(())
    }

    /// Waits for what the owner does when the time is up; who is frozen is thawed,
    /// and who is deaf is killed.
    fn await_timeout(&self) -> Result<(), String> {
        if self.cast.frozen == Frozen::Still {
            // Too late is fine: then it is being ended.
            let _ = self.project.run(&["resume", &self.id]);
        }
        if self.cast.end != End::Deaf && !self.cast.leaves_the_deaf() {
            return Ok(());
        }
        // Not before its owner has seen that the time is up, or it would be stopped
        // instead; and well before it is killed for not heeding TERM.
        std::thread::sleep(Duration::from_secs(3));
        let killed = self.project.run(&["kill", &self.id]);
        let is_over = killed.code == 0 || killed.err().contains("has ended");
        is_over.then_some(()).ok_or(format!("kill: {killed}"))
    }

    /// Once, as people do; and once more where somebody is deaf.
    fn interrupt(&self) -> Result<(), String> {
        let launcher = self.launcher.as_ref().ok_or("there is a launcher")?;
        let pid = launcher.id().cast_signed();
        kill(pid, Signal::INT);
        if self.cast.end == End::Deaf {
            // Two that wait at once are one.
            wait_until("the first INT is taken", || {
                pending_signals(pid) == 0 || !alive(pid)
            });
            kill(pid, Signal::INT);
        }
        Ok(())
    }

    /// The end is told at once, by everybody, and as it was; nothing is left.
    fn check_end(&mut self, campaign: &mut Campaign) -> Result<(), String> {
        let begun = Instant::now();
        let waited = self.project.run(&["wait", &self.id]).code;
        let launched = self.launcher.take().map(|launcher| finish(launcher).code);
        campaign.measure_since("slowest end told, in ms", begun);
        if begun.elapsed() > AT_ONCE {
            return Err(format!("its end was told after {:?}", begun.elapsed()));
        }
        let session = self.project.session(&self.id)?;
        let outcome = session.outcome().ok_or("it has no outcome")?;
        if !self.cast.allows(outcome) {
            return Err(format!("{outcome:?} is recorded"));
        }
        let told = exit_code(outcome);
        if waited != told || launched.is_some_and(|launched| launched != told) {
            return Err(format!(
                "{outcome:?}, but {waited} by wait, {launched:?} by run"
            ));
        }
        self.check_followed()?;
        self.check_company(campaign)
    }

    /// Who follows the output ends with the session, whoever holds it open, and has
    /// heard what the agent said.
    fn check_followed(&mut self) -> Result<(), String> {
        let Some(follower) = self.follower.take() else {
            return Ok(());
        };
        let followed = finish(follower).ok().stdout;
        let said = monoco_tests::sounds(0, 100);
        if followed.starts_with(&said) {
            Ok(())
        } else {
            Err("logs -f has not told what the agent said".to_owned())
        }
    }

    /// Nobody of the tree is left, unless that was asked for.
    fn check_company(&self, campaign: &mut Campaign) -> Result<(), String> {
        if self.cast.leaves_children() {
            return self.check_left(campaign);
        }
        if self.cast.leaves_the_deaf() {
            self.hurry();
        }
        check_deserted(self.project, Some(&self.id))?;
        let folder = self.project.path().join(".monoco/run").join(&self.id);
        if Path::new(&folder).exists() {
            return Err("its run directory is left".to_owned());
        }
        Ok(())
    }

    /// Who does not heed TERM has ten seconds, which are not waited for here.
    fn hurry(&self) {
        let kill = Request::Kill {
            signal: Signal::KILL.as_raw(),
            by: "the campaign".to_owned(),
        };
        let id = SessionId::parse(&self.id).expect("it was listed");
        let owner = manager(self.project).and_then(|manager| manager.control(&id).ok());
        // Nobody may be left already.
        let _ = owner.map(|owner| owner.ask(&kill));
    }

    /// The owner goes, and all that do not end by themselves stay.
    fn check_left(&self, campaign: &mut Campaign) -> Result<(), String> {
        let owner = || {
            let everybody = self.project.survivors().into_iter();
            everybody
                .filter(|pid| monoco_tests::executes(*pid, monoco()))
                .count()
        };
        let begun = Instant::now();
        while owner() > 0 {
            if begun.elapsed() > PATIENCE {
                return Err("the owner stays".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let left = self.company();
        let stays = |companion: &super::cast::Companion| companion.word() != "spin";
        if left.is_empty() && self.cast.companions.iter().any(stays) {
            return Err("nobody was left, as was asked for".to_owned());
        }
        campaign.add("left as asked", left.len() as u64);
        for pid in &left {
            kill(*pid, Signal::KILL);
        }
        if !left.is_empty() {
            gone(&left);
        }
        Ok(())
    }
}
