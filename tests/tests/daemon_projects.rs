//! Which projects the daemon finds, by itself and again; and what it costs while
//! nothing happens.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use monoco_tests::{
    Daemon, PATIENCE, Project, agent, context_switches, cpu_ticks, finish, memory_kb, note,
    wait_until,
};
use serde_json::json;

/// Starts `n` sessions that sleep, all at once.
fn start_many(project: &Project, n: usize) -> Vec<String> {
    let launchers: Vec<Child> = (0..n)
        .map(|_| project.spawn(&["run", "-d", "--", agent(), "sleep"]))
        .collect();
    let ids = launchers
        .into_iter()
        .map(|launcher| finish(launcher).ok().out());
    ids.map(|id| id.trim_end().to_owned()).collect()
}

/// Runs `true` to its end as a session in `dir`, whose id it returns.
fn ended_in(project: &Project, dir: &Path) -> String {
    fs::create_dir_all(dir).expect("room");
    let mut command = project.monoco(&["run", "-d", "--name", "here", "--", "true"]);
    let id = finish(command.current_dir(dir).spawn().expect("executable"))
        .ok()
        .out();
    let id = id.trim_end().to_owned();
    let mut command = project.monoco(&["wait", &id]);
    finish(command.current_dir(dir).spawn().expect("executable")).ok();
    id
}

#[test]
fn with_all_every_project_appears_by_itself() {
    let project = Project::new();
    let (first, second) = (
        project.path().join("first"),
        project.path().join("deep/second"),
    );
    let a = ended_in(&project, &first);
    let daemon = Daemon::start(&project, &["--all"]);
    let mut events = daemon.events(None);
    assert_eq!(events.next_event(PATIENCE).kind, "resync");
    assert_eq!(daemon.ids(""), [a.as_str()]);
    let b = ended_in(&project, &second);
    let event = events.until_status(&b, "completed");
    assert_eq!(event.data["project"], second.display().to_string());
    assert_eq!(daemon.ids(""), [b.as_str(), &a]);
    assert_eq!(
        daemon.ids(&format!("project={}", second.display())),
        [b.as_str()]
    );
    assert_eq!(daemon.condition(second.to_str()), "watched");
}

#[test]
fn with_all_the_registry_may_come_after_the_daemon() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &["--all"]);
    assert_eq!(daemon.ids(""), [""; 0]);
    let id = ended_in(&project, &project.path().join("new"));
    daemon.wait_for_status(&id, "completed");
}

#[test]
fn a_project_that_goes_away_and_comes_back() {
    let project = Project::in_subdirectory("above/project");
    let (id, _) = project.start_agent(&[], &["sleep"], 1);
    let ended = ended_in(&project, project.path());
    let daemon = Daemon::start(&project, &[]);
    let mut events = daemon.events(None);
    assert_eq!(events.next_event(PATIENCE).kind, "resync");
    let here = project.path().to_owned();
    let parent = here.parent().expect("a directory").to_owned();
    let aside = parent.with_file_name("aside");
    let base = here.join(".monoco");
    let kept = parent.join("kept");
    let mut check = |kind: &str| {
        let mut told = [events.next_event(PATIENCE), events.next_event(PATIENCE)];
        told.sort_by_key(|event| event.data["id"] == *id);
        let told = told.map(|event| (event.kind, event.data["id"].clone()));
        let expected = [&ended, &id].map(|id| (kind.to_owned(), json!(id)));
        assert_eq!(told, expected);
    };
    for (from, to) in [(&here, &aside), (&parent, &aside), (&base, &kept)] {
        fs::rename(from, to).expect("nothing is in the way");
        check("removed");
        wait_until("it is missing", || daemon.condition(None) == "missing");
        assert_eq!(daemon.ids(""), [""; 0]);
        fs::rename(to, from).expect("nothing is in the way");
        check("upserted");
        wait_until("it is watched", || daemon.condition(None) == "watched");
        assert_eq!(daemon.ids(""), [ended.as_str(), &id]);
    }
    // And what happens in it is told as before.
    project.run(&["suspend", &id]).ok();
    events.until_status(&id, "suspended");
    project.run(&["kill", &id]).ok();
    events.until_status(&id, "terminated");
    project.wait_for_release(&id);
    fs::remove_dir_all(&here).expect("it is ours");
    wait_until("it is missing", || daemon.condition(None) == "missing");
    assert_eq!(daemon.ids(""), [""; 0]);
    let again = ended_in(&project, &here);
    events.until_status(&again, "completed");
    assert_eq!(daemon.ids(""), [again.as_str()]);
    assert_eq!(daemon.condition(None), "watched");
}

