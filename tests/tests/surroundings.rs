//! What surrounds a session goes wrong: the disk is full or read-only, limits
//! are low, descriptors are closed, directories vanish, the supervisor is frozen.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use monoco_tests::{
    PATIENCE, Project, Ran, Signal, alive, gone, is_stopped, kill, skip, stays, wait_until, works,
};
use rustix::process::{Resource, Rlimit};
use serde_json::json;
use session_core::Liveness;

/// Runs `script` in a mount namespace of its own; `None`, told with a SKIPPED
/// line, where that takes a privilege that is not there.
#[track_caller]
fn in_mount_namespace(project: &Project, script: &str) -> Option<Ran> {
    if !works(&["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]) {
        skip("it needs unshare(1), and the privilege to mount");
        return None;
    }
    let quoted = script.replace('\'', r"'\''");
    Some(project.run_shell(&format!(
        "export monoco agent; exec unshare -m sh -ec '{quoted}'"
    )))
}

#[test]
fn a_read_only_project_can_be_looked_at_but_not_run_in() {
    let project = Project::new();
    let ended = project.start(&["--name", "ended"], &["sh", "-c", "echo hello; exit 3"]);
    project.run(&["wait", &ended]).code(3);
    project.wait_for_release(&ended);
    let (lost, agent) = project.orphan(&[], &["sleep"]);
    kill(agent, Signal::KILL);
    wait_until("it is dead", || !alive(agent));
    let (running, _) = project.start_agent(&[], &["sleep"], 1);
    let script = r#"
        mount --bind . . && mount -o remount,ro,bind . && cd "$PWD"
        "$monoco" ps -a; "$monoco" ps --json >/dev/null; "$monoco" show ended >/dev/null; "$monoco" logs ended
        "$monoco" doctor && exit 10; "$monoco" wait ended && exit 11
        for verb in "run --" "run -d --" "run --name x --"; do
            code=0; "$monoco" $verb touch /tmp/never || code=$?; echo "run: $code"
        done
        code=0; "$monoco" rm ended || code=$?; echo "rm: $code""#;
    let Some(ran) = in_mount_namespace(&project, script) else {
        return;
    };
    let ran = ran.ok();
    let out = ran.out();
    assert!(
        out.contains("terminated (lost: owner died)") && out.contains("hello\n"),
        "{ran}"
    );
    assert!(out.contains("cannot be written"), "doctor tells: {ran}");
    assert_eq!(out.matches("run: 125").count(), 3, "{ran}");
    assert!(out.contains("rm: 125"), "{ran}");
    assert!(ran.err().contains("Read-only file system"), "{ran}");
    assert_eq!(project.status(&lost), "running", "nothing was written");
    assert_eq!(project.look(&running).liveness, Liveness::Owned);
    assert!(project.record_path(&ended).exists());
}

#[test]
fn on_a_full_disk_nothing_starts_and_an_end_is_recorded_all_the_same() {
    let project = Project::new();
    // 512 KiB of disk; the agent waits for a pipe that lies elsewhere.
    let script = r#"
        mkfifo go; mkdir disk; mount -t tmpfs -o size=512k tmpfs disk; cd disk
        id=$("$monoco" run -d -- sh -c "read _ < ../go; exit 7")
        other=$("$monoco" run -d -- "$agent" sleep)
        dd if=/dev/zero of=fill bs=1k 2>/dev/null || true
        for verb in "run --" "run -d --" "run -d --name x --"; do
            code=0; "$monoco" $verb touch ../never || code=$?; echo "run: $code"
        done
        "$monoco" ps | grep -c running
        echo > ../go
        code=0; "$monoco" wait $id || code=$?; echo "wait: $code"
        grep -A3 outcome .monoco/sessions/$id.json; grep status .monoco/sessions/$id.json
        "$monoco" suspend $other || echo "suspend refused"
        "$monoco" stop $other >/dev/null
        grep kind .monoco/sessions/$other.json
        rm fill; "$monoco" run -- echo room again; "$monoco" reconcile; "$monoco" ps; "$monoco" doctor"#;
    let Some(ran) = in_mount_namespace(&project, script) else {
        return;
    };
    let ran = ran.ok();
    let out = ran.out();
    assert_eq!(out.matches("run: 125").count(), 3, "{ran}");
    assert!(ran.err().contains("No space left on device"), "{ran}");
    assert!(!project.path().join("never").exists());
    assert!(out.contains("\n2\n"), "both are still running: {ran}");
    assert!(
        out.contains("wait: 7") && out.contains("\"code\": 7") && out.contains("\"failed\""),
        "{ran}"
    );
    assert!(out.contains("\"kind\": \"stopped\""), "{ran}");
    assert!(out.contains("room again"), "{ran}");
}

/// Runs `monoco` with every process of it seeing a system call fail (`inject=` of
/// `strace(1)`); `None`, told with a SKIPPED line, where that cannot be had.
#[track_caller]
fn run_injected(project: &Project, inject: &str, args: &str) -> Option<Ran> {
    if !works(&["strace", "-o", "/dev/null", "true"]) {
        skip("it needs strace(1), and permission to trace");
        return None;
    }
    let strace = format!("strace -f -qq -o /dev/null -e inject={inject}");
    Some(project.run_shell(&format!("exec {strace} \"$monoco\" {args}")))
}

#[test]
fn where_files_cannot_be_locked_nothing_runs() {
    let project = Project::new();
    let refused = run_injected(&project, "flock:error=ENOLCK", "run -d -- touch never");
    let Some(refused) = refused else { return };
    refused.fails_with(&["refuses locks", ".monoco"]);
    assert!(!project.path().join("never").exists());
    assert_eq!(project.ids(&["-a"]), [""; 0]);
}

#[test]
fn an_interrupted_lock_is_tried_again() {
    let project = Project::new();
    let ran = run_injected(
        &project,
        "flock:error=EINTR:when=1",
        "run --name x -- echo done",
    );
    let Some(ran) = ran else { return };
    assert_eq!(ran.ok().out(), "done\n");
}

#[test]
fn a_record_that_cannot_be_made_durable_starts_nothing() {
    let project = Project::new();
    for error in ["EIO", "ENOSPC"] {
        for call in ["fsync", "renameat,renameat2", "openat"] {
            for when in 1..=3 {
                let inject = format!("{call}:error={error}:when={when}");
                let ran = run_injected(&project, &inject, "run -- mkdir ran");
                let Some(ran) = ran else { return };
                let has_run = std::fs::remove_dir(project.path().join("ran")).is_ok();
                project.wait_until_deserted();
                for id in project.ids(&["-a"]) {
                    let record = project.record(&id);
                    let told = format!("{inject}: {record} {ran}");
                    let is_success = record["status"] == "completed";
                    assert!(!is_success || has_run, "an invented success: {told}");
                    assert!(is_success || ran.code != 0, "an unrecorded success: {told}");
                    // What could not be removed is swept.
                    project.run(&["reconcile"]).ok();
                    project.run(&["rm", &id]).ok();
                }
            }
        }
    }
    let left = std::fs::read_dir(project.path().join(".monoco/run")).expect("it is there");
    let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [".gitignore"]);
}

