//! What the daemon shows is what is on disk, at every moment: whoever changed it,
//! whoever died, and whether or not the system told.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use monoco_tests::{
    Daemon, Event, Events, Project, Signal, agent, finish, gone, kill, monoco, sessions, skip,
    wait_until, works,
};
use serde_json::{Value, json};

/// How stale anything may be where nothing tells of changes.
const STALE: Duration = Duration::from_secs(5);

/// The list, the single session and the next event all show that `id` is `status`.
#[track_caller]
fn check_shown(daemon: &Daemon, events: &mut Events, id: &str, status: &str) -> Event {
    let event = events.until_status(id, status);
    assert_eq!(event.kind, "upserted");
    let listed = daemon.list("");
    let listed = sessions(&listed).iter().find(|session| session["id"] == id);
    assert_eq!(listed, Some(&event.data));
    assert_eq!(daemon.show(id).is(200).json(), event.data);
    event
}

/// `condition` comes to hold within `deadline`.
#[track_caller]
fn within(deadline: Duration, what: &str, condition: impl FnMut() -> bool) {
    let start = Instant::now();
    wait_until(what, condition);
    let took = start.elapsed();
    assert!(took < deadline, "{what} after {took:?}");
}

#[test]
fn every_step_of_a_session_is_shown_by_a_daemon_that_was_there_before_the_project() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    assert_eq!(daemon.condition(None), "missing");
    let mut events = daemon.events(None);
    let first = events.next_event(STALE);
    assert_eq!(first.kind, "resync");
    assert_eq!(first.data["version"], daemon.list("")["version"]);
    let id = project.start(&["--issue", "A", "--label", "k=v"], &[agent(), "sleep"]);
    let event = check_shown(&daemon, &mut events, &id, "running");
    let path = project.path().display().to_string();
    assert_eq!(event.data["project"], path);
    assert_eq!(event.data["liveness"], "owned");
    assert_eq!(daemon.condition(None), "watched");
    project.run(&["suspend", &id]).ok();
    check_shown(&daemon, &mut events, &id, "suspended");
    project.run(&["resume", &id]).ok();
    check_shown(&daemon, &mut events, &id, "running");
    project.run(&["stop", &id]).ok();
    let event = check_shown(&daemon, &mut events, &id, "terminated");
    assert_eq!(event.data["outcome"]["by"], "cli");
    project.run(&["rm", &id]).ok();
    let event = events.until("removed", &id);
    assert_eq!(event.data, json!({"project": path, "id": id}));
    assert_eq!(sessions(&daemon.list("")).len(), 0);
    daemon.show(&id).refuses(404, &id);
}

#[test]
fn who_comes_back_is_told_exactly_what_was_missed() {
    let project = Project::new();
    let before = project.start(&[], &["true"]);
    project.run(&["wait", &before]).ok();
    let daemon = Daemon::start(&project, &[]);
    let version = daemon.list("")["version"]
        .as_str()
        .expect("text")
        .to_owned();
    let id = project.start(&[], &["sleep", "600"]);
    daemon.wait_for_status(&id, "running");
    project.run(&["kill", &id]).ok();
    daemon.wait_for_status(&id, "terminated");
    project.run(&["rm", &before]).ok();
    let mut events = daemon.events(Some(&version));
    let mut missed = Vec::new();
    loop {
        missed.push(events.next_event(STALE));
        if missed.last().is_some_and(|event| event.kind == "removed") {
            break;
        }
    }
    let told: Vec<_> = missed
        .iter()
        .filter(|event| event.data["status"] != "pending")
        .map(|event| {
            (
                event.kind.as_str(),
                event.data["id"].as_str(),
                event.data["status"].as_str(),
            )
        })
        .collect();
    let expected = [
        ("upserted", Some(&*id), Some("running")),
        ("upserted", Some(&*id), Some("terminated")),
        ("removed", Some(&*before), None),
    ];
    assert_eq!(told, expected);
    let ids: Vec<_> = missed.iter().map(|event| event.id.as_str()).collect();
    // Each number once: who names the last but one gets the last alone.
    let mut again = daemon.events(Some(ids[ids.len() - 2]));
    assert_eq!(again.next_event(STALE), missed[missed.len() - 1]);
    assert_eq!(daemon.list("")["version"], *ids[ids.len() - 1]);
    let epoch = version.split('-').next().expect("a name");
    for unknown in [
        "",
        "1",
        "nobody-1",
        &format!("{epoch}-999999"),
        &format!("{epoch}-x"),
    ] {
        let first = daemon.events(Some(unknown)).next_event(STALE);
        assert_eq!(
            (first.kind.as_str(), first.id.as_str()),
            ("resync", ids[ids.len() - 1])
        );
    }
}

