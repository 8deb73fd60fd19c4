//! An agent with all its descendants: what is stopped, frozen and left behind
//! is the whole tree, and nothing but the tree.

use std::time::{Duration, Instant};

use monoco_tests::{
    PATIENCE, Project, agent, alive, finish, gone, is_stopped, monoco, session_of, skip, stays,
    wait_until, works,
};
use serde_json::{Value, json};
use session_core::control::Request;
use session_core::{ControlError, Liveness, SessionId};

/// A session of a shell script in which `$0` is the scripted agent and `$1` is monoco.
#[track_caller]
fn start_script(project: &Project, options: &[&str], script: &str) -> String {
    project.start(options, &["sh", "-c", script, agent(), monoco()])
}

#[track_caller]
fn wait_status(project: &Project, id: &str) -> Value {
    project.record(id)["outcome"]["wait_status"].clone()
}

#[test]
fn an_agent_that_ignores_term_is_killed_when_its_grace_is_over() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["ignore-term"], 1);
    project.run(&["stop", "-t", "0.5", &id]).ok();
    gone(&pids);
    let killed = json!({"kind": "signaled", "signal": 9, "core_dumped": false});
    assert_eq!(wait_status(&project, &id), killed);
    assert_eq!(project.status(&id), "terminated");
    project.run(&["wait", &id]).code(137);
}

#[test]
fn what_an_agent_left_running_can_be_hurried_after_its_end() {
    let project = Project::new();
    let deaf = &["daemonize", "exit", "ignore-term"];
    let (id, _) = project.start_agent(&[], deaf, 2);
    project.wait_for_status(&id, "completed");
    // Its owner still gives the daemon its grace.
    project.run(&["kill", &id]).ok();
    project.wait_until_deserted();
    assert_eq!(project.status(&id), "completed");
}

#[test]
fn the_grace_is_not_waited_for_when_nothing_is_left() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["fork-tree", "2", "2"], 7);
    // Far beyond what the harness waits for.
    project.run(&["stop", "-t", "1h", &id]).ok();
    gone(&pids);
}

#[test]
fn a_stop_that_hangs_is_hurried_by_a_kill() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["ignore-term"], 1);
    let stop = project.spawn(&["stop", "-t", "1h", &id]);
    stays("it ignores TERM", Duration::from_millis(100), || {
        alive(pids[0])
    });
    project.run(&["kill", &id]).ok();
    finish(stop).ok();
    gone(&pids);
    assert_eq!(project.record(&id)["outcome"]["kind"], "stopped");
}

#[test]
fn a_daemon_is_found_and_ended_with_its_session() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["daemonize", "sleep", "sleep"], 2);
    assert_ne!(
        session_of(pids[1]),
        session_of(pids[0]),
        "it has a session of its own"
    );
    project.run(&["stop", &id]).ok();
    gone(&pids);
    project.wait_until_deserted();
}

#[test]
fn a_daemon_is_ended_when_its_agent_ends_by_itself() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["daemonize", "exit", "sleep"], 2);
    project.run(&["wait", &id]).ok();
    project.wait_for_release(&id);
    gone(&pids);
    assert_eq!(
        project.record(&id)["outcome"],
        json!({"kind": "exited", "code": 0})
    );
    project.wait_until_deserted();
}

#[test]
fn a_daemon_that_ignores_term_is_killed_but_the_end_is_told_at_once() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["daemonize", "exit", "ignore-term"], 2);
    // Its grace of 10 s is not waited for here.
    project.run(&["wait", &id]).ok();
    assert_eq!(project.status(&id), "completed");
    assert!(alive(pids[1]));
    // Who removes it waits for the rest of the tree.
    project.run(&["rm", &id]).ok();
    gone(&pids);
}

#[test]
fn leave_children_leaves_them() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&["--leave-children"], &["daemonize", "exit", "sleep"], 2);
    project.run(&["wait", &id]).ok();
    project.wait_for_release(&id);
    stays("the daemon lives", Duration::from_millis(200), || {
        alive(pids[1])
    });
    assert!(project.look(&id).liveness == Liveness::Ended);
}