#[test]
fn a_limit_on_the_size_of_files_is_the_agents_and_not_the_supervisors() {
    let project = Project::new();
    // 8 KiB: enough for a record, not for the output. POSIX counts in 512 bytes.
    let script = "ulimit -f 16; \"$monoco\" run -d -- \"$agent\" print 100000 80";
    let id = project.run_shell(script).ok().out().trim().to_owned();
    project.run(&["wait", &id]).code(128 + 25);
    assert_eq!(
        project.record(&id)["outcome"]["signal"],
        25,
        "SIGXFSZ is the agent's own"
    );
    assert_eq!(project.log(&id).len(), 8192);
    project.wait_for_release(&id);
    let script = "ulimit -f 0; \"$monoco\" run -d -- touch never";
    project.run_shell(script).fails_with(&["File too large"]);
    assert!(!project.path().join("never").exists());
}

#[test]
fn an_end_that_cannot_be_recorded_now_is_recorded_later() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["catch-term", "4"], 1);
    let supervisor = project.supervisor(&id);
    limit(supervisor, Resource::Fsize, Some(0));
    kill(pids[0], Signal::TERM);
    gone(&pids);
    stays(
        "there is no success to be told",
        Duration::from_millis(300),
        || alive(supervisor) && project.status(&id) == "running",
    );
    assert_eq!(project.look(&id).liveness, Liveness::Owned);
    limit(supervisor, Resource::Fsize, None);
    project.run(&["wait", &id]).code(4);
    project.wait_for_status(&id, "failed");
}

