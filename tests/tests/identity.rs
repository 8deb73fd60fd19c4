//! A pid is not a process: after a reboot, in another namespace, and when the
//! kernel hands a pid out again, nothing is believed and nobody is signalled.

use monoco_tests::{
    Project, Ran, Signal, alive, is_stopped, kill, pending_signals, skip, wait_until, works,
};
use session_core::Liveness;

/// Runs `script` under `unshare` with `options`; `None`, told with a SKIPPED line,
/// where that takes a privilege that is not there.
#[track_caller]
fn in_namespace(project: &Project, options: &str, script: &str) -> Option<Ran> {
    let words: Vec<_> = ["unshare"]
        .into_iter()
        .chain(options.split(' '))
        .chain(["true"])
        .collect();
    if !works(&words) {
        skip(&format!("it needs the privilege to `unshare {options}`"));
        return None;
    }
    let quoted = script.replace('\'', r"'\''");
    Some(project.run_shell(&format!(
        "export monoco agent; exec unshare {options} sh -ec '{quoted}'"
    )))
}

/// Commands that would signal the agent of an orphan, each followed by its exit code.
fn drive(id: &str) -> String {
    let commands = ["stop", "kill", "kill -s USR1", "suspend", "resume", "adopt"];
    let run = |command: &str| {
        format!("code=0; \"$monoco\" {command} {id} || code=$?; echo \"{command}: $code\"\n")
    };
    commands.map(run).concat()
}

#[test]
fn another_boot_id_is_a_reboot_for_orphans_and_not_for_the_owned() {
    let project = Project::new();
    let (owned, _) = project.start_agent(&[], &["sleep"], 1);
    let (orphan, pid) = project.orphan(&[], &["sleep"]);
    let script = format!(
        "echo 11111111-2222-3333-4444-555555555555 > boot && mount --bind boot /proc/sys/kernel/random/boot_id
        \"$monoco\" ps -a --no-reconcile
        {}",
        drive(&orphan)
    );
    let Some(ran) = in_namespace(&project, "-m", &script) else {
        return;
    };
    let out = ran.ok().out();
    assert!(
        out.contains("terminated (lost: reboot)") && out.contains(" running "),
        "{out}"
    );
    assert!(alive(pid) && !is_stopped(pid), "{out}");
    assert_eq!(project.look(&owned).liveness, Liveness::Owned);
    assert_eq!(
        project.record(&orphan)["outcome"]["cause"],
        "reboot",
        "the first that may settles it"
    );
}

#[test]
fn a_record_that_only_a_newer_version_may_own_is_nobodys_order_to_signal() {
    let project = Project::new();
    let (id, pid) = project.orphan(&[], &["deaf"]);
    project.forge(&id, |record| record["schema"] = 999.into());
    for command in [&["kill", "-s", "USR1"][..], &["kill"], &["stop"]] {
        let words = [command, &[&id]].concat();
        project.run(&words).fails_with(&["schema 999"]);
    }
    assert!(alive(pid));
    assert_eq!(pending_signals(pid), 0);
}

#[test]
fn from_another_pid_namespace_an_orphan_is_unknown_and_left_alone() {
    let project = Project::new();
    let (owned, _) = project.start_agent(&["--name", "owned"], &["sleep"], 1);
    let (orphan, pid) = project.orphan(&[], &["sleep"]);
    let script = format!(
        "\"$monoco\" ps\n\"$monoco\" reconcile\n\"$monoco\" doctor || true\n{}",
        drive(&orphan)
    );
    let Some(ran) = in_namespace(&project, "-p -f --mount-proc", &script) else {
        return;
    };
    let out = ran.ok().out();
    assert!(
        out.contains("unknown (other pid namespace)") && out.contains(" running "),
        "{out}"
    );
    assert_eq!(out.matches(": 125\n").count(), 6, "{out}");
    assert!(alive(pid) && !is_stopped(pid), "{out}");
    assert_eq!(project.status(&orphan), "running");
    assert_eq!(
        project.look(&orphan).liveness,
        Liveness::Orphan,
        "from here it can be told"
    );
    // An owner can be asked from everywhere.
    let script = "\"$monoco\" suspend owned && \"$monoco\" resume owned && \"$monoco\" stop owned";
    let Some(ran) = in_namespace(&project, "-p -f --mount-proc", script) else {
        return;
    };
    ran.ok();
    assert_eq!(project.status(&owned), "terminated");
}

#[test]
fn the_agents_of_a_project_are_not_those_of_its_copy() {
    let project = Project::in_subdirectory("original");
    let (orphan, pid) = project.orphan(&["--name", "copied"], &["sleep"]);
    project.run_shell("cp -a ../original ../copy").ok();
    let script = format!(
        "cd ../copy\n\"$monoco\" ps\n\"$monoco\" reconcile\n{}\"$monoco\" rm -f {orphan}\n",
        drive(&orphan)
    );
    let out = project.run_shell(&script).ok().out();
    assert!(out.contains("unknown (agent of another project)"), "{out}");
    assert_eq!(out.matches(": 125\n").count(), 6, "{out}");
    assert!(alive(pid) && !is_stopped(pid), "{out}");
    // Where the original is gone, the copy is all there is of it.
    project.run_shell("cp -a ../original ../kept; rm -rf ../original; cd ../kept; exec \"$monoco\" stop copied").ok();
    assert!(!alive(pid));
}

