//! The daemon's API: what is listed, shown, sent and asked.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;

use monoco_tests::{Daemon, Project, agent, alive, gone, memory_kb, sessions, wait_until};
use serde_json::{Value, json};

/// A project with a session that has ended, and a daemon that serves it.
fn served(script: &str) -> (Project, Daemon, String) {
    let project = Project::new();
    let id = project.start(&[], &["sh", "-c", script]);
    project.run(&["wait", &id]);
    let daemon = Daemon::start(&project, &[]);
    (project, daemon, id)
}

#[test]
fn filters_pick_and_pages_follow_each_other() {
    let project = Project::new();
    let mut all = Vec::new();
    for n in 0..25 {
        let issue = format!("I-{}", n % 5);
        let label = format!("n={n}");
        let role = if n % 2 == 0 { "Even" } else { "Odd" };
        let program = if n % 3 == 0 { "false" } else { "true" };
        let options = [
            "--issue", &issue, "--label", &label, "--label", "all=yes", "--role", role,
        ];
        let id = project.start(&options, &[program]);
        project.run(&["wait", &id]);
        all.push(id);
    }
    let living = project.start(&[], &["sleep", "600"]);
    let daemon = Daemon::start(&project, &[]);
    all.push(living.clone());
    all.reverse();
    let check = |query: &str, expected: &dyn Fn(usize) -> bool| {
        // `all` is newest first: the living, then 24 to 0.
        let wanted: Vec<_> = (0..25)
            .rev()
            .filter(|n| expected(*n))
            .map(|n| &all[25 - n])
            .collect();
        assert_eq!(
            daemon
                .ids(&format!("limit=100&{query}"))
                .iter()
                .collect::<Vec<_>>(),
            wanted,
            "{query}"
        );
    };
    check("issue_id=I-3", &|n| n % 5 == 3);
    check("role=Even&issue_id=I-3", &|n| n % 5 == 3 && n % 2 == 0);
    check("status=failed", &|n| n % 3 == 0);
    check("status=failed&status=completed", &|_| true);
    check("label=n%3D7", &|n| n == 7);
    check("label=n&label=all=yes", &|_| true);
    check("label=all=no", &|_| false);
    check("active=false", &|_| true);
    check("issue_id=none", &|_| false);
    assert_eq!(daemon.ids("active=true"), [living]);
    let path = project.path().display().to_string();
    assert_eq!(daemon.ids(&format!("project={path}&limit=100")), all);
    assert_eq!(daemon.ids("project=/elsewhere").len(), 0);

    // Each once, in one order, whatever comes and goes between two pages.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = daemon.list(&format!("limit=7{cursor}"));
        let ids = sessions(&page).iter();
        seen.extend(ids.map(|session| session["id"].as_str().expect("an id").to_owned()));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
        // The one that holds the place, and a newer one than all.
        project
            .run(&["rm", "-f", seen.last().expect("a page")])
            .ok();
        project.run(&["run", "--", "true"]).ok();
    }
    assert_eq!(seen, all);
    for (query, words) in [
        ("limit=0", "1 to 10000"),
        ("limit=10001", "1 to 10000"),
        ("limit=x", "query"),
        ("cursor=x", "cursor"),
        ("status=dead", "dead"),
        ("nothing=1", "nothing"),
        ("active=maybe", "query"),
    ] {
        daemon
            .get(&format!("/api/v1/sessions?{query}"))
            .refuses(400, words);
    }
}

#[test]
fn what_a_client_has_is_not_sent_again() {
    let (project, daemon, id) = served("echo hello");
    let show = format!("/api/v1/sessions/{id}");
    let paths = [
        "/api/v1/sessions",
        &show,
        &format!("{show}/log"),
        "/openapi.json",
        "/api/v1/projects",
    ];
    let tags = paths.map(|path| {
        let answer = daemon.get(path).is(200);
        let tag = answer.header("etag").expect("a tag").to_owned();
        let again = daemon.send("GET", path, &[("If-None-Match", &tag)], b"");
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header("etag"), Some(&*tag));
        let zipped = daemon
            .send("GET", path, &[("Accept-Encoding", "gzip")], b"")
            .is(200);
        if answer.body.len() > 100 {
            assert_eq!(zipped.header("content-encoding"), Some("gzip"), "{path}");
            assert!(zipped.body.starts_with(b"\x1f\x8b") && zipped.body.len() < answer.body.len());
        }
        let head = daemon.send("HEAD", path, &[], b"").is(200);
        assert_eq!(head.body.len(), 0);
        tag
    });
    project.run(&["run", "--", "true"]).ok();
    wait_until("it is listed", || daemon.ids("").len() == 2);
    let changed = daemon.send("GET", paths[0], &[("If-None-Match", &tags[0])], b"");
    assert_eq!(changed.status, 200);
}

