//! The commands one by one: which session is meant, what is removed, what is
//! refused, and that every refusal is one clear line.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monoco_tests::{Project, Ran, Signal, agent, alive, finish, gone, kill, skip, wait_until};
use serde_json::json;
use session_core::{Liveness, Registry};

/// A record that some program wrote, ended, with the given id.
fn plant(project: &Project, id: &str) {
    let sessions = project.path().join(".monoco/sessions");
    std::fs::create_dir_all(&sessions).expect("a new directory");
    let record = json!({
        "id": id, "issue_id": "PLANTED", "role_name": "Default", "status": "completed",
        "branch_name": "b", "pid": null,
        "created_at": "2026-01-01T00:00:00+00:00", "updated_at": "2026-01-01T00:00:00+00:00",
    });
    std::fs::write(sessions.join(format!("{id}.json")), record.to_string()).expect("room");
}

#[test]
fn rm_removes_what_has_ended_with_its_log() {
    let project = Project::new();
    let id = project.start(&[], &["echo", "hello"]);
    project.run(&["wait", &id]).ok();
    assert_eq!(project.run(&["rm", &id]).ok().out(), format!("{id}\n"));
    assert!(!project.record_path(&id).exists() && !project.log_path(&id).exists());
    project
        .run(&["show", &id])
        .fails_with(&["no such session", &id]);
}

#[test]
fn rm_refuses_the_living_without_force() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["ignore-term"], 1);
    project
        .run(&["rm", &id])
        .fails_with(&[&id, "running", "monoco stop", "-f"]);
    assert!(alive(pids[0]));
    project.run(&["rm", "-f", &id]).ok();
    gone(&pids);
    assert!(!project.record_path(&id).exists() && !project.log_path(&id).exists());
    project.wait_for_release(&id);
}

#[test]
fn rm_refuses_an_orphan_without_force() {
    let project = Project::new();
    let (id, pid) = project.orphan(&[], &["sleep"]);
    project.run(&["rm", &id]).fails_with(&[&id, "orphan"]);
    assert!(alive(pid));
}

#[test]
fn of_several_each_is_done_or_told() {
    let project = Project::new();
    let [a, b] = ["a", "b"].map(|name| project.start(&["--name", name], &["true"]));
    project.run(&["wait", &a, &b]).ok();
    let ran = project
        .run(&["rm", "a", "no-such", "b"])
        .complains(125, &["no-such"]);
    assert_eq!(ran.out(), "a\nb\n");
    assert_eq!(project.ids(&["-a"]), [""; 0]);
}

#[test]
fn prune_removes_only_what_has_ended() {
    let project = Project::new();
    let (alive, _) = project.start_agent(&[], &["sleep"], 1);
    let [a, b] = [(); 2].map(|()| project.start(&[], &["true"]));
    project.run(&["wait", &a, &b]).ok();
    for id in [&a, &b] {
        project.wait_for_release(id);
    }
    plant(&project, "ended-long-ago");
    let ids = |ran: Ran| {
        let mut ids: Vec<_> = ran.out().lines().map(str::to_owned).collect();
        ids.sort();
        ids
    };
    let old = project
        .run(&["prune", "--older-than", "1d", "--dry-run"])
        .ok();
    assert_eq!(ids(old), ["ended-long-ago"]);
    assert_eq!(project.ids(&["-a"]).len(), 4, "a dry run removes nothing");
    assert_eq!(
        ids(project.run(&["prune", "--older-than", "1d"]).ok()),
        ["ended-long-ago"]
    );
    let mut both = [a, b];
    both.sort();
    assert_eq!(ids(project.run(&["prune"]).ok()), both);
    assert_eq!(project.ids(&["-a"]), [alive]);
}

#[test]
fn a_session_is_named_by_id_prefix_and_name() {
    let project = Project::new();
    let id = project.start(&["--name", "worker"], &["sleep", "600"]);
    for name in [id.as_str(), &id[..8], "worker"] {
        let shown = project.run(&["show", "--json", name]).ok().json();
        assert_eq!(shown[0]["id"], id);
    }
    project.run(&["stop", "worker"]).ok();
    assert_eq!(project.status(&id), "terminated");
}