#[test]
fn what_a_stop_finds_of_a_session_that_leaves_children_is_stopped_all_the_same() {
    let project = Project::new();
    let (id, pids) =
        project.start_agent(&["--leave-children"], &["daemonize", "sleep", "sleep"], 2);
    project.run(&["stop", &id]).ok();
    gone(&pids);
}

#[test]
fn a_suspended_session_is_asked_to_end_before_it_is_killed() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["catch-term", "0"], 1);
    project.run(&["suspend", &id]).ok();
    project.run(&["stop", &id]).ok();
    gone(&pids);
    assert_eq!(
        wait_status(&project, &id),
        json!({"kind": "exited", "code": 0})
    );
    assert_eq!(project.status(&id), "terminated");
}

#[test]
fn suspend_freezes_the_whole_tree_and_resume_thaws_it() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["fork-tree", "2", "2"], 7);
    let sessions: std::collections::BTreeSet<_> = pids.iter().map(|pid| session_of(*pid)).collect();
    assert_eq!(
        sessions.len(),
        4,
        "every other child has a session of its own"
    );
    project.run(&["suspend", &id]).ok();
    assert_eq!(project.status(&id), "suspended");
    assert!(pids.iter().all(|pid| is_stopped(*pid)));
    assert_eq!(project.ids(&["--status", "suspended"]), [id.as_str()]);
    // Twice is fine, and changes nothing.
    let before = project.record(&id);
    project.run(&["suspend", &id]).ok();
    assert_eq!(project.record(&id), before);
    project.run(&["resume", &id]).ok();
    wait_until("everybody goes on", || {
        !pids.iter().any(|pid| is_stopped(*pid))
    });
    assert_eq!(project.status(&id), "running");
    project.run(&["resume", &id]).ok();
}

#[test]
fn processes_that_fork_all_the_time_are_frozen() {
    let project = Project::new();
    let id = start_script(&project, &[], "\"$0\" hop 1 & exec \"$0\" sleep");
    wait_until("it hops", || project.pids(&id).len() > 5);
    project.run(&["suspend", &id]).ok();
    let log = project.log(&id);
    stays("nobody hops", Duration::from_millis(200), || {
        project.log(&id) == log
    });
    project.run(&["resume", &id]).ok();
    wait_until("it hops again", || project.log(&id).len() > log.len());
    project.run(&["stop", &id]).ok();
}

#[test]
fn of_several_that_fork_all_the_time_none_goes_on() {
    // One that forks and ends while the tree is looked through leaves a child that
    // was in no list yet.
    let project = Project::new();
    let script = "for i in 1 2 3 4; do \"$0\" hop 0 & done; exec \"$0\" sleep";
    let id = start_script(&project, &[], script);
    wait_until("they hop", || project.pids(&id).len() > 20);
    let (start, mut suspended) = (Instant::now(), 0);
    while suspended < 60 && start.elapsed() < PATIENCE {
        let ran = project.run(&["suspend", &id]);
        if ran.code != 0 {
            // Where everything is slow they may be too fast, and it is said so.
            ran.fails_with(&["does not come to rest"]);
            assert_eq!(project.status(&id), "running");
            continue;
        }
        suspended += 1;
        let log = project.log(&id).len();
        stays("nobody hops", Duration::from_millis(10), || {
            project.log(&id).len() == log
        });
        project.run(&["resume", &id]).ok();
    }
    assert!(suspended > 0, "never within {PATIENCE:?}");
    project.run(&["kill", &id]).ok();
}

#[test]
fn of_processes_that_fork_all_the_time_none_escapes() {
    // Whoever looks for the tree finds the dead, and their children nowhere yet.
    let project = Project::new();
    for _ in 0..8 {
        let script = "for i in 1 2 3 4; do \"$0\" hop 0 & done; exec \"$0\" sleep";
        let id = start_script(&project, &[], script);
        wait_until("they hop", || project.pids(&id).len() > 20);
        project.run(&["kill", &id]).ok();
        project.wait_for_release(&id);
        project.wait_until_deserted();
    }
}

