//! What dies, and what goes on: launchers, terminals, supervisors, agents, and
//! the machine. No session is ever lost, and no status is ever made up.

use std::process::Command;
use std::time::{Duration, Instant};

use monoco_tests::{
    Project, Signal, Terminal, agent, alive, finish, gone, is_stopped, kill, monoco, skip, stays,
    wait_until, works,
};
use serde_json::json;
use session_core::{Liveness, SessionId, Status};

/// That the session can be controlled, and ends truthfully.
#[track_caller]
fn check_controllable(project: &Project, id: &str) {
    assert_eq!(project.look(id).liveness, Liveness::Owned);
    project.run(&["suspend", id]).ok();
    assert_eq!(project.status(id), "suspended");
    project.run(&["resume", id]).ok();
    assert_eq!(project.status(id), "running");
    project.run(&["stop", id]).ok();
    let record = project.record(id);
    assert_eq!(record["status"], "terminated");
    let killed = json!({"kind": "signaled", "signal": 15, "core_dumped": false});
    assert_eq!(record["outcome"]["wait_status"], killed, "{record}");
    gone(&project.pids(id));
}

#[test]
fn a_session_outlives_its_launcher() {
    let project = Project::new();
    let (mut launcher, id) = project.start_in_foreground(&["sleep"]);
    launcher.kill().expect("it is ours");
    launcher.wait().expect("it is ours");
    check_controllable(&project, &id);
}

#[test]
fn a_session_outlives_its_terminal() {
    let project = Project::new();
    let script = "trap '' HUP; \"$monoco\" run -- \"$agent\" sleep";
    for script in [
        script,
        "\"$monoco\" run -- \"$agent\" sleep",
        "\"$monoco\" run -d -- \"$agent\" sleep; cat",
    ] {
        let Some(terminal) = Terminal::open(&project, script) else {
            return;
        };
        let id = project.only_session();
        terminal.close();
        check_controllable(&project, &id);
    }
}

#[test]
fn a_launcher_whose_supervisor_died_says_what_to_do() {
    let project = Project::new();
    let (launcher, id) = project.start_in_foreground(&["sleep"]);
    project.kill_supervisor(&id);
    finish(launcher).fails_with(&[&id, "supervisor", "monoco adopt"]);
    assert!(alive(project.pids(&id)[0]));
    wait_until("it is an orphan", || {
        project.look(&id).liveness == Liveness::Orphan
    });
}

#[test]
fn an_owner_that_dies_while_it_is_asked_refuses_nothing() {
    let project = Project::new();
    for (verb, said) in [
        ("stop", None),
        ("kill", None),
        ("suspend", Some("lost its owner")),
    ] {
        let (id, pids) = project.start_agent(&[], &["sleep"], 1);
        let supervisor = project.supervisor(&id);
        kill(supervisor, Signal::STOP);
        wait_until("it does not answer", || is_stopped(supervisor));
        let asking = project.spawn(&[verb, &id]);
        // Whether it has asked by then or not: it must not matter.
        std::thread::sleep(Duration::from_millis(20));
        kill(supervisor, Signal::KILL);
        let ran = finish(asking);
        match said {
            None => {
                ran.ok();
                gone(&pids);
            }
            Some(said) => {
                ran.fails_with(&[said]);
                assert_eq!(project.look(&id).liveness, Liveness::Orphan);
            }
        }
    }
}

#[test]
fn those_who_wait_keep_nobody_out() {
    let project = Project::new();
    let id = project.start(&[], &[agent(), "sleep"]);
    let (manager, parsed) = (project.manager(), SessionId::parse(&id).expect("an id"));
    let waiters: Vec<_> = (0..300)
        .map(|_| {
            let mut control = manager.control(&parsed).expect("the owner listens");
            control.subscribe_end().expect("the owner lives");
            control
        })
        .collect();
    project.run(&["stop", &id]).ok();
    for waiter in waiters {
        let ended = waiter.ended().expect("the end is told to each");
        assert_eq!(ended.status(), Status::Terminated);
    }
}

#[test]
fn a_hangup_ends_the_launcher_and_not_the_session() {
    let project = Project::new();
    let (launcher, id) = project.start_in_foreground(&["sleep"]);
    kill(launcher.id().cast_signed(), Signal::HUP);
    let ran = finish(launcher);
    assert_ne!(ran.code, 0, "nobody saw a success: {ran}");
    check_controllable(&project, &id);
}

#[test]
fn an_interrupt_stops_the_session_in_the_foreground() {
    let project = Project::new();
    let (launcher, id) = project.start_in_foreground(&["catch-term", "0"]);
    kill(launcher.id().cast_signed(), Signal::INT);
    finish(launcher).code(143);
    assert_eq!(project.status(&id), "terminated");
    gone(&project.pids(&id));
}