#[test]
fn a_log_is_sent_whole_and_in_parts() {
    let (project, daemon, id) = served("printf 0123456789");
    let path = format!("/api/v1/sessions/{id}/log");
    let whole = daemon.get(&path).is(200);
    assert_eq!(
        whole.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(whole.text(), "0123456789");
    for (range, expected, content_range) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=8-", "89", "bytes 8-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=5-500", "56789", "bytes 5-9/10"),
    ] {
        let part = daemon.send("GET", &path, &[("Range", range)], b"").is(206);
        assert_eq!(
            (part.text().as_str(), part.header("content-range")),
            (expected, Some(content_range))
        );
    }
    let behind = daemon.send("GET", &path, &[("Range", "bytes=10-")], b"");
    assert_eq!(behind.header("content-range"), Some("bytes */10"));
    behind.refuses(416, "10 bytes");
    for (query, expected) in [
        ("offset=8", "89"),
        ("limit=2", "01"),
        ("offset=3&limit=2", "34"),
        ("offset=99", ""),
        ("follow=true", "0123456789"),
        ("follow=true&offset=9", "9"),
    ] {
        assert_eq!(
            daemon.get(&format!("{path}?{query}")).is(200).text(),
            expected,
            "{query}"
        );
    }
    daemon
        .send(
            "GET",
            &format!("{path}?offset=1"),
            &[("Range", "bytes=0-")],
            b"",
        )
        .refuses(400, "Range");
    // A part that would not surely fit the rest is not sent (RFC 9110, 13.1.5).
    let fits = [("Range", "bytes=5-"), ("If-Range", "\"other\"")];
    assert_eq!(
        daemon.send("GET", &path, &fits, b"").is(200).text(),
        "0123456789"
    );
    // A place that the log has not reached is not its beginning.
    let query = format!("{path}?follow=true&offset=1000");
    assert_eq!(daemon.get(&query).is(200).text(), "");
    // Whatever bytes there are, and however many.
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    fs::write(project.log_path(&id), &bytes).expect("room");
    assert!(daemon.get(&path).is(200).body == bytes);
    let before = memory_kb(daemon.pid(), "VmHWM:");
    let log = fs::File::options()
        .write(true)
        .open(project.log_path(&id))
        .expect("a log");
    let len = 200 << 20;
    log.set_len(len).expect("a sparse file");
    log.write_at(b"end", len - 3).expect("room");
    let large = daemon.get(&path).is(200).body;
    assert_eq!(large.len() as u64, len);
    assert!(large.ends_with(b"\0end"));
    let more = memory_kb(daemon.pid(), "VmHWM:") - before;
    assert!(more < 8 << 10, "{more} KiB for a log of 200 MiB");
    fs::write(project.log_path(&id), "").expect("room");
    assert_eq!(daemon.get(&path).is(200).body.len(), 0);
}

#[test]
fn a_log_is_followed_to_the_end_of_its_session() {
    use std::io::Read;
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    let script = "echo one; while ! [ -e go ]; do sleep 0.01; done; echo two";
    let id = project.start(&[], &["sh", "-c", script]);
    daemon.wait_for_status(&id, "running");
    let path = format!("/api/v1/sessions/{id}/log?follow=true");
    let mut stream = daemon.open("GET", &path, &[("Accept-Encoding", "gzip")], b"");
    assert_eq!(
        stream.head.header("content-encoding"),
        None,
        "it must not be held back"
    );
    let mut one = [0; 4];
    stream
        .read_exact(&mut one)
        .expect("it comes while the agent runs");
    assert_eq!(&one, b"one\n");
    fs::write(project.path().join("go"), "").expect("room");
    let mut rest = String::new();
    stream
        .read_to_string(&mut rest)
        .expect("it ends with the session");
    assert_eq!(rest, "two\n");
}