#[test]
fn processes_that_are_just_being_started_are_frozen() {
    // Nearly always one waits for another to execute its program, and cannot stop
    // before that: to stop both is to deadlock them.
    let project = Project::new();
    let (id, _) = project.start_agent(&[], &["spin-fork", "3"], 1);
    for _ in 0..30 {
        project.run(&["suspend", &id]).ok();
        project.run(&["resume", &id]).ok();
    }
    project.run(&["stop", &id]).ok();
    project.wait_until_deserted();
}

#[test]
fn an_agent_whose_copies_go_on_without_end_is_ended() {
    let project = Project::new();
    let (id, _) = project.start_agent(&[], &["hop", "1"], 1);
    project.wait_for_release(&id);
    project.wait_until_deserted();
}

#[test]
fn a_timeout_does_not_pass_while_suspended() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&["--timeout", "1"], &["sleep"], 1);
    project.run(&["suspend", &id]).ok();
    stays("its time stands still", Duration::from_millis(1500), || {
        is_stopped(pids[0])
    });
    assert_eq!(project.status(&id), "suspended");
    project.run(&["resume", &id]).ok();
    project.wait_for_status(&id, "timeout");
    gone(&pids);
}

#[test]
fn whatever_an_agent_has_open_does_not_keep_it_from_being_ended() {
    let project = Project::new();
    // A directory too deep for a path, and a FIFO that is named like a lease.
    let deep = "for n in $(seq 25); do mkdir $(printf %0200d 0); cd $(printf %0200d 0); done
        exec 3<.";
    let fifo = "mkdir -p x/.monoco/run/abc; mkfifo x/.monoco/run/abc/lease
        exec 4<>x/.monoco/run/abc/lease; exec 3<x/.monoco/run/abc/lease; exec 4>&-";
    for descriptor in [deep, fifo] {
        let script = format!("{descriptor}\necho pid $$; sleep 600");
        let id = start_script(&project, &[], &script);
        wait_until("it runs", || !project.pids(&id).is_empty());
        project.run(&["suspend", &id]).ok();
        project.run(&["stop", &id]).ok();
        assert_eq!(project.status(&id), "terminated");
    }
}

#[test]
fn a_group_whose_leader_ended_is_ended() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["orphan-group"], 2);
    project.run(&["wait", &id]).ok();
    project.wait_for_release(&id);
    gone(&pids);
}

#[test]
fn a_daemon_that_holds_the_output_open_keeps_nobody_waiting() {
    let project = Project::new();
    let options = [
        "run",
        "--leave-children",
        "--",
        agent(),
        "daemonize",
        "exit",
        "sleep",
    ];
    let ran = project.run(&options).ok();
    assert!(ran.out().starts_with("pid "), "{ran}");
    let ids = project.ids(&["-a"]);
    assert_eq!(project.status(&ids[0]), "completed");
    let logs = project.run(&["logs", "-f", &ids[0]]).ok();
    assert!(logs.out().starts_with("pid "), "{logs}");
    wait_until("the daemon told its pid", || {
        project.pids(&ids[0]).len() == 2
    });
    assert!(alive(project.pids(&ids[0])[1]));
}

/// Starts a session whose agent starts another, detached, from `cd`. Returns the
/// ids of both, once the inner one runs.
fn nested(project: &Project, then: &str) -> (String, String) {
    let script = format!("cd / && \"$1\" run -d --issue INNER -- \"$0\" sleep && {then}");
    let outer = start_script(project, &["--issue", "OUTER"], &script);
    let mut inner = String::new();
    wait_until("the inner session runs", || {
        let log = String::from_utf8_lossy(&project.log(&outer)).into_owned();
        inner = log.lines().next().unwrap_or_default().to_owned();
        log.contains('\n') && project.pids(&inner).len() == 1
    });
    (outer, inner)
}

#[test]
fn a_session_outlives_the_session_that_started_it() {
    let project = Project::new();
    let (outer, inner) = nested(&project, "exit 0");
    project.run(&["wait", &outer]).ok();
    project.wait_for_release(&outer);
    check_inner(&project, &outer, &inner);
}

