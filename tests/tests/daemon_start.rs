//! Sessions that are started over HTTP are sessions like all others.

use std::fs;

use monoco_tests::{ApiAnswer, Daemon, Project, Signal, agent, alive, kill, monoco, wait_until};
use serde_json::{Value, json};

/// Starts a session.
#[track_caller]
fn start(daemon: &Daemon, order: &Value) -> ApiAnswer {
    daemon.post("/api/v1/sessions", order)
}

/// Starts a session that is started; returns its id.
#[track_caller]
fn started(daemon: &Daemon, order: &Value) -> String {
    let answer = start(daemon, order).is(201);
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    let location = format!("/api/v1/sessions/{id}");
    assert_eq!(answer.header("location"), Some(&*location));
    assert_eq!(daemon.get(&location).is(200).json()["id"], *id);
    id
}

/// What the scripted agent finds itself to be.
#[track_caller]
fn described(project: &Project, id: &str) -> Value {
    project.wait_for_release(id);
    serde_json::from_slice(&project.log(id)).expect("a description")
}

#[test]
fn a_session_is_started_as_run_starts_it() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    let order = json!({
        "command": [agent(), "sleep"], "issue_id": "FEAT-1", "role_name": "Dev",
        "name": "mine", "labels": {"k": "v"}, "timeout_seconds": 900,
    });
    let id = started(&daemon, &order);
    let shown = daemon.show(&id).json();
    assert_eq!(
        (&shown["status"], &shown["liveness"]),
        (&json!("running"), &json!("owned"))
    );
    for field in [
        "command",
        "issue_id",
        "role_name",
        "name",
        "labels",
        "timeout_seconds",
    ] {
        assert_eq!(shown[field], order[field], "{field}");
    }
    assert_eq!(shown["cwd"], project.path().display().to_string());
    // The same in the record, and for everybody else.
    assert_eq!(project.record(&id)["pid"], shown["pid"]);
    assert_eq!(project.ids(&["--label", "k=v"]), [id.as_str()]);
    let supervisor = project.supervisor(&id);
    assert_ne!(
        monoco_tests::session_of(supervisor),
        monoco_tests::session_of(daemon.pid())
    );
    // It needs its daemon no more.
    daemon.end(Signal::KILL).code(137);
    assert!(alive(project.agent(&id)) && alive(supervisor));
    project.run(&["stop", "mine"]).ok();
    assert_eq!(project.record(&id)["outcome"]["by"], "cli");
}

#[test]
fn an_agent_finds_what_it_finds_under_run_and_nothing_of_the_daemon() {
    let project = Project::new();
    // A soft limit that is not the hard one: the daemon raises its own only.
    let serve = format!(
        "ulimit -S -n 321; exec {} serve --listen 127.0.0.1:0",
        monoco()
    );
    let daemon = Daemon::spawn(&project, project.shell(&serve));
    let _held = [daemon.events(None), daemon.events(None)];
    let id = started(&daemon, &json!({"command": [agent(), "describe"]}));
    let found = described(&project, &id);
    let other = project.start(&[], &[agent(), "describe"]);
    let expected = described(&project, &other);
    let numbers = |description: &Value| -> Vec<Value> {
        let fds = description["fds"].as_array().expect("an array");
        fds.iter().map(|fd| fd["number"].clone()).collect()
    };
    assert_eq!(numbers(&found), ["0", "1", "2"]);
    assert_eq!(numbers(&found), numbers(&expected));
    assert_eq!(found["fds"][0]["target"], "/dev/null");
    let log = project.log_path(&id).display().to_string();
    assert_eq!(found["fds"][1]["target"], log);
    let variables =
        |description: &Value, id: &str| description["variables"].to_string().replace(id, "[id]");
    assert_eq!(variables(&found, &id), variables(&expected, &other));
    assert_eq!(found["variables"]["MONOCO_SESSION_ID"], *id);
    assert_eq!(found["cwd"], project.path().display().to_string());
    let script = "ulimit -S -n; ulimit -H -n; cat /proc/self/oom_score_adj; trap; umask";
    let over_http = started(&daemon, &json!({"command": ["sh", "-c", script]}));
    project.wait_for_release(&over_http);
    let ran = project.run_shell(&format!(
        "ulimit -S -n 321; $monoco run -- sh -c '{script}'"
    ));
    assert_eq!(
        String::from_utf8_lossy(&project.log(&over_http)),
        ran.ok().out()
    );
    assert!(project.log(&over_http).starts_with(b"321\n"));
}

#[test]
fn where_an_agent_works_and_what_it_is_told() {
    let project = Project::new();
    let below = project.path().join("below");
    fs::create_dir(&below).expect("room");
    let daemon = Daemon::start(&project, &[]);
    let order = json!({
        "command": ["sh", "-c", "pwd; echo $SECRET"],
        "cwd": below.display().to_string(), "env": {"SECRET": "hunter2", "EMPTY": ""},
    });
    let id = started(&daemon, &order);
    project.wait_for_release(&id);
    let printed = String::from_utf8_lossy(&project.log(&id)).into_owned();
    assert_eq!(printed, format!("{}\nhunter2\n", below.display()));
    assert!(!project.record(&id).to_string().contains("hunter2"));
    assert!(!daemon.show(&id).text().contains("hunter2") && !daemon.log().contains("hunter2"));
    let order = json!({"command": ["true"], "cwd": "/no/such/directory"});
    start(&daemon, &order).refuses(422, "/no/such/directory");
}