#[test]
fn a_session_can_be_started_from_here() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    let script = "echo $MONOCO_ISSUE_ID $MONOCO_SESSION_ID $EXTRA; pwd; ls -l /proc/self/fd | grep -c -- '->'; ulimit -n";
    let start = json!({
        "command": ["sh", "-c", script], "issue_id": "FEAT-1", "role_name": "Tester",
        "name": "first", "labels": {"k": "v"}, "env": {"EXTRA": "a secret"},
    });
    let answer = daemon.post("/api/v1/sessions", &start).is(201);
    let session = answer.json();
    let id = session["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        answer.header("location"),
        Some(&*format!("/api/v1/sessions/{id}"))
    );
    for (field, expected) in [
        ("issue_id", "FEAT-1"),
        ("role_name", "Tester"),
        ("name", "first"),
    ] {
        assert_eq!(session[field], expected);
    }
    daemon.wait_for_status(&id, "completed");
    let log = String::from_utf8(project.log(&id)).expect("text");
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines[0], format!("FEAT-1 {id} a secret"));
    assert_eq!(lines[1], project.path().display().to_string());
    assert_eq!(lines[2], "4", "stdin, stdout, stderr, and ls's own: {log}");
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    assert_eq!(
        lines[3],
        limit.map_or("unlimited".to_owned(), |limit| limit.to_string())
    );
    let record = fs::read_to_string(project.record_path(&id)).expect("a record");
    assert!(!record.contains("secret"), "{record}");

    let elsewhere = project.state_home().display().to_string();
    let there = json!({"command": ["pwd"], "cwd": elsewhere, "remove_at_end": false});
    let there = daemon.post("/api/v1/sessions", &there).is(201).json();
    let there = there["id"].as_str().expect("an id").to_owned();
    daemon.wait_for_status(&there, "completed");
    assert_eq!(
        String::from_utf8_lossy(&project.log(&there)).trim_end(),
        elsewhere
    );

    let sleeper = json!({"command": [agent(), "sleep"], "name": "sleeper"});
    let sleeping = daemon.post("/api/v1/sessions", &sleeper).is(201).json();
    daemon
        .post("/api/v1/sessions", &sleeper)
        .refuses(409, "sleeper");
    for (change, status, words) in [
        (
            json!({"command": ["no-such-program"]}),
            422,
            "no-such-program",
        ),
        (json!({"command": []}), 422, "program"),
        (
            json!({"command": ["x"], "issue_id": "a b"}),
            422,
            "issue_id",
        ),
        (json!({"command": ["x"], "name": "-x"}), 422, "name"),
        (json!({"command": ["x"], "role_name": ""}), 422, "role_name"),
        (
            json!({"command": ["x"], "labels": {"": "v"}}),
            422,
            "labels",
        ),
        (json!({"command": ["x"], "env": {"A=B": "v"}}), 422, "env"),
        (
            json!({"command": ["x"], "timeout_seconds": 0}),
            422,
            "timeout_seconds",
        ),
        (
            json!({"command": ["x"], "cwd": "/no/such/place"}),
            422,
            "/no/such/place",
        ),
        (
            json!({"command": ["x"], "project": "/no/such"}),
            404,
            "/no/such",
        ),
        (json!({"command": ["x"], "unknown": 1}), 400, "unknown"),
        (json!({"command": "x"}), 400, "command"),
    ] {
        daemon
            .post("/api/v1/sessions", &change)
            .refuses(status, words);
    }
    // The failed one is told of, too.
    wait_until("it is listed", || daemon.ids("status=failed").len() == 1);
    // What was started goes on without the daemon.
    daemon.end(monoco_tests::Signal::KILL);
    let pid = i32::try_from(sleeping["pid"].as_i64().expect("it runs")).expect("a pid");
    assert!(alive(pid));
    project.run(&["stop", "sleeper"]).ok();
    gone(&[pid]);
}

