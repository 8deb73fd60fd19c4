//! The daemon's own life: what its death changes (nothing), where it is reached,
//! which projects it serves, and what its signals do.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use monoco_tests::{
    Daemon, Project, Signal, agent, alive, context_switches, cpu_ticks, kill, note, sessions,
    wait_until,
};
use serde_json::json;

#[test]
fn a_daemon_that_dies_and_comes_back_finds_everything_as_it_was() {
    let project = Project::new();
    let started: Vec<_> = (0..50)
        .map(|_| project.start(&[], &["sleep", "600"]))
        .collect();
    let state = || -> Vec<_> {
        let look = |id: &String| {
            let record = fs::read(project.record_path(id)).expect("a record");
            assert!(alive(project.agent(id)) && alive(project.supervisor(id)));
            (project.agent(id), project.supervisor(id), record)
        };
        started.iter().map(look).collect()
    };
    let before = state();
    for signal in [Signal::KILL, Signal::TERM] {
        let daemon = Daemon::start(&project, &[]);
        assert_eq!(sessions(&daemon.list("active=true")).len(), 50);
        let ended = daemon.end(signal);
        assert_eq!(ended.code, if signal == Signal::TERM { 0 } else { 137 });
        assert_eq!(state(), before, "no session has noticed");
    }
    // As who stops a service kills all that belongs to it.
    let daemon = Daemon::start(&project, &[]);
    let group = rustix::process::Pid::from_raw(daemon.pid()).expect("a pid");
    rustix::process::kill_process_group(group, Signal::KILL).expect("it is ours");
    assert_eq!(daemon.end(Signal::KILL).code, 137);
    assert_eq!(state(), before, "no session has noticed");
    let daemon = Daemon::start(&project, &[]);
    let mut found = daemon.ids("limit=100");
    found.reverse();
    assert_eq!(found, started);

    // While nothing happens, nothing is done, by nobody.
    let _follower = daemon.events(None);
    let everybody = [daemon.pid(), before[0].1, before[49].1];
    let figures = || everybody.map(|pid| (threads(pid), cpu_ticks(pid)));
    wait_until("it is quiet", || {
        let before = figures();
        std::thread::sleep(Duration::from_millis(300));
        figures() == before
    });
    let quiet = figures();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(figures(), quiet, "an idle daemon sleeps");
    project
        .run(
            &[
                &["kill"],
                &*started.iter().map(String::as_str).collect::<Vec<_>>(),
            ]
            .concat(),
        )
        .ok();
}

/// The context switches of all threads of `pid`.
fn threads(pid: i32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    let tasks = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    tasks.map(context_switches).sum()
}

#[test]
fn a_term_ends_it_in_time_whoever_still_follows() {
    let project = Project::new();
    let id = project.start(&[], &["sleep", "600"]);
    let daemon = Daemon::start(&project, &[]);
    let mut events = daemon.events(None);
    assert_eq!(events.next_event(Duration::from_secs(5)).kind, "resync");
    let log = daemon.open(
        "GET",
        &format!("/api/v1/sessions/{id}/log?follow=true"),
        &[],
        b"",
    );
    let start = Instant::now();
    let ended = daemon.end(Signal::TERM).ok();
    assert!(start.elapsed() < Duration::from_secs(5), "{ended}");
    events.finish();
    assert_eq!(log.finish().body, b"");
    project.run(&["kill", &id]).ok();
}

#[test]
fn a_hangup_reads_the_token_again() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    let with = |token: &str| {
        let bearer = format!("Bearer {token}");
        daemon
            .send(
                "GET",
                "/api/v1/projects",
                &[("Authorization", &bearer)],
                b"",
            )
            .status
    };
    let path = project.state_home().join("monoco/token");
    let old = fs::read_to_string(&path).expect("a token");
    assert_eq!((with(old.trim()), with("a-token-of-my-own")), (200, 401));
    fs::write(&path, "a-token-of-my-own\n").expect("room");
    kill(daemon.pid(), Signal::HUP);
    wait_until("the new token is valid", || {
        with("a-token-of-my-own") == 200
    });
    assert_eq!(with(old.trim()), 401);
    // One that others may have read is not taken, and the old one stays.
    fs::write(&path, "another-token-of-my-own").expect("room");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    kill(daemon.pid(), Signal::HUP);
    wait_until("it says so", || daemon.log().contains("chmod 600"));
    assert_eq!(
        (with("a-token-of-my-own"), with("another-token-of-my-own")),
        (200, 401)
    );
}