#[test]
fn a_session_outlives_the_stop_of_the_session_that_started_it() {
    let project = Project::new();
    let (outer, inner) = nested(&project, "exec \"$0\" sleep");
    project.run(&["suspend", &outer]).ok();
    assert!(!is_stopped(project.pids(&inner)[0]));
    project.run(&["stop", &outer]).ok();
    project.wait_for_release(&outer);
    check_inner(&project, &outer, &inner);
}

#[test]
fn a_session_outlives_the_session_that_started_it_as_an_orphan() {
    let project = Project::new();
    let (outer, inner) = nested(&project, "exec \"$0\" sleep");
    project.kill_supervisor(&outer);
    project.run(&["stop", &outer]).ok();
    check_inner(&project, &outer, &inner);
}

#[test]
fn who_becomes_a_supervisor_while_the_tree_is_frozen_is_not_left_stopped() {
    let project = Project::new();
    let starts = "while :; do \"$1\" run -d -- \"$0\" exit 0 >/dev/null; done";
    let outer = start_script(&project, &[], starts);
    let manager = project.manager();
    for _ in 0..40 {
        project.run(&["suspend", &outer]).ok();
        for id in project.ids(&["--status", "running"]) {
            let id = SessionId::parse(&id).expect("an id");
            // Whoever is stopped does not answer.
            match manager
                .control(&id)
                .map(|owner| owner.ask(&Request::Status))
            {
                Ok(Ok(_)) | Err(_) | Ok(Err(ControlError::OwnerDied(_))) => {}
                Ok(Err(error)) => panic!("{}", session_core::error_chain(&error)),
            }
        }
        project.run(&["resume", &outer]).ok();
    }
    project.run(&["stop", &outer]).ok();
    project.wait_until_deserted();
}

#[track_caller]
fn check_inner(project: &Project, outer: &str, inner: &str) {
    let seen = project.look(inner);
    assert_eq!(seen.liveness, Liveness::Owned);
    assert!(project.status(outer) != "running" && project.status(inner) == "running");
    assert_eq!(project.record(inner)["parent_id"], outer);
    assert_eq!(project.record(inner)["cwd"], "/");
    let pids = project.pids(inner);
    stays("it lives", Duration::from_millis(100), || alive(pids[0]));
    project.run(&["stop", inner]).ok();
    gone(&pids);
}

#[test]
fn an_agent_finds_itself_alone_with_its_streams_and_its_name() {
    let project = Project::new();
    let options = ["--issue", "FEAT-7", "--role", "Tester"];
    let id = project.start(&options, &[agent(), "describe"]);
    project.run(&["wait", &id]).ok();
    let found: Value = serde_json::from_slice(&project.log(&id)).expect("it describes itself");
    let log = project.log_path(&id);
    let fds = json!([
        {"number": "0", "target": "/dev/null"},
        {"number": "1", "target": log},
        {"number": "2", "target": log},
    ]);
    assert_eq!(found["fds"], fds);
    assert_eq!(found["pid"], project.record(&id)["pid"]);
    assert_eq!(found["process_group"], found["pid"]);
    assert_eq!(found["session"], found["pid"]);
    assert_eq!(found["cwd"], json!(project.path()));
    let variables = json!({
        "MONOCO_SESSION_ID": id,
        "MONOCO_PROJECT": project.path(),
        "MONOCO_ISSUE_ID": "FEAT-7",
        "MONOCO_ROLE": "Tester",
    });
    assert_eq!(found["variables"], variables);
}

#[test]
fn an_agent_starts_with_no_signal_blocked_and_none_ignored() {
    let project = Project::new();
    let script =
        "trap '' HUP INT TERM PIPE XFSZ USR1; exec \"$monoco\" run -d -- cat /proc/self/status";
    let id = project.run_shell(script).ok().out().trim().to_owned();
    project.run(&["wait", &id]).ok();
    let log = String::from_utf8_lossy(&project.log(&id)).into_owned();
    for mask in ["SigBlk:", "SigIgn:", "SigCgt:", "SigPnd:"] {
        let line = log
            .lines()
            .find_map(|line| line.strip_prefix(mask))
            .expect("a mask");
        assert_eq!(line.trim(), "0000000000000000", "{mask}");
    }
}