/// Sets the soft limit of a process that is ours.
fn limit(pid: i32, resource: Resource, current: Option<u64>) {
    let pid = rustix::process::Pid::from_raw(pid);
    let maximum = rustix::process::getrlimit(resource).maximum;
    let before = rustix::process::prlimit(pid, resource, Rlimit { current, maximum });
    before.expect("the soft limit of our own process can be set");
}

#[test]
fn a_supervisor_without_descriptors_records_the_end() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["catch-term", "4"], 1);
    let supervisor = project.supervisor(&id);
    let open = std::fs::read_dir(format!("/proc/{supervisor}/fd"))
        .expect("it is ours")
        .count() as u64;
    limit(supervisor, Resource::Nofile, Some(open));
    kill(pids[0], Signal::TERM);
    project.wait_for_status(&id, "failed");
    project.run(&["wait", &id]).code(4);
}

#[test]
fn the_agent_has_its_launchers_limit_of_files() {
    let project = Project::new();
    let ran = project.run_shell("ulimit -S -n 123; exec \"$monoco\" run -- sh -c 'ulimit -n'");
    assert_eq!(ran.ok().out(), "123\n");
}

/// The mode of everything in `.monoco`, while a session lives.
#[track_caller]
fn check_modes(umask: &str) {
    let project = Project::new();
    let script = format!("umask {umask}; \"$monoco\" run -d -- \"$agent\" sleep");
    let id = project.run_shell(&script).ok().out().trim().to_owned();
    wait_until("the agent runs", || project.pids(&id).len() == 1);
    project
        .run_shell(&format!(
            "umask {umask}; \"$monoco\" suspend {id} && \"$monoco\" ps -a"
        ))
        .ok();
    let mut dirs = vec![project.path().join(".monoco")];
    let mut names = Vec::new();
    while let Some(dir) = dirs.pop() {
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
        for entry in std::fs::read_dir(&dir).expect("it is ours") {
            let path = entry.expect("it is ours").path();
            match path.is_dir() {
                true => dirs.push(path),
                false => {
                    assert_eq!(mode(&path), 0o600, "{}", path.display());
                    names.extend(
                        path.file_name()
                            .and_then(|name| name.to_str().map(str::to_owned)),
                    );
                }
            }
        }
    }
    for name in ["lease", "control.sock", ".gitignore"] {
        assert!(
            names.iter().any(|found| found == name),
            "{name} in {names:?}"
        );
    }
    project.run(&["kill", &id]).ok();
    assert_eq!(mode(&project.record_path(&id)), 0o600);
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata()
        .expect("it is there")
        .permissions()
        .mode()
        & 0o7777
}

#[test]
fn whatever_the_umask_all_is_for_its_owner_only() {
    for umask in ["0", "0777", "022"] {
        check_modes(umask);
    }
}

#[test]
fn the_agent_has_the_umask_of_its_launcher() {
    let project = Project::new();
    let id = project
        .run_shell("umask 027; \"$monoco\" run -d -- sh -c umask")
        .ok()
        .out();
    project.run(&["wait", id.trim()]).ok();
    assert_eq!(project.log(id.trim()), b"0027\n");
}

#[test]
fn closed_standard_descriptors_lose_nothing() {
    let project = Project::new();
    for (n, verb) in ["run -d --", "run --"].iter().enumerate() {
        let script = format!(
            "\"$monoco\" {verb} sh -c 'echo out; echo err >&2; exit 3' 0<&- 1>&- 2>&-; true"
        );
        project.run_shell(&script).ok();
        assert_eq!(project.ids(&["-a"]).len(), n + 1);
    }
    for id in project.ids(&["-a"]) {
        project.run(&["wait", &id]).code(3);
        assert_eq!(project.log(&id), b"out\nerr\n");
        serde_json::from_slice::<serde_json::Value>(
            &std::fs::read(project.record_path(&id)).expect("a record"),
        )
        .expect("nothing was printed into it");
    }
}