#[test]
fn an_ambiguous_prefix_names_nobody() {
    let project = Project::new();
    for id in ["abc-1", "abc-2", "abd"] {
        plant(&project, id);
    }
    project
        .run(&["rm", "ab"])
        .fails_with(&["`ab` is ambiguous", "abc-1"]);
    project
        .run(&["show", "abc"])
        .fails_with(&["`abc` is ambiguous", "abc-1", "abc-2"]);
    assert_eq!(project.run(&["rm", "abd"]).ok().out(), "abd\n");
    assert_eq!(project.run(&["rm", "abc-1"]).ok().out(), "abc-1\n");
    assert_eq!(
        project.run(&["rm", "abc"]).ok().out(),
        "abc\n",
        "unique by now"
    );
    assert_eq!(project.ids(&["-a"]), [""; 0]);
}

#[test]
fn an_id_that_is_the_prefix_of_another_means_itself() {
    let project = Project::new();
    plant(&project, "abc");
    plant(&project, "abcdef");
    project.run(&["rm", "abc"]).ok();
    assert_eq!(project.ids(&["-a"]), ["abcdef"]);
}

#[test]
fn a_name_belongs_to_one_living_session_and_then_to_the_newest() {
    let project = Project::new();
    let first = project.start(&["--name", "api"], &["sleep", "600"]);
    let words = ["`api` is in use", first.as_str()];
    project
        .run(&["run", "-d", "--name", "api", "--", "true"])
        .fails_with(&words);
    project
        .run(&["run", "--name", "api", "--", "true"])
        .fails_with(&words);
    assert_eq!(
        project.ids(&["-a"]),
        [first.as_str()],
        "a refusal leaves no record"
    );
    project.run(&["suspend", "api"]).ok();
    project
        .run(&["run", "-d", "--name", "api", "--", "true"])
        .fails_with(&words);
    project.run(&["kill", "api"]).ok();
    let second = project.start(&["--name", "api"], &["true"]);
    project.run(&["wait", "api"]).ok();
    let shown = project.run(&["show", "--json", "api"]).ok().json();
    assert_eq!(shown[0]["id"], second, "of the ended ones the newest");
}

#[test]
fn an_orphan_keeps_its_name() {
    let project = Project::new();
    let (id, _) = project.orphan(&["--name", "mine"], &["sleep"]);
    project
        .run(&["run", "-d", "--name", "mine", "--", "true"])
        .fails_with(&["`mine` is in use", &id]);
}

/// Row 28 of the failures, through the whole program.
#[test]
fn of_sixteen_starters_on_one_name_exactly_one_runs() {
    const STARTERS: usize = 16;
    let project = Project::new();
    for round in 0..4 {
        let args = ["run", "-d", "--name", "race", "--", agent(), "sleep"];
        let starters: Vec<_> = (0..STARTERS).map(|_| project.spawn(&args)).collect();
        let ran: Vec<_> = starters.into_iter().map(finish).collect();
        let (started, refused): (Vec<_>, Vec<_>) = ran.iter().partition(|ran| ran.code == 0);
        assert_eq!(started.len(), 1, "round {round}: {ran:?}");
        assert!(
            refused
                .iter()
                .all(|ran| ran.code == 125 && ran.err().contains("in use")),
            "{refused:?}"
        );
        assert_eq!(project.ids(&[]), [started[0].out().trim()]);
        assert_eq!(project.ids(&["-a"]).len(), round + 1);
        project.run(&["kill", "race"]).ok();
    }
}

#[test]
fn a_hostile_id_is_no_session_and_touches_nothing() {
    let project = Project::new();
    plant(&project, "victim");
    let outside = project.path().join("outside.json");
    std::fs::copy(project.record_path("victim"), &outside).expect("room");
    std::fs::write(project.path().join("outside.log"), "x").expect("room");
    let long = "a".repeat(5000);
    let hostile = [
        "../../outside",
        "../outside",
        "..",
        ".",
        "/etc/passwd",
        "%2e%2e%2fvictim",
        "victim.json",
        "VICTIM",
        "vic tim",
        "",
        " victim",
        "victim/",
        "./victim",
        "*",
        "\u{1b}[2J\u{7}",
        "\n",
        "ключ",
        &long,
    ];
    let path = outside.with_extension("");
    let path = path.to_str().expect("a plain path");
    for command in [
        "show", "logs", "wait", "stop", "kill", "suspend", "resume", "adopt", "rm",
    ] {
        for id in hostile.iter().copied().chain([path]) {
            let ran = project
                .run(&[command, "--", id])
                .fails_with(&["no such session"]);
            let harmful = |c: char| c.is_control() && c != '\n';
            assert!(
                !ran.err().contains(harmful) && ran.err().len() < 500,
                "{command} {id:?}: {ran}"
            );
            assert_eq!(ran.out(), "");
        }
    }
    for id in hostile {
        project
            .run(&["rm", "-f", "--", id])
            .fails_with(&["no such session"]);
    }
    assert!(outside.exists() && project.record_path("victim").exists());
}