#[test]
fn an_orphan_is_shown_as_running_and_marked() {
    let project = Project::new();
    let (id, agent) = project.orphan(&["--name", "left-alone"], &["sleep"]);
    let listed = project.listed(&id);
    assert_eq!(
        (&listed["status"], &listed["liveness"]),
        (&json!("running"), &json!("orphan"))
    );
    for command in [
        ["ps"].as_slice(),
        &["ps", "-a"],
        &["ps", "--status", "orphan"],
    ] {
        let table = project.run(command).ok().out();
        assert!(table.contains("running (orphan)"), "{table}");
    }
    let shown = project.run(&["show", "left-alone"]).ok().out();
    assert!(shown.contains("adopt"), "{shown}");
    assert!(alive(agent));
    assert_eq!(project.status(&id), "running", "nobody wrote its record");
}

#[test]
fn an_orphan_can_be_stopped() {
    let project = Project::new();
    let (id, pid) = project.orphan(&[], &["catch-term", "5"]);
    project.run(&["stop", &id]).ok();
    gone(&[pid]);
    let record = project.record(&id);
    assert_eq!(
        (&record["status"], &record["outcome"]["kind"]),
        (&json!("terminated"), &json!("stopped"))
    );
    project.wait_for_release(&id);
    if tells_strangers() {
        assert_eq!(
            record["outcome"]["wait_status"],
            json!({"kind": "exited", "code": 5}),
            "{record}"
        );
        project.run(&["wait", &id]).code(5);
    } else {
        project.run(&["wait", &id]).code(143);
    }
}

#[test]
fn an_orphan_that_several_stop_at_once_is_stopped_for_all() {
    let project = Project::new();
    let (id, pid) = project.orphan(&[], &["sleep"]);
    let stops: Vec<_> = (0..8).map(|_| project.spawn(&["stop", &id])).collect();
    for stop in stops {
        finish(stop).ok();
    }
    assert!(!alive(pid));
    assert_eq!(project.record(&id)["outcome"]["kind"], "stopped");
}

#[test]
fn an_orphan_that_ignores_term_is_killed_with_all_its_tree() {
    let project = Project::new();
    let script = "\"$0\" daemonize sleep sleep & exec \"$0\" ignore-term";
    let id = project.start(&[], &["sh", "-c", script, agent()]);
    wait_until("three processes have told their pids", || {
        project.pids(&id).len() == 3
    });
    project.kill_supervisor(&id);
    project.run(&["stop", "-t", "0.2", &id]).ok();
    gone(&project.pids(&id));
    assert_eq!(project.status(&id), "terminated");
}

#[test]
fn an_orphan_can_be_killed_and_removed() {
    let project = Project::new();
    let (id, pid) = project.orphan(&[], &["ignore-term"]);
    project.run(&["kill", &id]).ok();
    gone(&[pid]);
    assert_eq!(project.status(&id), "terminated");
    let (id, pid) = project.orphan(&[], &["ignore-term"]);
    project.run(&["rm", "-f", &id]).ok();
    gone(&[pid]);
    assert!(!project.record_path(&id).exists());
}

#[test]
fn an_adopted_session_is_owned_again_and_ends_truthfully() {
    let project = Project::new();
    let (id, pid) = project.orphan(&[], &["catch-term", "7"]);
    let waiter = project.spawn(&["wait", &id]);
    project.run(&["adopt", &id]).ok();
    assert_eq!(project.look(&id).liveness, Liveness::Owned);
    assert!(alive(pid));
    kill(pid, Signal::TERM);
    if tells_strangers() {
        project.wait_for_status(&id, "failed");
        assert_eq!(
            project.record(&id)["outcome"],
            json!({"kind": "exited", "code": 7})
        );
        finish(waiter).code(7);
    } else {
        project.wait_for_status(&id, "terminated");
        assert_eq!(
            project.record(&id)["outcome"],
            json!({"kind": "lost", "cause": "owner_died"})
        );
        finish(waiter).code(125);
    }
    project.wait_for_release(&id);
}

#[test]
fn an_adopted_session_can_be_controlled() {
    let project = Project::new();
    let (id, _) = project.orphan(&[], &["sleep"]);
    project.run(&["adopt", "--all"]).ok();
    project
        .run(&["adopt", &id])
        .fails_with(&[&id, "only an orphan"]);
    if tells_strangers() {
        check_controllable(&project, &id);
    }
}