#[test]
fn a_copy_in_the_place_of_its_original_has_no_agents_either() {
    let project = Project::in_subdirectory("place");
    let (orphan, pid) = project.orphan(&["--name", "moved"], &["sleep"]);
    let script = format!(
        "mv ../place ../moved; cp -a ../moved ../place; cd ../place; \"$monoco\" ps\n{}",
        drive(&orphan)
    );
    let out = project.run_shell(&script).ok().out();
    assert!(out.contains("unknown (agent of another project)"), "{out}");
    assert!(alive(pid) && !is_stopped(pid), "{out}");
    let stopped = project.run_shell("cd ../moved; exec \"$monoco\" stop moved");
    stopped.ok();
    assert!(!alive(pid));
}

#[test]
fn what_an_agent_left_running_is_not_for_a_copy_to_end() {
    let project = Project::in_subdirectory("original");
    let (id, pids) =
        project.start_agent(&["--leave-children"], &["daemonize", "sleep", "sleep"], 2);
    project.run_shell("cp -a ../original ../copy").ok();
    kill(pids[0], Signal::KILL);
    wait_until("the agent is dead", || !alive(pids[0]));
    let stop = format!("cd ../copy; exec \"$monoco\" stop {id}");
    project.run_shell(&stop).ok();
    assert!(alive(pids[1]), "it was left on purpose");
}

#[test]
fn a_time_namespace_shifts_nobodys_identity() {
    let project = Project::new();
    let (outside, pid) = project.orphan(&[], &["sleep"]);
    let script = format!(
        "\"$monoco\" ps --json
        \"$monoco\" run -d --name inside -- \"$agent\" sleep >/dev/null
        \"$monoco\" stop {outside} >/dev/null"
    );
    let Some(ran) = in_namespace(&project, "-T --boottime 1000000 -f", &script) else {
        return;
    };
    let listed = ran.ok().json();
    assert_eq!(listed[0]["liveness"], "orphan", "{listed}");
    assert!(!alive(pid));
    assert_eq!(project.record(&outside)["outcome"]["kind"], "stopped");
    let inside = project.ids(&["--status", "running"]);
    project.kill_supervisor(&inside[0]);
    assert_eq!(project.look(&inside[0]).liveness, Liveness::Orphan);
    project.run(&["stop", "inside"]).ok();
    assert_eq!(project.record(&inside[0])["outcome"]["kind"], "stopped");
}

#[test]
fn a_pid_that_was_handed_out_again_is_never_signalled() {
    let project = Project::new();
    // In a pid namespace of its own the next pid can be chosen. The shell is its
    // init: it reaps, and everybody dies with it.
    let script = r#"
        id=$("$monoco" run -d -- "$agent" sleep)
        pid=$(sed -n 's/^  "pid": \([0-9]*\),/\1/p' .monoco/sessions/$id.json)
        supervisor=$(grep -l __supervis[e] /proc/[0-9]*/cmdline 2>/dev/null | sed 's/[^0-9]//g')
        kill -9 $supervisor $pid
        while [ -e /proc/$pid ]; do sleep 0.01; done
        echo $((pid - 1)) > /proc/sys/kernel/ns_last_pid
        sleep 600 & victim=$!
        [ $victim = $pid ] || { echo "not recycled: $victim instead of $pid"; exit 9; }
        "$monoco" ps -a --no-reconcile --json
        DRIVE
        "$monoco" rm -f $id >/dev/null
        kill -0 $victim && grep State /proc/$victim/status"#;
    let script = script.replace("DRIVE", &drive("$id").replace("echo", ": echo"));
    let Some(ran) = in_namespace(&project, "-p -f --mount-proc", &script) else {
        return;
    };
    if ran.code == 9 {
        return skip(&ran.out());
    }
    let out = ran.ok().out();
    assert!(out.contains("\"cause\":\"owner_died\""), "{out}");
    assert!(out.contains("S (sleeping)"), "{out}");
}

#[test]
fn where_proc_shows_another_namespace_nothing_is_started_or_believed() {
    let project = Project::new();
    let (orphan, pid) = project.orphan(&[], &["sleep"]);
    let script = format!(
        "code=0; \"$monoco\" run -d -- touch never || code=$?; echo \"run: $code\"
        \"$monoco\" ps -a --no-reconcile
        {}",
        drive(&orphan)
    );
    let Some(ran) = in_namespace(&project, "--pid --fork", &script) else {
        return;
    };
    let ran = ran.ok();
    let out = ran.out();
    assert!(out.contains("run: 125") && out.contains("unknown"), "{ran}");
    assert!(ran.err().contains("another pid namespace"), "{ran}");
    assert!(!project.path().join("never").exists(), "{ran}");
    assert!(alive(pid) && !is_stopped(pid), "{ran}");
}