#[test]
fn who_is_there_already_is_told() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    let place = format!("127.0.0.1:{}", daemon.port());
    let ran = project.run(&["serve", "--listen", &place]);
    assert_eq!(ran.code, 125);
    let who = format!(
        "monoco {} is there already (pid {})",
        env!("CARGO_PKG_VERSION"),
        daemon.pid()
    );
    ran.fails_with(&[&place, &who]);
    let stranger = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let place = stranger.local_addr().expect("it has one").to_string();
    project
        .run(&["serve", "--listen", &place])
        .fails_with(&[&place, "another program"]);
}

#[test]
fn a_unix_socket_is_for_this_user_alone() {
    let project = Project::in_subdirectory("long/".repeat(40));
    let path = project.path().join("monoco.sock");
    assert!(path.as_os_str().len() > 200);
    let text = path.to_str().expect("plain").to_owned();
    let options = ["--no-tcp", "--unix", &text];
    let daemon = Daemon::start(&project, &options);
    let metadata = path.symlink_metadata().expect("a socket");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let no_token = [("Authorization", "none")];
    assert_eq!(
        daemon
            .send("GET", "/api/v1/projects", &no_token, b"")
            .status,
        200
    );
    // A program that carries the socket to a port brings no page along.
    let rebound = daemon.send(
        "GET",
        "/api/v1/projects",
        &[("Origin", "http://localhost")],
        b"",
    );
    rebound.refuses(403, "pages");
    project
        .run(&[&["serve"], &options[..]].concat())
        .fails_with(&[&text, "another daemon"]);
    // A daemon that was killed leaves its socket behind, and its place free.
    daemon.end(Signal::KILL);
    assert!(path.exists());
    let daemon = Daemon::start(&project, &options);
    assert_eq!(daemon.get("/health").status, 200);
    daemon.end(Signal::TERM).ok();
    assert!(!path.exists(), "who ends in order tidies up");
    fs::write(&path, "mine").expect("room");
    project
        .run(&[&["serve"], &options[..]].concat())
        .fails_with(&[&text, "left alone"]);
    assert_eq!(fs::read(&path).expect("it is there"), b"mine");
}

#[test]
fn projects_come_and_go() {
    let home = Project::new();
    let root = home.path().join("root");
    let dirs = ["a", "b"].map(|name| root.join(name));
    for dir in &dirs {
        fs::create_dir_all(dir).expect("room");
    }
    let at = |dir: &Path| dir.to_str().expect("plain").to_owned();
    let [a, b] = [at(&dirs[0]), at(&dirs[1])];
    let daemon = Daemon::start(&home, &["--all"]);
    assert_eq!(daemon.condition(Some(&a)), "not served");
    let run = |dir: &str| {
        let ran = home
            .run(&["--project", dir, "run", "-d", "--", agent(), "exit", "0"])
            .ok();
        ran.out().trim_end().to_owned()
    };
    let (first, second) = (run(&a), run(&b));
    daemon.wait_for_status(&first, "completed");
    daemon.wait_for_status(&second, "completed");
    assert_eq!(daemon.ids(&format!("project={b}")), [second.as_str()]);

    // The same id in both: somebody has to say which.
    let copy = |from: &Path, to: &Path| {
        let name = format!(".monoco/sessions/{first}.json");
        fs::copy(from.join(&name), to.join(&name)).expect("room");
    };
    copy(&dirs[0], &dirs[1]);
    let path = format!("/api/v1/sessions/{first}");
    wait_until("there are two", || daemon.get(&path).status == 409);
    daemon.get(&path).refuses(409, "?project=");
    let one = daemon.get(&format!("{path}?project={b}")).is(200).json();
    assert_eq!(one["project"], *b);
    daemon
        .post("/api/v1/sessions", &json!({"command": ["true"]}))
        .refuses(409, "`project`");

    // Moved away, with what is above it, and back; and removed for good.
    let mut events = daemon.events(None);
    assert_eq!(events.next_event(Duration::from_secs(5)).kind, "resync");
    let aside = home.path().join("aside");
    let told = |events: &mut monoco_tests::Events, kind: &str| {
        events.until_such(|event| event.kind == kind && event.data["project"] == *a)
    };
    let moves = [(&root, &aside), (&dirs[0], &aside)];
    for (what, to) in moves.into_iter().cycle().take(100) {
        fs::rename(what, to).expect("it is there");
        told(&mut events, "removed");
        assert_eq!(daemon.condition(Some(&a)), "missing");
        fs::rename(to, what).expect("it is there");
        told(&mut events, "upserted");
        wait_until("it is watched", || daemon.condition(Some(&a)) == "watched");
    }
    fs::remove_dir_all(&dirs[1]).expect("it is there");
    events.until("removed", &second);
    wait_until("it is missing", || daemon.condition(Some(&b)) == "missing");
    assert_eq!(daemon.get(&path).is(200).json()["project"], *a);
    note(&format!(
        "{} looks, {} scans",
        daemon.metric("monoco_looks_total"),
        daemon.metric("monoco_scans_total")
    ));
}

