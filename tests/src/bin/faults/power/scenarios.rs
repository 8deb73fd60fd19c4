//! What is done to a project while the power may go: every command that writes,
//! beside sessions that it has nothing to do with.

use monoco_tests::{Project, Signal, agent, gone, kill, works};

use super::stage::{Recording, Stage};

pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// Makes what is there before, and plays the scenario.
    pub(super) play: fn(&Project) -> Result<Played, String>,
}

pub(super) enum Played {
    Recorded(Recording),
    /// It cannot be played here.
    Skipped(&'static str),
}

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "the first run in a project",
        play: |project| {
            play(project, |stage| {
                let id = stage.start(&["exit", "3"])?;
                stage.run_for(3, &["wait", &id]).map(drop)
            })
        },
    },
    Scenario {
        name: "a first run that is stopped",
        play: |project| play(project, start_and_stop),
    },
    Scenario {
        name: "a run beside others",
        play: |project| {
            three_others(project);
            play(project, start_and_stop)
        },
    },
    Scenario {
        name: "a run that ends by itself in the foreground",
        play: |project| {
            three_others(project);
            play(project, |stage| {
                stage.run(&["run", "--", agent(), "exit", "0"]).map(drop)
            })
        },
    },
    Scenario {
        name: "a program that is not there",
        play: |project| {
            three_others(project);
            play(project, |stage| {
                let words = ["run", "-d", "--", "/nonexistent/agent"];
                stage.run_for(127, &words).map(drop)
            })
        },
    },
    Scenario {
        name: "a session whose time is up",
        play: |project| {
            play(project, |stage| {
                let words = ["run", "--timeout", "100ms", "--", agent(), "sleep"];
                stage.run_for(124, &words).map(drop)
            })
        },
    },
    Scenario {
        name: "an end that only just stands in the record",
        play: wait_at_once,
    },
    Scenario {
        name: "suspend and resume",
        play: |project| {
            three_others(project);
            play(project, |stage| {
                let id = stage.start(&["sleep"])?;
                stage.run(&["suspend", &id])?;
                stage.run(&["resume", &id])?;
                stage.run(&["stop", "-t", "5", &id]).map(drop)
            })
        },
    },
    Scenario {
        name: "remove",
        play: |project| {
            let ids = three_others(project);
            play(project, |stage| {
                stage.run(&["rm", &ids[0]])?;
                let id = stage.start(&["sleep"])?;
                stage.run(&["rm", "-f", &id, &ids[1]]).map(drop)
            })
        },
    },
    Scenario {
        name: "prune",
        play: |project| {
            three_others(project);
            play(project, |stage| {
                stage.run(&["prune"])?;
                start_and_stop(stage)?;
                stage.run(&["prune"]).map(drop)
            })
        },
    },
    Scenario {
        name: "reconcile",
        play: |project| {
            three_others(project);
            for _ in 0..2 {
                let (_, pid) = project.orphan(&[], &["sleep"]);
                kill(pid, Signal::KILL);
                gone(&[pid]);
            }
            play(project, |stage| stage.run(&["reconcile"]).map(drop))
        },
    },
    Scenario {
        name: "adopt",
        play: |project| {
            three_others(project);
            let (id, _) = project.orphan(&[], &["sleep"]);
            play(project, |stage| {
                stage.run(&["adopt", &id])?;
                stage.run(&["stop", "-t", "5", &id]).map(drop)
            })
        },
    },
    Scenario {
        name: "stop an orphan",
        play: |project| {
            let (id, _) = project.orphan(&[], &["sleep"]);
            play(project, |stage| {
                stage.run(&["stop", "-t", "5", &id]).map(drop)
            })
        },
    },
    Scenario {
        name: "the end on a full disk",
        play: on_a_full_disk,
    },
    Scenario {
        name: "one after the other",
        play: |project| {
            play(project, |stage| {
                let id = stage.start(&["exit", "0"])?;
                stage.run(&["wait", &id])?;
                let other = stage.start(&["sleep"])?;
                stage.run(&["rm", &id])?;
                stage.run(&["stop", "-t", "5", &other])?;
                stage.run(&["prune"]).map(drop)
            })
        },
    },
];

fn play(
    project: &Project,
    steps: impl FnOnce(&mut Stage<'_>) -> Result<(), String>,
) -> Result<Played, String> {
    let mut stage = Stage::new(project)?;
    steps(&mut stage)?;
    stage.end().map(Played::Recorded)
}

fn start_and_stop(stage: &mut Stage<'_>) -> Result<(), String> {
    let id = stage.start(&["sleep"])?;
    stage.run(&["stop", "-t", "5", &id]).map(drop)
}

/// Whoever waits reads the end before its writer has synced it.
fn wait_at_once(project: &Project) -> Result<Played, String> {
    let mut stage = Stage::on_slow_disk(project)?;
    let id = stage.start(&["exit", "3"])?;
    let look = format!("grep -q '\"outcome\"' .monoco/sessions/{id}.json");
    stage.shell(0, &format!("until {look}; do :; done"))?;
    stage.run_for(3, &["wait", &id])?;
    stage.run(&["stop", &id])?;
    stage.end().map(Played::Recorded)
}

/// Two sessions that have ended, and one that lives.
fn three_others(project: &Project) -> Vec<String> {
    let ended = ["0", "3"].map(|code| {
        let id = project.start(&[], &[agent(), "exit", code]);
        project.wait_for_release(&id);
        id
    });
    let (living, _) = project.start_agent(&[], &["sleep"], 1);
    let mut ids = ended.to_vec();
    ids.push(living);
    ids
}

/// The agent fills the disk up, and then ends: only what was set aside is left.
fn on_a_full_disk(project: &Project) -> Result<Played, String> {
    let candidates: [&[&str]; 2] = [&["unshare", "-m"], &["unshare", "-rm"]];
    let mount = ["mount", "-t", "tmpfs", "tmpfs", "/mnt"];
    let able = candidates
        .into_iter()
        .find(|unshare| works(&[*unshare, &mount].concat()));
    let Some(unshare) = able else {
        return Ok(Played::Skipped("no disk may be mounted to be filled"));
    };
    let mut stage = Stage::on_small_disk(project, unshare, 256)?;
    let go = project.state_home().join("go").display().to_string();
    let script = format!("until [ -e {go} ]; do sleep 0.01; done; exit 3");
    let id = stage.run(&["run", "-d", "--", "sh", "-c", &script])?;
    stage.shell(1, "cat /dev/zero >fill")?;
    std::fs::write(&go, "").map_err(|error| error.to_string())?;
    stage.run_for(3, &["wait", id.trim_end()])?;
    stage.end().map(Played::Recorded)
}
