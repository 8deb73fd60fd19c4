//! What is dead and still there, and what lives and looks dead: zombies, of agents
//! and of supervisors; processes whose first thread has ended; parents that wait
//! for a child to execute its program (`vfork(2)`).

use std::process::{Command, Stdio};
use std::time::Duration;

use monoco_tests::{Signal, agent, alive, children, is_stopped, kill, wait_until, works};
use session_core::{SessionId, Status};

use super::Stage;
use super::drive::{VERBS, drive, expect, may_signal};
use super::witness::Witness;
use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::left::{ownerless, process_of};

/// Its first thread ends, another lives on.
const HEADLESS: &str = "\
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)";

pub(crate) fn run(campaign: &mut Campaign) {
    let has_python = works(&["python3", "-c", ""]);
    if !has_python {
        campaign.skip("a process without its first thread needs python3");
    }
    campaign.each_on(Stage::new, |campaign, stage, _, chance| {
        match chance.below(8) {
            0 if has_python => headless(stage, campaign, chance),
            1 | 2 => vforking(stage, campaign, chance),
            3 | 4 => zombie_supervisor(stage, campaign, chance),
            _ => zombie_agent(stage, campaign, chance),
        }
    });
}

/// An agent that ended, and whose parent does not care.
fn zombie_agent(stage: &Stage, campaign: &mut Campaign, chance: &mut Chance) -> Result<(), String> {
    let mut agent = Witness::new()?;
    let process = agent.process()?;
    let id = ownerless(&stage.manager, process)?;
    expect(&stage.manager, &id, "orphan")?;
    agent.kill()?;
    wait_until("it is a zombie", || !alive(agent.pid));
    expect(&stage.manager, &id, "lost")?;
    for _ in 0..chance.below(3) {
        let verb = *chance.pick(&VERBS);
        // Whatever it says of one that is dead.
        let _ = drive(&stage.manager, verb, &id);
    }
    campaign.count("zombie agents");
    settle_and_remove(stage, &id)
}

/// A supervisor that was killed, and whose launcher does not wait: its lease is free.
fn zombie_supervisor(
    stage: &Stage,
    campaign: &mut Campaign,
    chance: &mut Chance,
) -> Result<(), String> {
    let mut launcher = stage.project.spawn(&["run", "--", agent(), "deaf"]);
    let pid = launcher.id().cast_signed();
    let outcome = with_zombie_supervisor(stage, chance, pid);
    // It ends by itself once it hears of what became of its session.
    kill(pid, Signal::CONT);
    let _ = launcher.kill();
    let _ = launcher.wait();
    campaign.count("zombie supervisors");
    outcome
}

fn with_zombie_supervisor(stage: &Stage, chance: &mut Chance, launcher: i32) -> Result<(), String> {
    wait_until("a supervisor runs", || !children(launcher).is_empty());
    let supervisor = children(launcher)[0];
    let mut agents = Vec::new();
    wait_until("its agent runs", || {
        agents = children(supervisor);
        agents.len() == 1 && monoco_tests::executes(agents[0], agent())
    });
    let living = stage.manager.living().map_err(|error| error.to_string())?;
    let own = |seen: &session_core::Observation| {
        seen.session.pid().is_some_and(|pid| pid.get() == agents[0])
    };
    let id = living
        .sessions
        .into_iter()
        .find(own)
        .ok_or("no record knows it")?;
    let id = id.session.id;
    wait_until("the agent is deaf", || {
        stage.project.pids(id.as_str()).len() == 1
    });
    kill(launcher, Signal::STOP);
    wait_until("the launcher sleeps", || is_stopped(launcher));
    kill(supervisor, Signal::KILL);
    wait_until("the supervisor is a zombie", || !alive(supervisor));
    expect(&stage.manager, &id, "orphan")?;
    if chance.below(2) == 0 {
        kill(agents[0], Signal::KILL);
        wait_until("the agent is dead", || !alive(agents[0]));
        expect(&stage.manager, &id, "lost")?;
        return settle_and_remove(stage, &id);
    }
    drive(&stage.manager, "stop", &id)?;
    if alive(agents[0]) {
        return Err("it was stopped, and lives".to_owned());
    }
    drive(&stage.manager, "discard", &id).map(drop)
}

/// A process whose first thread has ended: it looks like a zombie, and lives.
fn headless(stage: &Stage, campaign: &mut Campaign, chance: &mut Chance) -> Result<(), String> {
    campaign.count("without a first thread");
    let words = ["python3", "-c", HEADLESS];
    lives_on(stage, chance, &words, |pid| !alive(pid))
}

/// A process that is nearly always between vfork and the child's exec.
fn vforking(stage: &Stage, campaign: &mut Campaign, chance: &mut Chance) -> Result<(), String> {
    campaign.count("vforking");
    lives_on(stage, chance, &[agent(), "spin-fork", "1"], |_| true)
}

/// Whoever runs `words` is alive once `ready`, whatever it looks like, until it is
/// stopped, and is dead then.
fn lives_on(
    stage: &Stage,
    chance: &mut Chance,
    words: &[&str],
    ready: impl Fn(i32) -> bool,
) -> Result<(), String> {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let raw = child.id().cast_signed();
    let lived = lives_until_stopped(stage, chance, raw, ready);
    let _ = child.kill();
    let _ = child.wait();
    lived
}

fn lives_until_stopped(
    stage: &Stage,
    chance: &mut Chance,
    raw: i32,
    ready: impl Fn(i32) -> bool,
) -> Result<(), String> {
    wait_until("it is ready", || ready(raw));
    let process = process_of(raw)?;
    let pid = process.pid;
    let id = ownerless(&stage.manager, process)?;
    for _ in 0..4 {
        expect(&stage.manager, &id, "orphan")?;
        let verb = *chance.pick(&VERBS);
        if !may_signal(verb) {
            // Refused, or nothing to be done: it is alive.
            let _ = drive(&stage.manager, verb, &id);
        }
        std::thread::sleep(chance.moment(Duration::from_millis(2)));
    }
    expect(&stage.manager, &id, "orphan")?;
    drive(&stage.manager, "stop", &id)?;
    let handle = session_core::ProcessHandle::open(pid).map_err(|error| error.to_string())?;
    let ended = handle.is_none_or(|handle| handle.has_ended().unwrap_or(false));
    if !ended {
        return Err("it was stopped, and lives".to_owned());
    }
    drive(&stage.manager, "discard", &id).map(drop)
}

fn settle_and_remove(stage: &Stage, id: &SessionId) -> Result<(), String> {
    if drive(&stage.manager, "get", id).is_err() {
        // Removed by what was asked for.
        return Ok(());
    }
    drive(&stage.manager, "settle", id)?;
    let seen = stage.manager.get(id).map_err(|error| error.to_string())?;
    if seen.session.status() != Status::Terminated {
        return Err(format!(
            "{id} is {} after it was settled",
            seen.session.status()
        ));
    }
    drive(&stage.manager, "discard", id).map(drop)
}