#[test]
fn who_comes_back_too_late_reads_everything() {
    let project = Project::new();
    let id = project.start(&[], &["true"]);
    project.run(&["wait", &id]).ok();
    let daemon = Daemon::start(&project, &[]);
    let version = daemon.list("")["version"]
        .as_str()
        .expect("text")
        .to_owned();
    // More than are remembered, each with a status of its own.
    let mut record = project.record(&id);
    for n in 0..5 {
        for m in 0..1000 {
            record["role_name"] = format!("{n}-{m}").into();
            let path = project
                .path()
                .join(format!(".monoco/sessions/made-{m}.json"));
            record["id"] = format!("made-{m}").into();
            fs::write(path, record.to_string()).expect("room");
        }
        wait_until("all are seen", || {
            daemon.show("made-999").text().contains(&format!("{n}-999"))
        });
    }
    let mut events = daemon.events(Some(&version));
    assert_eq!(events.next_event(STALE).kind, "resync");
}

/// What `ps -w --json` and the events tell after each step of the same script.
#[test]
fn with_and_without_a_daemon_a_project_looks_the_same() {
    let project = Project::new();
    project.run(&["run", "--", "true"]).ok();
    let daemon = Daemon::start(&project, &[]);
    let mut events = daemon.events(None);
    assert_eq!(events.next_event(STALE).kind, "resync");
    let watch = ["ps", "-a", "-w", "--json", "--no-reconcile"];
    let mut watcher = project.spawn(&watch);
    let mut lines = BufReader::new(watcher.stdout.take().expect("it is piped")).lines();
    let mut next_line = || -> Value {
        let line = lines.next().expect("it goes on").expect("text");
        serde_json::from_str(&line).expect("an object per line")
    };
    // What was there before; it watches.
    next_line();
    let mut check = |id: &str, status: &str, liveness: &str| {
        let is = |told: &Value| {
            told["id"] == id && told["status"] == status && told["liveness"] == liveness
        };
        let mut event = events.until_such(|event| is(&event.data)).data;
        let line = loop {
            let line = next_line();
            if is(&line) {
                break line;
            }
        };
        let fields = event.as_object_mut().expect("an object");
        let of = fields.remove("project");
        assert_eq!(of, Some(project.path().display().to_string().into()));
        assert_eq!(event.to_string(), line.to_string());
    };
    let id = project.start(&["--name", "both"], &[agent(), "sleep"]);
    check(&id, "running", "owned");
    project.run(&["suspend", &id]).ok();
    check(&id, "suspended", "owned");
    project.run(&["resume", &id]).ok();
    check(&id, "running", "owned");
    project.kill_supervisor(&id);
    check(&id, "running", "orphan");
    project.run(&["adopt", &id]).ok();
    check(&id, "running", "owned");
    project.kill_supervisor(&id);
    check(&id, "running", "orphan");
    kill(project.agent(&id), Signal::KILL);
    check(&id, "terminated", "lost");
    project.run(&["reconcile"]).ok();
    check(&id, "terminated", "ended");
    let failed = project.start(&[], &["false"]);
    check(&failed, "failed", "ended");
    watcher.kill().expect("it is ours");
    finish(watcher);
}

#[test]
fn deaths_are_seen_although_nobody_writes() {
    let project = Project::new();
    let (id, _) = project.start_agent(&[], &["sleep"], 1);
    let agent = project.agent(&id);
    let daemon = Daemon::start(&project, &[]);
    let mut events = daemon.events(None);
    assert_eq!(events.next_event(STALE).kind, "resync");
    let figures = || {
        (
            daemon.metric("monoco_deaths_total"),
            daemon.metric("monoco_scans_total"),
        )
    };
    let before = figures();
    let record = project.record(&id);
    let soon = Duration::from_secs(1);
    let mut told = |liveness: &str| {
        let event = events.next_event(soon);
        assert_eq!(event.data["liveness"], liveness, "{event:?}");
        assert_eq!(event.data["id"], *id);
        event
    };
    project.kill_supervisor(&id);
    assert_eq!(told("orphan").data["status"], "running");
    project.run(&["adopt", &id]).ok();
    assert_eq!(told("owned").data["status"], "running");
    // The ear moved to the new owner.
    project.kill_supervisor(&id);
    told("orphan");
    assert_eq!(project.record(&id), record, "nobody wrote");
    kill(agent, Signal::KILL);
    gone(&[agent]);
    let lost = told("lost");
    assert_eq!(lost.data["status"], "terminated");
    assert_eq!(lost.data["outcome"]["kind"], "lost");
    assert_eq!(project.record(&id), record, "nobody wrote");
    assert_eq!(figures(), (before.0 + 3, before.1), "three deaths, no scan");
}