#[test]
fn a_hostile_parent_is_not_recorded() {
    let project = Project::new();
    for parent in ["../../etc", "\u{1b}[2J", ""] {
        let mut run = project.monoco(&["run", "-d", "--", "true"]);
        run.env("MONOCO_SESSION_ID", parent);
        let id = finish(run.spawn().expect("executable"))
            .ok()
            .out()
            .trim()
            .to_owned();
        assert!(project.record(&id).get("parent_id").is_none());
    }
}

#[test]
fn text_from_a_record_cannot_move_the_cursor() {
    let project = Project::new();
    plant(&project, "nasty");
    project.forge("nasty", |record| {
        record["issue_id"] = json!("\u{1b}[2J\u{9b}31m\nFAKE ROW\u{202e}");
        record["name"] = json!("\u{1b}]0;title\u{7}");
        record["command"] = json!(["rm", "-rf\r", "\u{1b}[1A"]);
    });
    for command in [&["ps", "-a"][..], &["show", "nasty"]] {
        let out = project.run(command).ok().out();
        assert!(
            !out.contains(|c: char| c.is_control() && c != '\n'),
            "{out:?}"
        );
        assert!(
            !out.contains('\u{202e}') && !out.contains("\nFAKE"),
            "{out:?}"
        );
    }
    let listed = project.listed("nasty");
    assert_eq!(
        listed["command"][2], "\u{1b}[1A",
        "JSON keeps what is there"
    );
}

#[test]
fn a_planted_record_makes_nobody_signal_or_execute_anything() {
    let project = Project::new();
    let mut victim = std::process::Command::new("sleep")
        .arg("600")
        .spawn()
        .expect("executable");
    let pid = victim.id();
    plant(&project, "planted");
    let planted = project.record("planted");
    for status in ["running", "suspended"] {
        for command in [
            &["stop", "planted"][..],
            &["kill", "planted"],
            &["suspend", "planted"],
            &["resume", "planted"],
            &["adopt", "planted"],
            &["ps"],
            &["reconcile"],
            &["doctor", "--fix"],
            &["rm", "-f", "planted"],
        ] {
            project.forge_record("planted", &planted, |record| {
                record["status"] = json!(status);
                record["pid"] = json!(pid);
                record["command"] = json!(["touch", "executed"]);
            });
            assert_eq!(project.look("planted").liveness, Liveness::Unverified);
            let ran = project.run(command);
            assert!(
                victim.try_wait().expect("it is ours").is_none(),
                "{command:?}: {ran}"
            );
            assert!(
                !monoco_tests::is_stopped(pid.cast_signed()),
                "{command:?}: {ran}"
            );
        }
    }
    assert!(!project.path().join("executed").exists());
    victim.kill().expect("it is ours");
    victim.wait().expect("it is ours");
}

/// Whether a directory above has a project of its own.
fn is_within_a_project(path: &Path) -> bool {
    path.ancestors()
        .skip(1)
        .any(|dir| dir.join(".monoco").exists() || dir.join(".git").exists())
}

#[test]
fn without_a_project_only_run_makes_one() {
    let project = Project::new();
    if is_within_a_project(project.path()) {
        return skip("the directory for temporary files is in a project");
    }
    for command in [
        &["ps"][..],
        &["ps", "-a", "--json"],
        &["show", "x"],
        &["reconcile"],
        &["prune"],
        &["doctor"],
    ] {
        project
            .run(command)
            .fails_with(&["no monoco project", "monoco run"]);
    }
    assert!(!project.path().join(".monoco").exists());
    project.run(&["run", "--", "true"]).ok();
    for folder in ["sessions", "run", "logs"] {
        let ignored = project
            .path()
            .join(".monoco")
            .join(folder)
            .join(".gitignore");
        assert_eq!(
            std::fs::read_to_string(ignored).expect("git ignores it"),
            "*\n"
        );
    }
}