#[test]
fn a_suspended_orphan_is_adopted_suspended() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&["--timeout", "1h"], &["sleep"], 1);
    project.run(&["suspend", &id]).ok();
    project.kill_supervisor(&id);
    project.run(&["adopt", &id]).ok();
    assert_eq!(project.status(&id), "suspended");
    assert!(is_stopped(pids[0]));
    project.run(&["resume", &id]).ok();
    wait_until("it goes on", || !is_stopped(pids[0]));
}

#[test]
fn a_timeout_is_kept_across_adoption() {
    const TIMEOUT: Duration = Duration::from_secs(5);
    let project = Project::new();
    let started = Instant::now();
    let (id, pid) = project.orphan(&["--timeout", "5"], &["sleep"]);
    stays("nobody ends an orphan", TIMEOUT, || alive(pid));
    let adopted = Instant::now();
    project.run(&["adopt", &id]).ok();
    project.wait_for_status(&id, "timeout");
    // Had it begun anew, it would not be over yet.
    assert!(started.elapsed() >= TIMEOUT && adopted.elapsed() < TIMEOUT);
    gone(&[pid]);
    assert_eq!(project.record(&id)["outcome"]["after_seconds"], 5);
    project.run(&["wait", &id]).code(124);
    let (id, pid) = project.orphan(&["--timeout", "1h"], &["sleep"]);
    project.run(&["adopt", &id]).ok();
    stays("its time is not up", Duration::from_millis(300), || {
        alive(pid)
    });
}

#[test]
fn a_session_whose_record_was_damaged_under_its_owner_is_ended_by_the_owner() {
    let project = Project::new();
    for verb in [&["stop"][..], &["kill"], &["rm", "-f"]] {
        let (id, pids) = project.start_agent(&[], &["sleep"], 1);
        std::fs::write(project.record_path(&id), "").expect("our own");
        project.run(&[verb, &[&id]].concat()).ok();
        gone(&pids);
        if verb == ["rm", "-f"] {
            assert!(!project.record_path(&id).exists());
        } else {
            assert_eq!(project.record(&id)["outcome"]["kind"], "stopped");
        }
    }
}

#[test]
fn an_owner_whose_socket_was_removed_is_reached_again() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["sleep"], 1);
    let socket = project
        .path()
        .join(".monoco/run")
        .join(&id)
        .join("control.sock");
    std::fs::remove_file(&socket).expect("our own");
    project.run(&["stop", &id]).ok();
    gone(&pids);
    assert_eq!(project.record(&id)["outcome"]["kind"], "stopped");
}

#[test]
fn an_agent_that_had_ended_by_itself_was_not_stopped() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["catch-term", "0"], 1);
    let supervisor = project.supervisor(&id);
    kill(supervisor, Signal::STOP);
    wait_until("the supervisor stands still", || is_stopped(supervisor));
    kill(pids[0], Signal::TERM);
    wait_until("the agent has ended", || !alive(pids[0]));
    kill(supervisor, Signal::TERM);
    kill(supervisor, Signal::CONT);
    project.wait_for_status(&id, "completed");
}

#[test]
fn an_owner_knows_better_than_a_record_that_was_put_there() {
    let project = Project::new();
    let (id, _) = project.start_agent(&[], &["sleep"], 1);
    let supervisor = project.supervisor(&id);
    project.run(&["suspend", &id]).ok();
    project.run_shell("cp -a .monoco backup").ok();
    project.run(&["resume", &id]).ok();
    kill(supervisor, Signal::STOP);
    wait_until("the supervisor stands still", || is_stopped(supervisor));
    project.run_shell("rm -rf .monoco; mv backup .monoco").ok();
    kill(supervisor, Signal::CONT);
    project.wait_for_status(&id, "running");
    project.run(&["stop", &id]).ok();
    assert_eq!(project.record(&id)["outcome"]["kind"], "stopped");
}

#[test]
fn a_lost_session_is_not_forgotten_while_something_of_it_runs() {
    let project = Project::new();
    let script = "sleep 1000 & echo pid $$; echo pid $!; wait";
    let id = project.start(&[], &["sh", "-c", script]);
    wait_until("it tells them", || project.pids(&id).len() == 2);
    let left = project.pids(&id)[1];
    kill_both(&project, &id);
    let words = format!("lost, but left processes running ({left})");
    project.run(&["rm", &id]).fails_with(&[&id, &words, "stop"]);
    project.run(&["reconcile"]).ok();
    let pruned = project.run(&["prune"]).ok();
    assert!(pruned.err().contains("left processes running"), "{pruned}");
    assert!(alive(left) && project.record_path(&id).exists());
    project.run(&["rm", "-f", &id]).ok();
    gone(&[left]);
    assert!(!project.record_path(&id).exists());
}