#[test]
fn an_owner_does_what_it_is_asked_and_the_answer_tells() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["sleep"], 1);
    let daemon = Daemon::start(&project, &[]);
    let ask =
        |verb: &str, body: Value| daemon.post(&format!("/api/v1/sessions/{id}/{verb}"), &body);
    let shown = |status: &str| {
        let session = daemon.show(&id).is(200).json();
        assert_eq!(
            session["status"], status,
            "who reads after the answer finds it done"
        );
        session
    };
    for (verb, status) in [
        ("suspend", "suspended"),
        ("suspend", "suspended"),
        ("resume", "running"),
        ("resume", "running"),
    ] {
        let answer = ask(verb, json!({})).is(200).json();
        assert_eq!(answer["status"], status);
        assert_eq!(shown(status), answer);
    }
    daemon
        .delete(&format!("/api/v1/sessions/{id}"))
        .refuses(409, "running");
    ask("kill", json!({"signal": 0})).refuses(422, "signal");
    assert_eq!(ask("kill", json!({"signal": 28})).status, 200);
    ask("stop", json!({"grace_seconds": -1})).refuses(422, "grace_seconds");
    let answer = ask("stop", json!({"grace_seconds": 5})).is(200).json();
    assert_eq!(answer["outcome"]["by"], "api");
    assert_eq!(shown("terminated"), answer);
    gone(&pids);
    assert_eq!(ask("stop", json!({})).is(200).json(), answer, "ended once");
    ask("suspend", json!({})).refuses(409, "has ended");
    assert_eq!(daemon.delete(&format!("/api/v1/sessions/{id}")).status, 204);
    daemon.show(&id).refuses(404, &id);
    assert!(!project.record_path(&id).exists());
    // An orphan is ended in its owner's stead; by force it is removed at once.
    for force in [false, true] {
        let (id, pid) = project.orphan(&[], &["sleep"]);
        wait_until("it is an orphan", || {
            daemon.show(&id).text().contains("orphan")
        });
        let path = format!("/api/v1/sessions/{id}");
        daemon
            .post(&format!("{path}/suspend"), &json!({}))
            .refuses(409, "lost its owner");
        if force {
            assert_eq!(daemon.delete(&format!("{path}?force=true")).status, 204);
        } else {
            let ended = daemon
                .post(&format!("{path}/stop"), &json!({}))
                .is(200)
                .json();
            assert_eq!(ended["status"], "terminated");
        }
        gone(&[pid]);
    }
}

#[test]
fn what_sessions_have_is_what_the_document_says() {
    let project = Project::new();
    let options = ["--name", "n", "--label", "k=v", "--timeout", "1h"];
    let (running, _) = project.start_agent(&options, &["sleep"], 1);
    project.run(&["suspend", &running]).ok();
    for script in ["exit 3", "kill -9 $$"] {
        project.run(&["run", "--", "sh", "-c", script]);
    }
    project.run(&["run", "--", "no-such-program"]);
    let (stopped, _) = project.start_agent(&[], &["catch-term", "0"], 0);
    project.run(&["stop", &stopped]).ok();
    let (lost, pid) = project.orphan(&[], &["sleep"]);
    monoco_tests::kill(pid, monoco_tests::Signal::KILL);
    gone(&[pid]);
    let daemon = Daemon::start(&project, &[]);
    let document = daemon.get("/openapi.json").is(200).json();
    let properties = |schema: &str| -> BTreeSet<String> {
        let fields = document["components"]["schemas"][schema]["properties"].as_object();
        fields.expect(schema).keys().cloned().collect()
    };
    let check = |schema: &str, value: &Value| {
        let found: BTreeSet<_> = value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        let unknown: Vec<_> = found.difference(&properties(schema)).cloned().collect();
        assert_eq!(
            unknown,
            Vec::<String>::new(),
            "{schema} has them, the document does not"
        );
    };
    let page = daemon.list("");
    assert_eq!(sessions(&page).len(), 6);
    assert!(sessions(&page).iter().any(|session| session["id"] == lost));
    for session in sessions(&page) {
        check("Session", session);
        check(
            "ProcessIdentity",
            session.get("process").unwrap_or(&json!({})),
        );
        check("Outcome", session.get("outcome").unwrap_or(&json!({})));
    }
}

#[test]
fn sessions_of_one_moment_are_all_listed() {
    let (project, daemon, id) = served("true");
    let record = project.record(&id);
    let names = ["x1", "x2", "x3"];
    for (n, name) in names.iter().enumerate() {
        let mut record = record.clone();
        record["id"] = (*name).into();
        record["created_at"] = format!("2030-01-01T00:00:00.00000{}+00:00", 1231 + n).into();
        let path = project.record_path(name);
        fs::write(path, record.to_string()).expect("room");
        daemon.wait_for_status(name, "completed");
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = daemon.list(&format!("limit=1{cursor}"));
        seen.extend(sessions(&page).iter().map(|session| session["id"].clone()));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ["x1", "x2", "x3", &*id]);
}