#[test]
fn two_projects_may_have_sessions_of_one_id() {
    let (one, two) = (Project::new(), Project::new());
    let (first, second) = (one.path().display(), two.path().display());
    let id = one.start(&[], &["true"]);
    one.run(&["wait", &id]).ok();
    let only = two.start(&[], &["true"]);
    two.run(&["wait", &only]).ok();
    two.forge_record(&id, &one.record(&id), |record| {
        record["role_name"] = "Other".into()
    });
    let options = [
        "--project",
        &first.to_string(),
        "--project",
        &second.to_string(),
    ];
    let daemon = Daemon::start(&one, &options);
    assert_eq!(daemon.ids("").len(), 3);
    daemon.show(&id).refuses(409, "project=DIR");
    let log = format!("/api/v1/sessions/{id}/log");
    daemon.get(&log).refuses(409, &id);
    let stop = format!("/api/v1/sessions/{id}/stop");
    daemon.post(&stop, &json!({})).refuses(409, &id);
    daemon
        .delete(&format!("/api/v1/sessions/{id}"))
        .refuses(409, &id);
    assert_eq!(
        daemon.show(&only).is(200).json()["project"],
        second.to_string()
    );
    let shown = daemon.get(&format!("/api/v1/sessions/{id}?project={second}"));
    assert_eq!(shown.is(200).json()["role_name"], "Other");
    let shown = daemon.get(&format!("/api/v1/sessions/{id}?project={first}"));
    assert_eq!(shown.is(200).json()["project"], first.to_string());
    daemon
        .get(&format!("/api/v1/sessions/{only}?project={first}"))
        .refuses(404, &only);
    let removed = daemon.delete(&format!("/api/v1/sessions/{id}?project={second}"));
    assert_eq!(removed.status, 204);
    assert_eq!(
        daemon.show(&id).is(200).json()["project"],
        first.to_string()
    );
    assert!(one.record_path(&id).exists() && !two.record_path(&id).exists());
    // Nobody can guess where a session is to be started.
    let order = json!({"command": ["true"]});
    daemon
        .post("/api/v1/sessions", &order)
        .refuses(409, "project");
    let order = json!({"command": ["true"], "project": "/no/such"});
    daemon
        .post("/api/v1/sessions", &order)
        .refuses(404, "/no/such");
    let order = json!({"command": ["true"], "project": second.to_string()});
    let started = daemon.post("/api/v1/sessions", &order).is(201).json();
    assert_eq!(started["project"], second.to_string());
}

#[test]
fn a_daemon_that_has_nothing_to_do_does_nothing() {
    let project = Project::new();
    start_many(&project, 20);
    let daemon = Daemon::start(&project, &[]);
    let mut events = daemon.events(None);
    assert_eq!(events.next_event(PATIENCE).kind, "resync");
    let switches = || -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("it lives");
        let tasks = tasks.map(|task| task.expect("it can be read").file_name());
        let tasks = tasks.map(|task| task.to_string_lossy().parse().expect("a number"));
        tasks.map(context_switches).sum()
    };
    let mut before = 0;
    wait_until("it has come to rest", || {
        std::thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut before, switches()) == before
    });
    let ticks = cpu_ticks(daemon.pid());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(switches(), before, "context switches in 3 s");
    assert_eq!(cpu_ticks(daemon.pid()), ticks);
    note(&format!(
        "{} KiB PSS (this build)",
        memory_kb(daemon.pid(), "Pss:")
    ));
}