#[test]
fn the_processes_of_others_are_nobodys_tree() {
    let project = Project::new();
    let (first, first_pids) = project.start_agent(&[], &["fork-tree", "1", "2"], 3);
    let (second, second_pids) = project.start_agent(&[], &["fork-tree", "1", "2"], 3);
    project.run(&["suspend", &first]).ok();
    assert!(!second_pids.iter().any(|pid| is_stopped(*pid)));
    project.run(&["stop", &first]).ok();
    gone(&first_pids);
    assert!(second_pids.iter().all(|pid| alive(*pid)));
    project.run(&["kill", &second]).ok();
    gone(&second_pids);
}

#[test]
fn a_process_whose_first_thread_ended_is_alive() {
    const SCRIPT: &str = "import ctypes, os, threading, time; \
        print('pid', os.getpid(), flush=True); \
        threading.Thread(target=time.sleep, args=(600,)).start(); \
        ctypes.CDLL(None).pthread_exit(None)";
    if !works(&["python3", "-c", "import ctypes, threading"]) {
        return skip("it needs python3");
    }
    let project = Project::new();
    let first_thread_ended = |pid: i32| {
        wait_until("its first thread has ended", || !alive(pid));
        assert_eq!(
            std::fs::read_dir(format!("/proc/{pid}/task"))
                .expect("it lives")
                .count(),
            2
        );
    };
    let is_there = |pid: i32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    let start = || {
        let id = project.start(&[], &["python3", "-c", SCRIPT]);
        wait_until("it told its pid", || project.pids(&id).len() == 1);
        let pid = project.pids(&id)[0];
        first_thread_ended(pid);
        (id, pid)
    };
    let (id, pid) = start();
    assert_eq!(project.status(&id), "running");
    project.run(&["suspend", &id]).ok();
    project.run(&["resume", &id]).ok();
    project.run(&["stop", &id]).ok();
    wait_until("it is gone", || !is_there(pid));
    let (id, pid) = start();
    project.kill_supervisor(&id);
    assert_eq!(project.look(&id).liveness, Liveness::Orphan);
    project.run(&["stop", &id]).ok();
    wait_until("it is gone", || !is_there(pid));
    assert_eq!(project.status(&id), "terminated");
}

#[test]
fn who_says_to_be_another_sessions_is_ended_all_the_same() {
    let project = Project::new();
    // As an environment that was kept, or a file that was opened, may make it look.
    for (options, disguise) in [
        (&[][..], "export MONOCO_SESSION_ID=another"),
        (
            &[],
            "export MONOCO_SESSION_ID=another; unset MONOCO_PROJECT",
        ),
        (&[], "exec 3<.monoco/run/$MONOCO_SESSION_ID/lease"),
        (&["-t", "1"], "export MONOCO_SESSION_ID=another"),
    ] {
        let script = format!(
            "{disguise}; sleep 1000 & echo pid $!; exec sh -c 'echo pid $$; sleep 1000; :'"
        );
        let id = project.start(options, &["sh", "-c", &script]);
        wait_until("it tells both", || project.pids(&id).len() == 2);
        let pids = project.pids(&id);
        if options.is_empty() {
            project.run(&["suspend", &id]).ok();
            assert!(pids.iter().all(|pid| is_stopped(*pid)), "{disguise}");
            project.run(&["stop", "-t", "5", &id]).ok();
            assert_eq!(project.status(&id), "terminated", "{disguise}");
        } else {
            project.wait_for_status(&id, "timeout");
        }
        gone(&pids);
    }
}

#[test]
fn a_suspended_session_is_not_thawed_by_a_signal() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["sleep"], 1);
    project.run(&["suspend", &id]).ok();
    project
        .run(&["kill", "-s", "CONT", &id])
        .fails_with(&["suspended", "resume"]);
    assert!(is_stopped(pids[0]));
    assert_eq!(project.status(&id), "suspended");
}