#[test]
fn the_project_is_found_upwards_or_named() {
    let project = Project::new();
    let id = project.start(&[], &["true"]);
    let below = project.path().join("a/b");
    std::fs::create_dir_all(&below).expect("a new directory");
    let other = Project::new();
    let ids = |command: &mut std::process::Command| {
        finish(command.spawn().expect("executable")).ok().out()
    };
    let expected = format!("{id}\n");
    assert_eq!(
        ids(project.monoco(&["ps", "-aq"]).current_dir(&below)),
        expected
    );
    let named = other
        .run(&[
            "--project",
            project.path().to_str().expect("plain"),
            "ps",
            "-aq",
        ])
        .ok();
    assert_eq!(named.out(), expected);
    let mut from_environment = other.monoco(&["ps", "-aq"]);
    assert_eq!(
        ids(from_environment.env("MONOCO_PROJECT", project.path())),
        expected
    );
    other
        .run(&["--project", "/no/such/dir", "ps"])
        .fails_with(&["/no/such/dir"]);
    other
        .run(&["--project", "/no/such/dir", "run", "--", "true"])
        .fails_with(&["/no/such/dir"]);
}

#[test]
fn a_git_repository_is_a_project_at_its_root() {
    let project = Project::new();
    std::fs::create_dir_all(project.path().join(".git")).expect("a new directory");
    let below = project.path().join("src");
    std::fs::create_dir_all(&below).expect("a new directory");
    let mut run = project.monoco(&["run", "-d", "--", "pwd"]);
    let id = finish(run.current_dir(&below).spawn().expect("executable"))
        .ok()
        .out();
    let id = id.trim();
    project.run(&["wait", id]).ok();
    assert_eq!(
        project.log(id),
        format!("{}\n", below.display()).into_bytes()
    );
}

/// The projects that were noted below `state`.
fn noted(state: &Path) -> Vec<PathBuf> {
    let registry = Registry::at(state.join("monoco/projects"));
    registry.projects().expect("it can be read")
}

#[test]
fn a_project_is_noted_once_something_runs_in_it() {
    let project = Project::new();
    project.run(&["ps"]).code(125);
    project
        .run(&["run", "--", "no-such-program-anywhere"])
        .code(127);
    assert!(noted(project.state_home()).is_empty());
    project.start(&[], &["true"]);
    project.run(&["run", "--", "true"]).ok();
    assert_eq!(noted(project.state_home()), [project.path()]);

    // Without a place of its own, in the home directory.
    let home = project.path().join("home");
    let run = |home: &Path| {
        let mut command = project.monoco(&["run", "--", "true"]);
        command.env("XDG_STATE_HOME", "relative").env("HOME", home);
        finish(command.spawn().expect("executable")).ok()
    };
    run(&home);
    assert_eq!(noted(&home.join(".local/state")), [project.path()]);
    run(Path::new("relative"));
    assert!(!project.path().join("relative").exists());
}

#[test]
fn a_project_that_cannot_be_noted_runs_all_the_same() {
    let project = Project::new();
    let in_the_way = project.state_home().join("monoco");
    std::fs::write(&in_the_way, "mine").expect("a new file");
    let ran = project.run(&["run", "--", "echo", "done"]).ok();
    assert_eq!((ran.out(), ran.err()), ("done\n".into(), String::new()));
    let left = std::fs::read(&in_the_way).expect("it is left alone");
    assert_eq!(left, b"mine");
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let project = Project::new();
    let (_, _) = project.start_agent(&[], &["sleep"], 1);
    project.run(&["doctor"]).ok();
    let (orphan, _) = project.orphan(&[], &["sleep"]);
    let (lost, agent) = project.orphan(&[], &["sleep"]);
    kill(agent, Signal::KILL);
    wait_until("it is dead", || !alive(agent));
    let findings = project.run(&["doctor"]).code(1).out();
    assert_eq!(findings.lines().count(), 2, "{findings}");
    assert!(
        findings.contains(&format!("monoco adopt {orphan}")),
        "{findings}"
    );
    assert!(
        findings.contains(&lost) && findings.contains("monoco reconcile"),
        "{findings}"
    );
    let findings = project.run(&["doctor", "--fix"]).code(1).out();
    assert_eq!(
        findings.lines().count(),
        1,
        "an orphan needs a decision: {findings}"
    );
    assert_eq!(project.status(&lost), "terminated");
    project.run(&["adopt", &orphan]).ok();
    project.run(&["doctor"]).ok();
}