/// Kills agent and supervisor, without a moment in which one could see the other's end.
fn kill_both(project: &Project, id: &str) {
    let (supervisor, agent) = (project.supervisor(id), project.agent(id));
    kill(supervisor, Signal::STOP);
    wait_until("the supervisor stands still", || is_stopped(supervisor));
    kill(agent, Signal::KILL);
    wait_until("the agent is dead", || !alive(agent));
    kill(supervisor, Signal::KILL);
    wait_until("the supervisor is dead", || !alive(supervisor));
}

#[test]
fn agent_and_supervisor_killed_together_are_lost_and_never_a_success() {
    let project = Project::new();
    let (id, _) = project.start_agent(&[], &["sleep"], 1);
    let waiter = project.spawn(&["wait", &id]);
    let follower = project.spawn(&["logs", "-f", &id]);
    kill_both(&project, &id);
    finish(waiter).code(125);
    finish(follower).ok();
    let listed = project.listed(&id);
    assert_eq!(listed["status"], "terminated", "{listed}");
    project.run(&["ps"]).ok();
    let record = project.record(&id);
    assert_eq!(record["status"], "terminated");
    assert_eq!(
        record["outcome"],
        json!({"kind": "lost", "cause": "owner_died"})
    );
    project.run(&["wait", &id]).code(125);
    assert!(!project.path().join(".monoco/run").join(&id).exists());
}

#[test]
fn a_launcher_in_the_foreground_tells_of_a_lost_session() {
    let project = Project::new();
    let (launcher, id) = project.start_in_foreground(&["sleep"]);
    kill_both(&project, &id);
    finish(launcher).code(125);
}

#[test]
fn listing_records_a_loss_once_and_no_reconcile_does_not() {
    let project = Project::new();
    let (id, _) = project.start_agent(&[], &["sleep"], 1);
    kill_both(&project, &id);
    for _ in 0..2 {
        let table = project.run(&["ps", "-a", "--no-reconcile"]).ok().out();
        assert!(table.contains("terminated (lost: owner died)"), "{table}");
        assert_eq!(project.status(&id), "running");
    }
    project.run(&["ps", "-a"]).ok();
    let record = std::fs::read(project.record_path(&id)).expect("a record");
    assert_eq!(project.status(&id), "terminated");
    project.run(&["ps", "-a"]).ok();
    project.run(&["reconcile"]).ok();
    assert_eq!(
        std::fs::read(project.record_path(&id)).expect("a record"),
        record
    );
}

#[test]
fn after_a_reboot_everything_is_lost_and_nothing_is_signalled() {
    let commands: &[&[&str]] = &[
        &["ps"],
        &["ps", "-a", "--no-reconcile"],
        &["show", "ID"],
        &["reconcile"],
        &["doctor", "--fix"],
        &["adopt", "--all"],
        &["adopt", "ID"],
        &["stop", "ID"],
        &["kill", "ID"],
        &["kill", "-s", "USR1", "ID"],
        &["suspend", "ID"],
        &["resume", "ID"],
        &["wait", "ID"],
        &["rm", "ID"],
        &["rm", "-f", "ID"],
        &["prune"],
    ];
    let project = Project::new();
    // Its first sign of any signal but STOP would be its death.
    let (id, pid) = project.orphan(&[], &["sleep"]);
    let record = project.record(&id);
    for command in commands {
        // As another boot would have left it, whose pids have been handed out anew.
        project.forge_record(&id, &record, |record| {
            record["process"]["boot_id"] = json!("00000000-0000-0000-0000-000000000000");
        });
        assert_eq!(
            project.look(&id).liveness,
            Liveness::Lost(session_core::LostCause::Reboot)
        );
        let args: Vec<_> = command
            .iter()
            .map(|arg| if *arg == "ID" { id.as_str() } else { arg })
            .collect();
        let ran = project.run(&args);
        assert!(alive(pid) && !is_stopped(pid), "{command:?}: {ran}");
        if project.record_path(&id).exists() && project.status(&id) != "running" {
            let lost = json!({"kind": "lost", "cause": "reboot"});
            assert_eq!(project.record(&id)["outcome"], lost, "{command:?}");
            project.run(&["wait", &id]).code(125);
        }
    }
    stays("it lives", Duration::from_millis(100), || {
        alive(pid) && !is_stopped(pid)
    });
}

