//! Pids that are handed out again: in a pid namespace of one's own the next pid
//! can be chosen (`ns_last_pid`). An agent dies, a victim gets its pid, and then
//! everything is asked that could signal it: of sessions whose owner is dead, of
//! an owner that still ends what its agent left running, and of an adopter that has
//! not yet looked.

use std::time::{Duration, Instant};

use monoco_tests::{Signal, agent, is_stopped, kill, wait_until};
use rustix::process::{Pid as RawPid, WaitOptions, waitpid};
use serde_json::{Value, json};
use session_core::control::Request;
use session_core::{Pid, SessionId};
use session_worker::{Adoption, Launcher};

use super::drive::{N_COMMANDS, VERBS, command, drive};
use super::inside::{Inside, is_permitted};
use super::witness::Witness;
use super::{Stage, Stand};
use crate::campaign::{Campaign, attempt_on, caught};
use crate::chance::Chance;
use crate::left::{dead_process, ownerless};

const NAMESPACE: [&str; 3] = ["-p", "-f", "--mount-proc"];
/// How many trials one namespace sees.
const SHARED: u64 = 500;
/// How often a pid is tried to be had again.
const TRIES: usize = 20;

const COUNTS: [&str; 7] = [
    "pids handed out again",
    "pids that were not",
    "dead owners of forged agents",
    "dead owners of real agents",
    "living owners",
    "adopters that had not looked",
    "requests",
];

pub(crate) fn run(campaign: &mut Campaign) {
    if !is_permitted(&NAMESPACE) {
        return campaign.skip("it needs the privilege to unshare the pid namespace");
    }
    let enter = || Inside::start(None, &NAMESPACE, "", "reuse");
    campaign.each_on_shared(SHARED, enter, |campaign, inside, trial, _| {
        let question = format!("{} {trial}", campaign.seed);
        let answer: Value = serde_json::from_str(&inside.ask(&question)?)
            .map_err(|error| format!("no answer: {error}"))?;
        for count in COUNTS {
            campaign.add(count, answer[count].as_u64().unwrap_or(0));
        }
        let broken = answer["broken"].as_str();
        broken.map_or(Ok(()), |broken| Err(broken.to_owned()))
    });
    campaign.demand(&["pids handed out again"]);
}

/// What is answered inside: the counts of the trial, and what was broken.
pub(super) fn answers() -> impl FnMut(&str) -> String {
    let mut stage = None;
    move |question| {
        let mut campaign = Trial::default();
        let done = campaign.attempt(question, &mut stage);
        let mut counts = campaign.counts;
        if let Err(broken) = done {
            counts["broken"] = broken.into();
        }
        counts.to_string()
    }
}

/// One trial, inside.
struct Trial {
    counts: Value,
}

impl Default for Trial {
    fn default() -> Self {
        Self { counts: json!({}) }
    }
}

impl Trial {
    fn count(&mut self, what: &'static str) {
        self.counts[what] = (self.counts[what].as_u64().unwrap_or(0) + 1).into();
    }

    fn attempt(&mut self, question: &str, stage: &mut Option<Stage>) -> Result<(), String> {
        let (seed, trial) = question.split_once(' ').ok_or("no question")?;
        let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
        let mut chance = Chance::of(number(seed)?, "identity/reuse", number(trial)?);
        let attempt = |stage: &mut Stage| match chance.below(8) {
            0 => self.living_owner(stage, &mut chance),
            1 => self.late_adopter(stage, &mut chance),
            2 | 3 => self.dead_owner(stage, &mut chance),
            _ => self.dead_owner_of_nobody(stage, &mut chance),
        };
        // What the harness gives up on is told as well.
        caught(|| attempt_on(stage, Stage::new, attempt))
    }

    /// A record of a process that was one, written as by an owner who died.
    fn dead_owner_of_nobody(&mut self, stage: &Stage, chance: &mut Chance) -> Result<(), String> {
        self.count("dead owners of forged agents");
        let mut agent = Witness::new()?;
        let process = agent.process()?;
        let id = ownerless(&stage.manager, process.clone())?;
        agent.kill()?;
        drop(agent);
        self.recycle_and_drive(stage, chance, &id, process.pid)
    }

    /// A session as it is when supervisor and agent were killed.
    fn dead_owner(&mut self, stage: &Stage, chance: &mut Chance) -> Result<(), String> {
        self.count("dead owners of real agents");
        let (id, pid) = stage.project.orphan(&[], &["sleep"]);
        kill(pid, Signal::KILL);
        reap(pid)?;
        let id = SessionId::parse(&id).map_err(|error| error.to_string())?;
        self.recycle_and_drive(stage, chance, &id, pid_of(pid)?)
    }

    fn recycle_and_drive(
        &mut self,
        stage: &Stage,
        chance: &mut Chance,
        id: &SessionId,
        pid: Pid,
    ) -> Result<(), String> {
        let stand = Stand::of(&stage.project, id.as_str())?;
        let Some(victim) = self.recycle(stage, id, pid)? else {
            return Ok(());
        };
        let seen = stage.manager.get(id).map_err(|error| error.to_string())?;
        if seen.liveness.as_str() != "lost" {
            return Err(format!(
                "{id} is {} with another's pid",
                seen.liveness.as_str()
            ));
        }
        for _ in 0..4 {
            stand.restore()?;
            let (verb, done) = if chance.below(8) == 0 {
                command(&stage.project, chance.below(N_COMMANDS), id.as_str());
                ("command", Ok(String::new()))
            } else {
                let verb = *chance.pick(&VERBS);
                (verb, drive(&stage.manager, verb, id))
            };
            self.count("requests");
            let told = |why| format!("{verb} ({done:?}): {why}");
            victim.check().map_err(told)?;
        }
        // It may have been removed already.
        let _ = drive(&stage.manager, "discard", id);
        victim.check()
    }