#[test]
fn two_who_reconcile_at_once_do_no_harm() {
    let project = Project::new();
    let lost: Vec<_> = (0..10).map(|_| project.orphan(&[], &["sleep"])).collect();
    for (_, agent) in &lost {
        kill(*agent, Signal::KILL);
    }
    wait_until("all are dead", || {
        !lost.iter().any(|(_, agent)| alive(*agent))
    });
    let at_once: Vec<_> = [
        &["reconcile"][..],
        &["ps"],
        &["reconcile"],
        &["ps", "-a"],
        &["doctor", "--fix"],
    ]
    .map(|command| project.spawn(command))
    .into();
    for ran in at_once {
        finish(ran).ok();
    }
    for (id, _) in &lost {
        assert_eq!(
            project.record(id)["outcome"],
            json!({"kind": "lost", "cause": "owner_died"})
        );
    }
    let left = std::fs::read_dir(project.path().join(".monoco/run")).expect("it is there");
    let left: Vec<_> = left
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    assert_eq!(left, [".gitignore"]);
}

#[test]
fn an_ended_session_cannot_be_driven() {
    let project = Project::new();
    let id = project.start(&["--name", "over"], &["true"]);
    project.run(&["wait", &id]).ok();
    project.wait_for_release(&id);
    for command in [
        &["suspend"][..],
        &["resume"],
        &["kill"],
        &["kill", "-s", "USR1"],
    ] {
        project
            .run(&[command, &["over"]].concat())
            .fails_with(&[&id, "has ended (completed)"]);
    }
    project
        .run(&["resume", &id])
        .fails_with(&["no conversation"]);
    // To stop what has ended is no failure.
    project.run(&["stop", "over"]).ok();
    project
        .run(&["adopt", "over"])
        .fails_with(&[&id, "only an orphan"]);
}

#[test]
fn a_signal_goes_to_the_agent() {
    let project = Project::new();
    let script = "trap 'echo got USR1' USR1; echo pid $$; while :; do sleep 0.02; done";
    let id = project.start(&[], &["sh", "-c", script]);
    wait_until("it is ready", || project.pids(&id).len() == 1);
    project.run(&["kill", "-s", "SIGUSR1", &id]).ok();
    wait_until("it got the signal", || {
        project.log(&id).ends_with(b"got USR1\n")
    });
    assert_eq!(project.status(&id), "running");
    project.run(&["kill", "-s", "15", &id]).ok();
    project.wait_for_status(&id, "terminated");
    assert_eq!(project.record(&id)["outcome"]["kind"], "stopped");
}

#[test]
fn an_id_that_cannot_be_printed_is_a_failure() {
    let project = Project::new();
    let ran = project.run_shell("$monoco run -d --name here -- true > /dev/full");
    let id = project.ids(&["-a"]).remove(0);
    ran.fails_with(&["No space left on device", &id, "goes on"]);
    let ran = project.run_shell("$monoco stop here > /dev/full");
    ran.code(125);
}

#[test]
fn run_rm_leaves_nothing_behind() {
    let project = Project::new();
    let ran = project
        .run(&["run", "--rm", "--", "sh", "-c", "echo all of it; exit 3"])
        .code(3);
    assert_eq!(ran.out(), "all of it\n");
    let id = project.start(&["--rm"], &["sleep", "600"]);
    project.run(&["kill", &id]).ok();
    project.wait_for_release(&id);
    project
        .run(&["run", "--rm", "--", "no-such-program"])
        .code(127);
    wait_until("nothing is left", || project.ids(&["-a"]).is_empty());
    let logs = std::fs::read_dir(project.path().join(".monoco/logs")).expect("it is there");
    let logs: Vec<_> = logs
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    assert_eq!(logs, [".gitignore"]);
}