#[test]
fn a_long_path_is_no_obstacle() {
    // Three times what an address of a socket can hold.
    let project = Project::in_subdirectory(["directory-with-a-long-name"; 12].join("/"));
    std::fs::create_dir(project.path().join(".monoco")).expect("a new directory");
    assert!(project.path().as_os_str().len() > 300);
    let (id, pids) = project.start_agent(&[], &["catch-term", "0"], 1);
    project.run(&["suspend", &id]).ok();
    assert!(is_stopped(pids[0]));
    project.run(&["resume", &id]).ok();
    project.run(&["stop", &id]).ok();
    gone(&pids);
    assert_eq!(project.status(&id), "terminated");
}

/// Removes a directory whose inhabitants may be faster in making it anew.
fn remove(project: &Project, dir: &str) {
    project
        .run_shell(&format!("rm -rf {dir} 2>/dev/null || true"))
        .ok();
}

#[test]
fn a_living_session_brings_its_removed_directory_back() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&["--issue", "KEPT"], &["catch-term", "6"], 1);
    let record = project.record(&id);
    let removed = Instant::now();
    remove(&project, ".monoco");
    wait_until("the record is back", || project.record_path(&id).exists());
    assert!(
        removed.elapsed() < Duration::from_secs(5),
        "{:?}",
        removed.elapsed()
    );
    wait_until("it is owned again", || {
        project.look(&id).liveness == Liveness::Owned
    });
    assert_eq!(project.record(&id), record);
    assert!(alive(pids[0]));
    wait_until("it can be reached again", || {
        project.run(&["suspend", &id]).code == 0
    });
    project.run(&["resume", &id]).ok();
    kill(pids[0], Signal::TERM);
    project.run(&["wait", &id]).code(6);
    assert_eq!(
        project.record(&id)["outcome"],
        json!({"kind": "exited", "code": 6})
    );
    project.wait_for_release(&id);
}

#[test]
fn a_living_session_brings_the_removed_records_directory_back() {
    let project = Project::new();
    let (id, _) = project.start_agent(&[], &["sleep"], 1);
    let record = project.record(&id);
    remove(&project, ".monoco/sessions");
    // Nobody asks the owner for anything.
    wait_until("the record is back", || project.record_path(&id).exists());
    assert_eq!(project.record(&id), record);
    project.run(&["stop", &id]).ok();
}

#[test]
fn a_living_session_brings_its_removed_run_directory_back() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["sleep"], 1);
    remove(&project, ".monoco/run");
    wait_until("it can be reached again", || {
        project.run(&["suspend", &id]).code == 0
    });
    project.run(&["stop", &id]).ok();
    gone(&pids);
    assert_eq!(project.status(&id), "terminated");
}

#[test]
fn the_directory_may_go_while_the_agent_ends() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["catch-term", "6"], 1);
    kill(pids[0], Signal::TERM);
    remove(&project, ".monoco");
    project.wait_until_deserted();
    // Either its end was recorded before the directory went, or after.
    if project.record_path(&id).exists() {
        assert_eq!(project.status(&id), "failed");
    }
}

#[test]
fn a_supervisor_whose_project_was_removed_goes_with_its_agent() {
    for options in [&[][..], &["--leave-children"]] {
        let project = Project::in_subdirectory("removed");
        std::fs::create_dir(project.path().join(".monoco")).expect("a new directory");
        let (id, pids) = project.start_agent(options, &["sleep"], 1);
        let supervisor = project.supervisor(&id);
        // Moved first, for nobody to make anything anew while it is removed.
        let moved = project.path().with_file_name("moved");
        std::fs::rename(project.path(), &moved).expect("nothing is in the way");
        wait_until("it is removed", || std::fs::remove_dir_all(&moved).is_ok());
        stays("they live", Duration::from_millis(300), || {
            alive(supervisor) && alive(pids[0])
        });
        kill(pids[0], Signal::KILL);
        gone(&[supervisor]);
    }
}

#[test]
fn an_end_is_recorded_where_the_project_was_moved_to() {
    let project = Project::in_subdirectory("before");
    std::fs::create_dir(project.path().join(".monoco")).expect("a new directory");
    let (id, pids) = project.start_agent(&[], &["catch-term", "3"], 1);
    let after = project.path().with_file_name("after");
    std::fs::rename(project.path(), &after).expect("nothing is in the way");
    let after_path = after.to_str().expect("a plain path").to_owned();
    let ps = ["--project", &after_path, "ps", "--json"];
    let listed = Project::new().run(&ps).ok().json();
    assert_eq!(listed[0]["liveness"], "owned", "{listed}");
    kill(pids[0], Signal::TERM);
    gone(&pids);
    let record = after.join(format!(".monoco/sessions/{id}.json"));
    wait_until("the end is recorded", || {
        let record = std::fs::read_to_string(&record).expect("it was moved");
        record.contains("\"failed\"") && record.contains("\"code\": 3")
    });
    project.wait_until_deserted();
    assert!(
        !project.path().exists(),
        "nothing was made anew at the old place"
    );
}