    /// An owner whose agent has ended, and was reaped, while something is left of its
    /// tree that does not want to end.
    fn living_owner(&mut self, stage: &Stage, chance: &mut Chance) -> Result<(), String> {
        self.count("living owners");
        let script = format!("trap '' TERM; setsid {} sleep & exit 0", agent());
        let id = stage.project.start(&[], &["sh", "-c", &script]);
        stage.project.wait_for_status(&id, "completed");
        let pid = stage.project.agent(&id);
        let id = SessionId::parse(&id).map_err(|error| error.to_string())?;
        let reaped = || !std::path::Path::new(&format!("/proc/{pid}")).exists();
        wait_until("the agent is reaped", reaped);
        let victim = self.recycle(stage, &id, pid_of(pid)?)?;
        let requests = [
            Request::Kill {
                signal: 10,
                by: by(),
            },
            Request::Kill {
                signal: 15,
                by: by(),
            },
            Request::Suspend,
            Request::Resume,
            Request::Status,
        ];
        for _ in 0..3 {
            let request = chance.pick(&requests).clone();
            self.request(stage, &id, &request);
            victim.as_ref().map_or(Ok(()), Witness::check)?;
        }
        // Ends what is left, and so the owner.
        let stop = Request::Stop {
            grace_seconds: 0.0,
            by: by(),
        };
        self.request(stage, &id, &stop);
        stage.project.wait_for_release(id.as_str());
        victim.as_ref().map_or(Ok(()), Witness::check)
    }

    fn request(&mut self, stage: &Stage, id: &SessionId, request: &Request) {
        self.count("requests");
        // That it is refused, or nobody is there any more, is all right.
        let _ = stage
            .manager
            .control(id)
            .and_then(|owner| owner.ask(request));
    }

    /// An adopter that slept while the agent died and its pid was handed out, and that
    /// finds a request waiting when it wakes up.
    fn late_adopter(&mut self, stage: &Stage, chance: &mut Chance) -> Result<(), String> {
        self.count("adopters that had not looked");
        let (id, pid) = stage.project.orphan(&[], &["sleep"]);
        let id = SessionId::parse(&id).map_err(|error| error.to_string())?;
        let launcher = Launcher::new(monoco_tests::monoco().into());
        let adopted = launcher.adopt(&stage.manager, &id, Adoption::default());
        adopted.map_err(|error| error.to_string())?;
        let adopter = stage.project.supervisor(id.as_str());
        kill(adopter, Signal::STOP);
        wait_until("the adopter sleeps", || is_stopped(adopter));
        kill(pid, Signal::KILL);
        reap(pid)?;
        let victim = self.recycle(stage, &id, pid_of(pid)?);
        let verb = *chance.pick(&[
            "stop",
            "stop-gently",
            "kill",
            "kill-usr1",
            "suspend",
            "resume",
        ]);
        self.count("requests");
        let manager = stage.manager.clone();
        let asked = id.clone();
        let asking = std::thread::spawn(move || drive(&manager, verb, &asked));
        std::thread::sleep(Duration::from_millis(chance.below(5)));
        kill(adopter, Signal::CONT);
        let done = asking.join().map_err(|_| "the asker gave up".to_owned())?;
        stage.project.wait_for_release(id.as_str());
        // It is our child by now.
        reap(adopter)?;
        let told = |why| format!("{verb} ({done:?}): {why}");
        victim?.map_or(Ok(()), |victim| victim.check().map_err(told))
    }

    /// Somebody else, with the pid `pid`, which nobody has any more.
    fn recycle(
        &mut self,
        stage: &Stage,
        id: &SessionId,
        pid: Pid,
    ) -> Result<Option<Witness>, String> {
        let record = stage.project.record(id.as_str());
        let began = record["process"]["start_ticks"].as_u64();
        wait_until("the clock goes on", || ticks_of_now() > began);
        for _ in 0..TRIES {
            let last = format!("{}", pid.get() - 1);
            std::fs::write("/proc/sys/kernel/ns_last_pid", last)
                .map_err(|error| format!("ns_last_pid: {error}"))?;
            let victim = Witness::new()?;
            if victim.pid == pid.get() {
                self.count("pids handed out again");
                return Ok(Some(victim));
            }
        }
        self.count("pids that were not");
        Ok(None)
    }
}

fn by() -> String {
    "a campaign".to_owned()
}

fn pid_of(raw: i32) -> Result<Pid, String> {
    Pid::new(raw.into()).ok_or_else(|| format!("{raw} is no pid"))
}

/// What a process that is started now would be told by: no two that are compared
/// may share it, as no two that share a pid do.
fn ticks_of_now() -> Option<u64> {
    let identity = dead_process().ok()?.identity;
    identity.map(|identity| identity.start_ticks)
}

/// Waits for the end of somebody whom this process, the init, was left with.
fn reap(pid: i32) -> Result<(), String> {
    let start = Instant::now();
    let raw = RawPid::from_raw(pid).ok_or("no pid")?;
    while start.elapsed() < Duration::from_secs(10) {
        match waitpid(Some(raw), WaitOptions::NOHANG) {
            Ok(Some(_)) => return Ok(()),
            // Not left to us, or not yet.
            Ok(None) | Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            return Ok(());
        }
    }
    Err(format!("{pid} does not end"))
}
