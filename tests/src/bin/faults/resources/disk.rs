//! Disks that are too small, that fill up, or can only be read.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use monoco_tests::{PATIENCE, Project, is_stopped, wait_until};

use super::{
    Agent, ask_to_end, check_alive, check_mended, check_truth, recorded_end, start_by_shell,
    started,
};
use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::mounts::{Mounted, are_ours};

/// As much as anybody needs here.
const AMPLE: (u64, u64) = (4096, 1000);

pub(crate) fn run(campaign: &mut Campaign) {
    if !are_ours() {
        return campaign.skip("it needs the privilege to mount");
    }
    campaign.each_trial(|campaign, _, chance| {
        if chance.below(8) == 0 {
            return read_only(chance, campaign);
        }
        let (kib, inodes) = size(chance);
        let tried = full(kib, inodes, chance, campaign);
        tried.map_err(|why| format!("{kib} KiB, {inodes} inodes: {why}"))
    });
}

/// Too little of one, or of both, to every degree.
fn size(chance: &mut Chance) -> (u64, u64) {
    let kib = 4 * (1 + chance.below(24));
    let inodes = 2 + chance.below(30);
    match chance.below(3) {
        0 => (kib, AMPLE.1),
        1 => (AMPLE.0, inodes),
        _ => (kib, inodes),
    }
}

fn full(kib: u64, inodes: u64, chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let project = Project::in_subdirectory("disk");
    let disk = Mounted::disk(project.path(), kib, inodes)?;
    let mut running = Vec::new();
    for _ in 0..1 + chance.below(3) {
        let agent = Agent {
            said: [1, 10, 5000, 30_000][chance.below(4) as usize],
            code: 1 + chance.below(90) as i32,
        };
        let ran = start_by_shell(&project, "exec", agent, "");
        match started(&ran)? {
            Some(id) => running.push((id, agent)),
            None => campaign.count("refused"),
        }
        check_alive(&project, &ids(&running))?;
    }
    campaign.add("started", running.len() as u64);
    fill(project.path(), chance.below(2) == 0);
    for (id, agent) in &running {
        end_on_full_disk(&project, id, *agent, chance, campaign)?;
    }
    disk.resize(AMPLE.0, AMPLE.1)?;
    make_room(project.path())?;
    for (id, agent) in &running {
        check_truth(&project, id, *agent, true)?;
    }
    check_mended(&project, &[])
}

fn ids(running: &[(String, Agent)]) -> Vec<String> {
    running.iter().map(|(id, _)| id.clone()).collect()
}

fn end_on_full_disk(
    project: &Project,
    id: &str,
    agent: Agent,
    chance: &mut Chance,
    campaign: &mut Campaign,
) -> Result<(), String> {
    // From its first word on it heeds TERM; who cannot say it ends by itself.
    wait_until("the agent speaks, or has ended", || {
        !project.log(id).is_empty() || project.status(id) != "running"
    });
    let mut has_reserve = true;
    if chance.below(4) == 0 {
        has_reserve = false;
        suspend(project, id, campaign)?;
    }
    if chance.below(4) == 0 {
        has_reserve = false;
        // It may be used up already.
        let _ = std::fs::remove_file(project.path().join(format!(".monoco/run/{id}/reserve")));
    }
    if chance.below(2) == 0 {
        fill(project.path(), chance.below(2) == 0);
    }
    if chance.below(3) == 0 {
        // What it can do for want of room is not asked here.
        let _ = project.run(&["stop", "-t", "5", id]);
    } else {
        ask_to_end(project, id);
    }
    let patience = if has_reserve {
        PATIENCE
    } else {
        Duration::from_millis(chance.below(1000))
    };
    let begun = Instant::now();
    match recorded_end(project, id, patience)? {
        Some(_) => {
            campaign.count("ends recorded on a full disk");
            campaign.measure_since("slowest end on a full disk, in ms", begun);
            check_truth(project, id, agent, true)
        }
        None if has_reserve => Err(format!(
            "the end of {id} is not recorded, there was a reserve"
        )),
        None => {
            campaign.count("ends recorded once there was room");
            Ok(())
        }
    }
}

/// A change that cannot be recorded has not taken place.
fn suspend(project: &Project, id: &str, campaign: &mut Campaign) -> Result<(), String> {
    // Who could not say all has ended by now.
    let suspended = project.run(&["suspend", id]);
    let word = project.status(id);
    match (suspended.code, &*word) {
        (0, "suspended") => {
            campaign.count("suspended on a full disk");
            let resumed = project.run(&["resume", id]).code;
            let word = project.status(id);
            let is_so = if resumed == 0 {
                word == "running"
            } else {
                word == "suspended"
            };
            // It is ended all the same.
            is_so
                .then_some(())
                .ok_or(format!("{word} is recorded, and resume says {resumed}"))
        }
        (125, "running") => {
            let pid = project.agent(id);
            wait_until("a suspension that was refused is undone", || {
                !is_stopped(pid)
            });
            Ok(())
        }
        (125, "failed") => Ok(()),
        _ => Err(format!("{word} is recorded, and suspend says {suspended}")),
    }
}

/// Takes all the room that there still is, or all the inodes as well.
fn fill(disk: &Path, inodes_too: bool) {
    for n in 0..=AMPLE.1 {
        let path = disk.join(format!("filling-{n}"));
        let Ok(mut file) = File::options().append(true).create(true).open(path) else {
            return;
        };
        for size in [4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
        if !inodes_too {
            return;
        }
    }
}

fn make_room(disk: &Path) -> Result<(), String> {
    for entry in std::fs::read_dir(disk)
        .map_err(|error| error.to_string())?
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with("filling-") {
            std::fs::remove_file(entry.path()).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// A disk, or a part of the project, that can only be read.
fn read_only(chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let project = Project::new();
    let agent = Agent::draw(chance);
    let id = started(&start_by_shell(&project, "exec", agent, ""))?.ok_or("there is room")?;
    let part = *chance.pick(&[
        ".",
        ".monoco",
        ".monoco/sessions",
        ".monoco/run",
        ".monoco/logs",
    ]);
    let path = project.path().join(part);
    let mounted = Mounted::read_only(&path)?;
    for options in ["", "-d", "--name x"] {
        let script = format!("cd \"$PWD\" && \"$monoco\" run {options} -- \"$agent\" sleep");
        let ran = project.run_shell(&script);
        if ran.code != 125 || !super::is_one_line(&ran) {
            return Err(format!(
                "{part} cannot be written, and run {options}: {ran}"
            ));
        }
        campaign.count("refused");
    }
    check_alive(&project, std::slice::from_ref(&id))?;
    let looked = project.run_shell("cd \"$PWD\" && \"$monoco\" ps -q");
    if looked.code != 0 || looked.out() != format!("{id}\n") {
        return Err(format!("{part} can be read, and ps: {looked}"));
    }
    drop(mounted);
    ask_to_end(&project, &id);
    check_truth(&project, &id, agent, false)?;
    check_mended(&project, &[])
}