#[test]
fn a_frozen_supervisor_does_not_answer_and_is_not_dead() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&["--name", "frozen"], &["sleep"], 1);
    let supervisor = project.supervisor(&id);
    kill(supervisor, Signal::STOP);
    wait_until("it is frozen", || is_stopped(supervisor));
    let listed = project.listed(&id);
    assert_eq!(
        (&listed["status"], &listed["liveness"]),
        (&json!("running"), &json!("owned"))
    );
    project.run(&["ps"]).ok();
    project.run(&["reconcile"]).ok();
    project
        .run(&["adopt", &id])
        .fails_with(&[&id, "only an orphan"]);
    project
        .run(&["run", "-d", "--name", "frozen", "--", "true"])
        .fails_with(&["in use"]);
    project.run(&["wait", "--timeout", "0.1", &id]).code(124);
    project.run(&["rm", &id]).fails_with(&["running"]);
    let asked = Instant::now();
    project
        .run(&["suspend", &id])
        .fails_with(&[&id, "does not answer"]);
    assert!(asked.elapsed() < PATIENCE);
    assert!(alive(pids[0]) && !is_stopped(pids[0]));
    assert_eq!(project.status(&id), "running");
    kill(supervisor, Signal::CONT);
    project.run(&["stop", &id]).ok();
    gone(&pids);
    assert_eq!(project.status(&id), "terminated");
}

#[test]
fn the_working_directory_of_an_agent_may_vanish() {
    let project = Project::new();
    let script =
        "mkdir w && cd w && exec \"$monoco\" --project .. run -d -- \"$agent\" catch-term 2";
    let id = project.run_shell(script).ok().out().trim().to_owned();
    wait_until("it is ready", || project.pids(&id).len() == 1);
    std::fs::remove_dir(project.path().join("w")).expect("it is empty");
    kill(project.pids(&id)[0], Signal::TERM);
    project.run(&["wait", &id]).code(2);
}

#[test]
fn a_symbolic_link_in_the_place_of_a_directory_is_refused() {
    let project = Project::new();
    let elsewhere = Project::new();
    std::os::unix::fs::symlink(elsewhere.path(), project.path().join(".monoco")).expect("room");
    project
        .run(&["run", "--", "true"])
        .fails_with(&[".monoco", "symbolic link"]);
    project
        .run(&["ps"])
        .fails_with(&[".monoco", "symbolic link"]);
    assert_eq!(
        std::fs::read_dir(elsewhere.path())
            .expect("it is there")
            .count(),
        0
    );
}

#[test]
fn the_project_of_another_user_is_refused() {
    let project = Project::new();
    project.run(&["run", "--", "true"]).ok();
    let nobody = 65534;
    if std::os::unix::fs::chown(project.path().join(".monoco"), Some(nobody), None).is_err() {
        return skip("it needs the privilege to give files away");
    }
    assert_eq!(
        project
            .path()
            .join(".monoco")
            .metadata()
            .expect("it is there")
            .uid(),
        nobody
    );
    project.run(&["ps"]).fails_with(&[".monoco", "65534"]);
    project
        .run(&["run", "--", "true"])
        .fails_with(&[".monoco", "65534"]);
}

#[test]
fn a_supervisor_that_is_asked_by_a_signal_stops_its_session() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["sleep"], 1);
    let supervisor = project.supervisor(&id);
    // Not meant for an owner.
    kill(supervisor, Signal::HUP);
    kill(supervisor, Signal::INT);
    kill(supervisor, Signal::QUIT);
    stays("it goes on", Duration::from_millis(100), || {
        alive(supervisor) && alive(pids[0])
    });
    kill(supervisor, Signal::TERM);
    gone(&pids);
    project.wait_for_status(&id, "terminated");
    assert_eq!(
        project.record(&id)["outcome"]["by"],
        "SIGTERM to the supervisor"
    );
}