/// The directories that a command syncs, by their paths in the project, in order.
fn synced_by(project: &Project, words: &[&str]) -> Vec<String> {
    let trace = project.state_home().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-e", "trace=fsync", "-o"]);
    strace.arg(&trace).arg(monoco()).args(words);
    let started = project.at_home(strace).spawn();
    finish(started.expect("strace can be executed")).ok();
    let trace = std::fs::read_to_string(&trace).expect("a trace");
    let paths = trace.lines().filter_map(|line| {
        let (path, _) = line.split_once('<')?.1.split_once('>')?;
        let path = path.strip_prefix(project.path().to_str()?)?;
        std::fs::metadata(project.path().join(format!(".{path}"))).ok()?;
        Some(format!(".{path}"))
    });
    paths.filter(|path| !path.ends_with(".json")).collect()
}

#[test]
fn a_power_loss_does_not_take_the_way_to_a_record_that_was_acknowledged() {
    if !works(&["strace", "-o", "/dev/null", "true"]) {
        return skip("it needs strace(1), and permission to trace");
    }
    let project = Project::new();
    let record = "./.monoco/sessions";
    let start = ["run", "--", "true"];
    let first = ["./.monoco", ".", record, record];
    assert_eq!(synced_by(&project, &start), first);
    assert_eq!(synced_by(&project, &start), [record, record]);
    // Somebody made the directories, and died before they were durable.
    let project = Project::new();
    std::fs::create_dir_all(project.path().join(record)).expect("a writable directory");
    assert_eq!(synced_by(&project, &start), first);
}

#[test]
fn an_end_that_is_only_read_is_synced_before_it_is_told() {
    if !works(&["strace", "-o", "/dev/null", "true"]) {
        return skip("it needs strace(1), and permission to trace");
    }
    let project = Project::new();
    let id = project.start(&[], &["true"]);
    project.wait_for_release(&id);
    for verb in ["wait", "stop"] {
        assert_eq!(synced_by(&project, &[verb, &id]), ["./.monoco/sessions"]);
    }
}

#[test]
fn a_supervisor_that_is_killed_while_it_starts_leaves_no_agent_without_a_record() {
    if !works(&["strace", "-o", "/dev/null", "true"]) {
        return skip("it needs strace(1), and permission to trace");
    }
    // The launcher syncs the project's directories only, twice.
    let mut killed_at = Vec::new();
    for call in [
        "fsync",
        "renameat,renameat2",
        "write",
        "pidfd_open",
        "clone,fork,vfork",
        "exit_group",
    ] {
        for when in 1..=6 {
            if killed_while_starting(call, when) {
                killed_at.push(format!("{call} {when}"));
            }
        }
    }
    assert!(
        killed_at.iter().any(|at| at.starts_with("fsync")),
        "{killed_at:?}"
    );
}

/// Starts a session in which every process is killed at its `when`th `call`;
/// tells whether that hit one of those that start it. An agent that ran has a
/// record that says so, whatever was hit.
fn killed_while_starting(call: &str, when: u32) -> bool {
    let project = Project::new();
    let ran = project.path().join("ran");
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("inject={call}:signal=KILL:when={when}"),
    ]);
    strace
        .arg(monoco())
        .args(["run", "-d", "--", "mkdir", "ran"]);
    let started = finish(
        project
            .at_home(strace)
            .spawn()
            .expect("strace can be executed"),
    );
    project.wait_until_deserted();
    let ids = match project.path().join(".monoco/sessions").exists() {
        true => project.ids(&["-a"]),
        false => Vec::new(),
    };
    let told: Vec<_> = ids.iter().map(|id| project.record(id)).collect();
    let at = format!("{call} {when}: {told:?} {started}");
    if ran.exists() {
        assert!(
            told.len() == 1 && told[0]["pid"].is_i64() && told[0]["started_at"].is_string(),
            "{at}"
        );
    }
    for record in &told {
        let status = record["status"].as_str().unwrap_or_default();
        assert!(
            matches!(status, "completed" | "crashed" | "failed" | "terminated"),
            "{at}"
        );
        assert!(
            status != "completed" || ran.exists(),
            "an invented success: {at}"
        );
        assert!(
            !matches!(status, "failed") || !ran.exists(),
            "an invented failure: {at}"
        );
    }
    if started.code == 0 {
        assert_eq!(told.len(), 1, "an acknowledged session has a record: {at}");
    }
    // Nothing is in the way of the next.
    project.run(&["run", "--", "true"]).ok();
    started.code != 0
}

/// Whether the kernel tells how a process ended to others than its parent
/// (`PIDFD_GET_INFO` with the exit code, Linux 6.15).
fn tells_strangers() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    if version < (6, 15) {
        skip("how a stranger's process ended is told since Linux 6.15");
    }
    version >= (6, 15)
}