/// A daemon that may open no more than `soft` files, and raise that to `hard`.
fn limited(project: &Project, soft: u32, hard: u32) -> Daemon {
    let script = format!("ulimit -S -n {soft}; ulimit -H -n {hard}; exec \"$@\"");
    Daemon::start_behind(project, &["sh", "-ec", &script, "sh"], &[])
}

#[test]
fn clients_leave_room_for_sessions() {
    let project = Project::new();
    let living: Vec<_> = (0..3)
        .map(|_| project.start(&[], &["sleep", "600"]))
        .collect();
    // More are open than agents may have: they start all the same.
    let daemon = limited(&project, 48, 1024);
    let connect = |n: usize, daemon: &Daemon| -> Vec<_> {
        let stream = |_| TcpStream::connect(("127.0.0.1", daemon.port())).expect("it listens");
        (0..n).map(stream).collect()
    };
    let crowd = connect(70, &daemon);
    wait_until("they are all there", || {
        daemon.metric("monoco_http_connections") > 70
    });
    let start = json!({"command": ["sh", "-c", "ulimit -n"]});
    let started = daemon.post("/api/v1/sessions", &start).is(201).json();
    let id = started["id"].as_str().expect("an id");
    daemon.wait_for_status(id, "completed");
    assert_eq!(project.log(id), b"48\n");
    drop((daemon, crowd));
    // No crowd makes a session disappear.
    let daemon = limited(&project, 64, 64);
    let mut events = daemon.events(None);
    assert_eq!(events.next_event(Duration::from_secs(5)).kind, "resync");
    let crowd = connect(100, &daemon);
    project.run(&["suspend", &living[0]]).ok();
    assert_eq!(
        events.until_status(&living[0], "suspended").kind,
        "upserted"
    );
    kill(daemon.pid(), Signal::HUP);
    wait_until("it has looked", || {
        daemon.log().contains("read everything again")
    });
    let mut shown = daemon.ids("active=true");
    shown.reverse();
    assert_eq!(shown, living);
    drop(crowd);
}

#[test]
fn another_project_in_the_place_of_one_is_seen() {
    let home = Project::new();
    let [a, b] = ["a", "b"].map(|name| home.path().join(name));
    let run = |dir: &Path| {
        fs::create_dir_all(dir).expect("room");
        let dir = dir.to_str().expect("plain");
        let ran = home
            .run(&["--project", dir, "run", "-d", "--", "true"])
            .ok();
        ran.out().trim_end().to_owned()
    };
    let (first, second) = (run(&a), run(&b));
    let daemon = Daemon::start(&home, &["--project", a.to_str().expect("plain")]);
    daemon.wait_for_status(&first, "completed");
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, &a, rustix::fs::CWD, &b, exchange)
        .expect("both are there");
    daemon.wait_for_status(&second, "completed");
    wait_until("the other is gone", || daemon.show(&first).status == 404);
    // And what happens there now is told.
    let third = run(&a);
    daemon.wait_for_status(&third, "completed");
}