#[test]
fn what_cannot_be_started() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    let id = started(
        &daemon,
        &json!({"command": ["sleep", "600"], "name": "taken"}),
    );
    let again = json!({"command": ["sleep", "600"], "name": "taken"});
    start(&daemon, &again).refuses(409, "taken");
    for (field, value, words) in [
        ("issue_id", json!("a b"), "issue_id: "),
        ("issue_id", json!(""), "issue_id: "),
        ("role_name", json!("a b\n"), "role_name: "),
        ("name", json!("Not A Name"), "name: "),
        ("labels", json!({"": "v"}), "labels: "),
        ("labels", json!({"a=b": "v"}), "labels: "),
        ("labels", json!({"a b": "v"}), "labels: "),
        ("env", json!({"": "v"}), "env: "),
        ("env", json!({"A=B": "v"}), "env: "),
        ("env", json!({"A": "v\u{0}w"}), "NUL"),
        ("timeout_seconds", json!(0), "timeout_seconds: "),
        ("timeout_seconds", json!(-1), "timeout_seconds: "),
        ("timeout_seconds", json!(1e300), "timeout_seconds: "),
        ("command", json!([]), "command: "),
        ("command", json!([""]), "command: "),
        ("command", json!(["a\u{0}b"]), "NUL"),
        ("cwd", json!("a\u{0}b"), ""),
    ] {
        let mut order = json!({"command": ["true"]});
        order[field] = value;
        start(&daemon, &order).refuses(422, words);
    }
    for (field, value) in [
        ("command", json!("true")),
        ("command", json!([1])),
        ("labels", json!(["a"])),
        ("timeout_seconds", json!("1m")),
        ("unknown", json!(1)),
    ] {
        let mut order = json!({"command": ["true"]});
        order[field] = value;
        start(&daemon, &order).refuses(400, "in the body");
    }
    start(&daemon, &json!({})).refuses(400, "command");
    assert_eq!(
        daemon.ids(""),
        [id.as_str()],
        "of none of these there is a trace"
    );
}

#[test]
fn a_program_that_is_not_there_is_a_session_that_failed() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    fs::write(project.path().join("text"), "no program").expect("room");
    for (program, reason) in [
        ("no-such-program", "not_found"),
        ("./text", "not_executable"),
    ] {
        start(&daemon, &json!({"command": [program]})).refuses(422, program);
        let page = daemon.list("status=failed&limit=1");
        let failed = &page["sessions"][0];
        assert_eq!(failed["command"], json!([program]));
        assert_eq!(failed["outcome"]["kind"], "spawn_failed");
        assert_eq!(failed["outcome"]["reason"], reason);
    }
}

#[test]
fn a_session_that_is_removed_at_its_end() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    let mut events = daemon.events(None);
    let order = json!({"command": ["sleep", "600"], "remove_at_end": true});
    let id = started(&daemon, &order);
    let stopped = daemon
        .post(&format!("/api/v1/sessions/{id}/stop"), &json!({}))
        .is(200);
    assert_eq!(stopped.json()["status"], "terminated");
    events.until("removed", &id);
    daemon.show(&id).refuses(404, &id);
    assert!(!project.record_path(&id).exists() && !project.log_path(&id).exists());
}

#[test]
fn what_an_agent_leaves_running() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    for leave in [false, true] {
        let order = json!({"command": [agent(), "orphan-group"], "leave_children": leave});
        let id = started(&daemon, &order);
        project.wait_for_release(&id);
        daemon.wait_for_status(&id, "completed");
        let child = project.pids(&id)[1];
        assert_eq!(alive(child), leave);
        kill(child, Signal::KILL);
    }
}

#[test]
fn sessions_that_are_started_at_once_are_all_there() {
    const N: usize = 20;
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    let order = json!({"command": ["sleep", "600"], "name": "only-one"});
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let each = |n: usize| {
            let (daemon, order) = (&daemon, &order);
            scope.spawn(move || match n % 4 {
                0 => start(daemon, order).status,
                _ => start(daemon, &json!({"command": ["sleep", "600"]})).status,
            })
        };
        let threads: Vec<_> = (0..N).map(each).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let n_started = statuses.iter().filter(|status| **status == 201).count();
    let n_refused = statuses.iter().filter(|status| **status == 409).count();
    // Of those with the name, one.
    assert_eq!(
        (n_started, n_refused),
        (N - N / 4 + 1, N / 4 - 1),
        "{statuses:?}"
    );
    assert_eq!(daemon.ids("active=true").len(), n_started);
    wait_until("all are alive", || project.ids(&[]).len() == n_started);
}