#[test]
fn a_record_that_cannot_be_read_is_shown_until_it_can() {
    let project = Project::new();
    let id = project.start(&[], &["true"]);
    project.run(&["wait", &id]).ok();
    let daemon = Daemon::start(&project, &[]);
    let mut events = daemon.events(None);
    assert_eq!(events.next_event(STALE).kind, "resync");
    let path = project.record_path(&id);
    let whole = fs::read(&path).expect("a record");
    fs::write(&path, &whole[..whole.len() / 2]).expect("room");
    let event = check_shown(&daemon, &mut events, &id, "corrupt");
    assert_eq!(event.data["path"], path.display().to_string());
    assert!(event.data["error"].is_string(), "{event:?}");
    assert_eq!(daemon.ids("status=corrupt"), [id.as_str()]);
    let listed = project
        .run(&["ps", "-a", "--json", "--no-reconcile"])
        .ok()
        .json();
    assert_eq!(listed[0]["error"], event.data["error"]);
    fs::write(&path, &whole).expect("room");
    check_shown(&daemon, &mut events, &id, "completed");
    // Another program writes it in place.
    project.forge(&id, |record| record["role_name"] = "Changed".into());
    let event = check_shown(&daemon, &mut events, &id, "completed");
    assert_eq!(event.data["role_name"], "Changed");
    fs::write(&path, "").expect("room");
    events.until_status(&id, "corrupt");
    fs::remove_file(&path).expect("it is there");
    events.until("removed", &id);
    daemon.show(&id).refuses(404, &id);
}

#[test]
fn a_record_whose_name_is_no_id_is_shown_by_its_file() {
    let project = Project::new();
    let id = project.start(&[], &["true"]);
    project.run(&["wait", &id]).ok();
    let daemon = Daemon::start(&project, &[]);
    let mut events = daemon.events(None);
    assert_eq!(events.next_event(STALE).kind, "resync");
    let strange = project.path().join(".monoco/sessions/Not An Id.json");
    fs::write(&strange, "{}").expect("room");
    let event = events.next_event(STALE);
    assert_eq!(
        (event.kind.as_str(), &event.data["status"]),
        ("upserted", &json!("corrupt"))
    );
    assert_eq!(event.data["id"], Value::Null);
    assert_eq!(event.data["path"], strange.display().to_string());
    assert_eq!(daemon.ids(""), [id.as_str(), "null"]);
    fs::remove_file(&strange).expect("it is there");
    let event = events.next_event(STALE);
    assert_eq!(event.kind, "removed");
    let path = project.path().display().to_string();
    assert_eq!(
        event.data,
        json!({"project": path, "file": "Not An Id.json"})
    );
    assert_eq!(daemon.ids(""), [id.as_str()]);
}

#[test]
fn nothing_is_stale_after_more_changes_than_the_kernel_queues() {
    let project = Project::new();
    let ids: Vec<_> = (0..3)
        .map(|_| project.start(&[], &["sleep", "600"]))
        .collect();
    let daemon = Daemon::start(&project, &[]);
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
    let limit: usize = limit.expect("/proc").trim().parse().expect("a number");
    kill(daemon.pid(), Signal::STOP);
    let record = |name: &str| project.path().join(format!(".monoco/sessions/{name}.json"));
    // Two names in turn: only equal events in a row count once.
    for n in 0..limit + 100 {
        fs::write(record(["a", "b"][n % 2]), "").expect("room");
    }
    // Of these the kernel does not tell.
    project.run(&["suspend", &ids[0]]).ok();
    project.run(&["kill", &ids[1]]).ok();
    project.kill_supervisor(&ids[2]);
    fs::remove_file(record("b")).expect("it is there");
    kill(daemon.pid(), Signal::CONT);
    within(STALE, "everything is shown", || {
        let shown = |id: &str| daemon.show(id);
        shown(&ids[0]).json()["status"] == "suspended"
            && shown(&ids[1]).json()["status"] == "terminated"
            && shown(&ids[2]).json()["liveness"] == "orphan"
            && shown("a").json()["status"] == "corrupt"
            && shown("b").status == 404
    });
    // And what comes after is told as before.
    let mut events = daemon.events(None);
    project.run(&["resume", &ids[0]]).ok();
    events.until_status(&ids[0], "running");
}