#[test]
fn a_working_directory_that_vanished_is_told() {
    let project = Project::new();
    project.run(&["run", "--", "true"]).ok();
    let vanish = "mkdir gone && cd gone && rmdir ../gone";
    for command in ["ps", "run -- true", "run -d -- true"] {
        let script = format!("{vanish} && \"$monoco\" {command}");
        project
            .run_shell(&script)
            .fails_with(&["working directory"]);
    }
    let named = format!(
        "{vanish} && \"$monoco\" --project '{}' ps",
        project.path().display()
    );
    project.run_shell(&named).ok();
    let named = format!(
        "{vanish} && \"$monoco\" --project '{}' run -- true",
        project.path().display()
    );
    project.run_shell(&named).fails_with(&["working directory"]);
    assert_eq!(project.ids(&["-a"]).len(), 1, "a refusal leaves no record");
}

#[test]
fn what_is_no_file_in_a_records_place_blocks_nobody() {
    let project = Project::new();
    let healthy = project.start(&[], &["sleep", "600"]);
    let sessions = project.path().join(".monoco/sessions");
    let script = "cd .monoco/sessions && mkfifo fifo.json && mkdir dir.json && ln -s /dev/zero link.json \
        && ln -s ../../victim.json out.json && truncate -s 10G huge.json";
    project.run_shell(script).ok();
    let start = Instant::now();
    let listing = project.run(&["ps", "-a", "--json"]).ok().json();
    assert!(start.elapsed() < Duration::from_secs(5));
    let corrupt = listing
        .as_array()
        .expect("an array")
        .iter()
        .filter(|s| s["status"] == "corrupt");
    let corrupt: Vec<_> = corrupt
        .map(|session| session["id"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(corrupt, ["dir", "fifo", "huge", "link", "out"]);
    for id in corrupt {
        project.run(&["show", id]).fails_with(&[id]);
        project.run(&["logs", id]);
    }
    project.run(&["run", "--", "true"]).ok();
    project.run(&["stop", &healthy]).ok();
    // A log that is none is neither read nor written.
    project.run_shell("mkfifo .monoco/logs/plain.log").ok();
    plant(&project, "plain");
    project.run(&["logs", "plain"]).fails_with(&["plain"]);
    project.run(&["rm", "-f", "fifo"]).ok();
    assert!(!sessions.join("fifo.json").exists());
}

#[test]
fn usage_errors_are_2() {
    let project = Project::new();
    for args in [
        &["no-such-command"][..],
        &["run"],
        &["run", "--no-such-option", "--", "x"],
        &["stop"],
        &["kill", "-s", "NOSUCH", "x"],
        &["run", "--timeout", "soon", "--", "x"],
        &["ps", "--status", "nosuch"],
    ] {
        let ran = project.run(args).code(2);
        assert_eq!(ran.out(), "");
    }
    project.run(&["--version"]).ok();
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            project
                .run(&["completions", shell])
                .ok()
                .out()
                .contains("monoco")
        );
    }
    assert!(!project.path().join(".monoco").exists());
}

#[test]
fn labels_and_timeouts_are_recorded() {
    let project = Project::new();
    let options = [
        "--label",
        "team=core",
        "--label",
        "eval=",
        "--timeout",
        "90",
    ];
    let id = project.start(&options, &["true"]);
    let record = project.record(&id);
    assert_eq!(record["labels"], json!({"team": "core", "eval": ""}));
    assert_eq!(record["timeout_seconds"], 90);
    assert_eq!(record["command"], json!(["true"]));
    assert_eq!(record["cwd"], json!(project.path()));
    let text = std::fs::read_to_string(project.record_path(&id)).expect("a record");
    assert!(
        !text.contains("TEST_PROJECT") && !text.contains("PATH"),
        "no environment: {text}"
    );
}

#[test]
fn what_is_long_is_told_and_recorded_all_the_same() {
    let project = Project::new();
    let label = format!("x={}", "y".repeat(100_000));
    let id = project.start(&["--label", &label], &["sleep", "600"]);
    assert_eq!(project.status(&id), "running");
    project
        .run(&["run", "--label", &label, "--", "sh", "-c", "exit 3"])
        .code(3);
    // The error of what cannot be executed names it.
    let program = format!("/{}", "n".repeat(100_000));
    let argument = "a".repeat(120_000);
    let words = [&["run", "--", &program][..], &[argument.as_str(); 7]].concat();
    project.run(&words).code(126);
    let listed = project.run(&["ps", "-a"]).ok();
    assert!(!listed.out().contains("corrupt"), "{listed}");
}