#[test]
fn without_notifications_everything_is_looked_through_again() {
    // The user's instances are counted per namespace as well.
    let limited = "echo 0 > /proc/sys/user/max_inotify_instances; exec \"$@\"";
    let before = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-ec",
        limited,
        "sh",
    ];
    if !works(&[&before[..], &["true"]].concat()) {
        return skip("user namespaces, or a limit of inotify in one, are not permitted");
    }
    let project = Project::new();
    let daemon = Daemon::start_behind(&project, &before, &[]);
    assert_eq!(daemon.condition(None), "missing");
    let id = project.start(&[], &["sleep", "600"]);
    within(STALE, "the project is found", || {
        daemon.show(&id).status == 200
    });
    assert_eq!(daemon.condition(None), "rescanned");
    project.run(&["suspend", &id]).ok();
    within(STALE, "it is shown suspended", || {
        daemon.show(&id).json()["status"] == "suspended"
    });
    project.run(&["kill", &id]).ok();
    within(STALE, "it is shown ended", || {
        daemon.show(&id).json()["status"] == "terminated"
    });
    // A log is followed without them, too.
    let talker = project.start(&[], &["sh", "-c", "echo one; sleep 0.2; echo two"]);
    within(STALE, "it is shown", || daemon.show(&talker).status == 200);
    let log = daemon.get(&format!("/api/v1/sessions/{talker}/log?follow=true"));
    assert_eq!(log.is(200).text(), "one\ntwo\n");
}

#[test]
fn a_filesystem_that_others_write_to_unseen_is_looked_through_again() {
    let layers = tempfile::tempdir().expect("a temporary directory");
    let layers = layers.path().display();
    let project = Project::new();
    let mount = format!(
        "mkdir -p {layers}/lower {layers}/upper {layers}/work
        mount -t overlay overlay -o lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work {}
        cd {0}; exec \"$@\"",
        project.path().display()
    );
    let before = ["unshare", "--mount", "sh", "-ec", &mount, "sh"];
    if !works(&[&before[..], &["true"]].concat()) {
        return skip("mounting an overlay in a namespace of its own is not permitted");
    }
    let daemon = Daemon::start_behind(&project, &before, &[]);
    let pid = daemon.pid().to_string();
    let inside = |args: &[&str]| {
        let dir = format!("--wd={}", project.path().display());
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &pid, "--mount", &dir, monoco()])
            .args(args);
        finish(
            project
                .at_home(command)
                .spawn()
                .expect("nsenter(1) is there"),
        )
        .ok()
        .out()
    };
    let id = inside(&["run", "-d", "--", "true"]).trim_end().to_owned();
    inside(&["wait", &id]);
    within(STALE, "it is shown ended", || {
        let shown = daemon.show(&id);
        shown.status == 200 && shown.json()["status"] == "completed"
    });
    assert_eq!(daemon.condition(None), "rescanned");
    // From below the overlay, as another machine would.
    let record = format!("{layers}/upper/.monoco/sessions/{id}.json");
    let text = fs::read_to_string(Path::new(&record)).expect("a record");
    fs::write(&record, text.replace("\"completed\"", "\"crashed\"")).expect("room");
    within(STALE, "the change is shown", || {
        daemon.show(&id).json()["status"] != "completed"
    });
}

#[test]
fn what_another_version_wrote_is_told_on_one_line() {
    let project = Project::new();
    let id = project.start(&[], &["true"]);
    project.run(&["wait", &id]).ok();
    let daemon = Daemon::start(&project, &[]);
    let mut events = daemon.events(None);
    assert_eq!(events.next_event(STALE).kind, "resync");
    let later = json!({"a": [1, {"b": "line\nbreak"}], "c": {}});
    project.forge(&id, |record| record["from_later"] = later.clone());
    let text = fs::read_to_string(project.record_path(&id)).expect("a record");
    fs::write(
        project.record_path(&id),
        text.replace("\"c\"", "\r\n\r\n\"c\""),
    )
    .expect("room");
    let event = events.until_such(|event| event.data.get("from_later").is_some());
    assert_eq!(event.data["from_later"], later);
    assert_eq!(daemon.show(&id).json()["from_later"], later);
}

#[test]
fn a_record_that_changes_hands_is_not_believed() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root gives files away");
    }
    let project = Project::new();
    let id = project.start(&[], &["true"]);
    project.run(&["wait", &id]).ok();
    let daemon = Daemon::start(&project, &[]);
    let own = rustix::process::geteuid().as_raw();
    for (uid, status) in [(65534, "corrupt"), (own, "completed")] {
        std::os::unix::fs::chown(project.record_path(&id), Some(uid), None).expect("we are root");
        daemon.wait_for_status(&id, status);
    }
}
