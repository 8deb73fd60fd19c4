//! The daemon's API: what is listed, shown and answered, and what becomes of a
//! session that a client acts on.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use monoco_tests::{
    ApiAnswer, Daemon, Project, Signal, alive, gone, is_stopped, kill, monoco, sessions, stays,
    wait_until,
};
use serde_json::{Value, json};
use session_core::{NewSession, SessionManager};

/// Everything that has an answer of its own.
fn paths(id: &str) -> [String; 5] {
    [
        "/api/v1/sessions".to_owned(),
        format!("/api/v1/sessions/{id}"),
        format!("/api/v1/sessions/{id}/log"),
        "/api/v1/projects".to_owned(),
        "/openapi.json".to_owned(),
    ]
}

#[test]
fn the_listing_is_that_of_ps_with_each_project() {
    let project = Project::new();
    project.run(&["run", "--", "true"]).ok();
    project.start(&["--name", "a", "--label", "k=v"], &["sleep", "600"]);
    project.orphan(&[], &["sleep"]);
    fs::write(project.record_path("broken"), "{").expect("room");
    let daemon = Daemon::start(&project, &[]);
    let mut listed = project
        .run(&["ps", "-a", "--json", "--no-reconcile"])
        .ok()
        .json();
    for session in listed.as_array_mut().expect("an array") {
        session["project"] = project.path().display().to_string().into();
    }
    assert_eq!(daemon.list("")["sessions"], listed);
    assert_eq!(daemon.list("")["next_cursor"], Value::Null);
    let projects = daemon.get("/api/v1/projects").is(200).json();
    let expected = json!([{
        "path": project.path().display().to_string(), "condition": "watched",
        "sessions": 4, "active": 2,
    }]);
    assert_eq!(projects["projects"], expected);
}

#[test]
fn the_listing_is_filtered() {
    let project = Project::new();
    let run = |options: &[&str]| project.start(options, &["sleep", "600"]);
    let a = run(&["--issue", "A", "--role", "Dev", "--label", "k=1"]);
    let b = run(&[
        "--issue", "B", "--role", "Dev", "--label", "k=2", "--label", "x=y=z",
    ]);
    let failed = project.start(&["--issue", "A"], &["false"]);
    project.run(&["wait", &failed]).code(1);
    project.run(&["suspend", &b]).ok();
    fs::write(project.record_path("broken"), "{").expect("room");
    let daemon = Daemon::start(&project, &[]);
    let check = |query: &str, expected: &[&str]| assert_eq!(daemon.ids(query), expected, "{query}");
    check("", &[&failed, &b, &a, "broken"]);
    check("issue_id=A", &[&failed, &a]);
    check("role=Dev", &[&b, &a]);
    check("role=Nobody", &[]);
    check("issue_id=A&role=Dev", &[&a]);
    check("status=suspended", &[&b]);
    check("status=suspended&status=running", &[&b, &a]);
    check("status=corrupt&status=failed", &[&failed, "broken"]);
    check("status=unknown", &[]);
    check("label=k", &[&b, &a]);
    check("label=k%3D1", &[&a]);
    check("label=k=2", &[&b]);
    check("label=k&label=x=y=z", &[&b]);
    check("label=k=1&label=x", &[]);
    check("active=true", &[&b, &a]);
    check("active=false", &[&failed, "broken"]);
    check(
        &format!("project={}", project.path().display()),
        &[&failed, &b, &a, "broken"],
    );
    check("project=/no/such", &[]);
    check("limit=2&active=true", &[&b, &a]);
}

#[test]
fn what_is_not_understood_is_said() {
    let project = Project::new();
    let id = project.start(&[], &["true"]);
    project.run(&["wait", &id]).ok();
    let daemon = Daemon::start(&project, &[]);
    for (query, words) in [
        ("limit=0", "limit is 0"),
        ("limit=10001", "limit is 10001"),
        ("limit=-1", "in the query"),
        ("limit=many", "in the query"),
        ("limit=1&limit=2", "in the query"),
        ("cursor=x", "next_cursor"),
        ("cursor=", "next_cursor"),
        ("cursor=e30", "next_cursor"),
        ("status=done", "in the query"),
        ("status=", "in the query"),
        ("active=maybe", "in the query"),
        ("state=running", "in the query"),
        ("project=a&project=b", "in the query"),
    ] {
        let answer = daemon.get(&format!("/api/v1/sessions?{query}"));
        answer.refuses(400, words);
    }
    let session = format!("/api/v1/sessions/{id}");
    daemon
        .get(&format!("{session}?verbose=1"))
        .refuses(400, "in the query");
    daemon
        .delete(&format!("{session}?force=yes"))
        .refuses(400, "in the query");
    for bad in ["A", "-x", "..%2F..", "%00", &"x".repeat(65)] {
        let answer = daemon.show(bad);
        answer.refuses(400, "");
    }
    for path in [
        "/",
        "/api/v1",
        "/api/v2/sessions",
        "/api/v1/sessions/x/y",
        "/api/v1/sessions/",
    ] {
        daemon.get(path).refuses(404, "/openapi.json");
    }
    for (method, path) in [
        ("PUT", "/api/v1/sessions"),
        ("PATCH", &*session),
        ("POST", &session),
        ("DELETE", "/api/v1/projects"),
        ("POST", "/health"),
    ] {
        let answer = daemon.send(method, path, &[], b"");
        assert!(
            answer
                .header("allow")
                .is_some_and(|allow| allow.contains("GET")),
            "{method} {path}"
        );
        answer.refuses(405, "Allow");
    }
    let stop = format!("{session}/stop");
    daemon
        .send("POST", &stop, &[], b"{}")
        .refuses(415, "application/json");
    daemon
        .send("POST", &stop, &[("Content-Type", "text/plain")], b"{}")
        .refuses(415, "");
    daemon
        .post(&stop, &json!({"grace": 1}))
        .refuses(400, "grace");
    daemon
        .post(&stop, &json!({"grace_seconds": -1}))
        .refuses(422, "grace_seconds");
    daemon
        .post(&format!("{session}/kill"), &json!({"signal": 65}))
        .refuses(422, "1 to 64");
    assert_eq!(project.status(&id), "completed");
}

#[test]
fn pages_show_each_session_once_whatever_happens_between_them() {
    const N: usize = 25;
    let project = Project::new();
    let first = project.start(&[], &["true"]);
    project.run(&["wait", &first]).ok();
    let record = project.record(&first);
    // Some of them made in the same moment.
    let plant = |n: usize, second: usize| {
        let id = format!("planted-{n}");
        project.forge_record(&id, &record, |record| {
            record["id"] = id.clone().into();
            record["created_at"] = format!("2020-01-01T00:00:{second:02}Z").into();
        });
        id
    };
    let mut ids: BTreeSet<_> = (1..N).map(|n| plant(n, n / 3)).collect();
    ids.insert(first);
    let daemon = Daemon::start(&project, &[]);
    let walk = |limit: usize, between: &dyn Fn(usize)| -> Vec<String> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        for n in 0.. {
            let page = daemon.list(&format!("limit={limit}{cursor}"));
            let ids = sessions(&page).iter().map(|session| session["id"].as_str());
            all.extend(ids.map(|id| id.expect("an id").to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
            assert_eq!(sessions(&page).len(), limit);
            between(n);
        }
        all
    };
    let whole = daemon.ids("limit=1000");
    assert_eq!(whole.iter().cloned().collect::<BTreeSet<_>>(), ids);
    for limit in [1, 4, 5, 24, 25, 26] {
        assert_eq!(walk(limit, &|_| {}), whole, "pages of {limit}");
    }
    // The last of the first page goes, and newer ones come.
    let between = |n: usize| {
        if n == 0 {
            fs::remove_file(project.record_path(&whole[4])).expect("it is there");
            plant(100, 59);
            wait_until("both are seen", || {
                daemon.show(&whole[4]).status == 404 && daemon.show("planted-100").status == 200
            });
        }
    };
    assert_eq!(walk(5, &between), whole);
    let after = daemon.ids("limit=1000");
    assert_eq!(after.len(), N);
    // With a filter, pages are of what matches.
    assert_eq!(walk(7, &|_| {}), after);
    let page = daemon.list("limit=1&status=completed");
    let next = page["next_cursor"].as_str().expect("there is more");
    assert_eq!(
        daemon.ids(&format!("limit=1&status=failed&cursor={next}")),
        [""; 0]
    );
}

#[test]
fn what_a_client_has_is_not_sent_again() {
    let project = Project::new();
    let id = project.start(&[], &["sleep", "600"]);
    fs::write(project.log_path(&id), "printed").expect("room");
    let daemon = Daemon::start(&project, &[]);
    let tags = || {
        paths(&id).map(|path| {
            let answer = daemon.get(&path).is(200);
            assert_eq!(
                answer.header("cache-control"),
                Some("private, no-cache"),
                "{path}"
            );
            answer.header("etag").expect("a tag").to_owned()
        })
    };
    let with = |path: &str, tag: &str| daemon.send("GET", path, &[("If-None-Match", tag)], b"");
    let before = tags();
    assert_eq!(before, tags(), "nothing changed");
    for (path, tag) in paths(&id).iter().zip(&before) {
        let answer = with(path, tag).is(304);
        assert_eq!(
            (answer.header("etag"), &*answer.body),
            (Some(&**tag), &b""[..]),
            "{path}"
        );
        assert_eq!(
            with(path, &format!("\"other\", {tag}")).status,
            304,
            "{path}"
        );
        assert_eq!(with(path, "W/\"other\"").status, 200, "{path}");
    }
    project.run(&["suspend", &id]).ok();
    daemon.wait_for_status(&id, "suspended");
    let other = project.start(&[], &["true"]);
    daemon.wait_for_status(&other, "completed");
    fs::write(project.log_path(&id), "changed").expect("room");
    let now = paths(&id);
    let changed: Vec<_> = now
        .iter()
        .zip(&before)
        .filter(|(path, tag)| with(path, tag).status == 200)
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(
        changed,
        now.iter().take(4).collect::<Vec<_>>(),
        "all but the description"
    );
}

#[test]
fn answers_are_compressed_for_those_who_ask() {
    let project = Project::new();
    let id = project.start(&[], &["true"]);
    project.run(&["wait", &id]).ok();
    fs::write(project.log_path(&id), "again and again ".repeat(1000)).expect("room");
    let record = project.record(&id);
    for n in 0..50 {
        let id = format!("planted-{n}");
        project.forge_record(&id, &record, |record| record["id"] = id.clone().into());
    }
    let daemon = Daemon::start(&project, &[]);
    for path in [&paths(&id)[0], &paths(&id)[2], &paths(&id)[4]] {
        let plain = daemon.get(path).is(200);
        assert_eq!(plain.header("content-encoding"), None, "{path}");
        let gzip = [("Accept-Encoding", "gzip")];
        let small = daemon.send("GET", path, &gzip, b"").is(200);
        assert_eq!(small.header("content-encoding"), Some("gzip"), "{path}");
        assert_eq!(small.header("vary"), Some("accept-encoding"), "{path}");
        assert!(small.body.starts_with(b"\x1f\x8b"), "{path}");
        assert!(small.body.len() < plain.body.len() / 3, "{path}");
        let tag = small.header("etag").expect("a tag");
        let known = [("Accept-Encoding", "gzip"), ("If-None-Match", tag)];
        assert_eq!(daemon.send("GET", path, &known, b"").status, 304, "{path}");
    }
    let mut events = daemon.open("GET", "/api/v1/events", &[("Accept-Encoding", "gzip")], b"");
    assert_eq!(events.head.header("content-encoding"), None);
    let mut first = [0; 6];
    std::io::Read::read_exact(&mut events, &mut first).expect("it begins at once");
    assert_eq!(&first, b"retry:");
}

/// Does `verb` to a session.
#[track_caller]
fn act(daemon: &Daemon, id: &str, verb: &str, how: &Value) -> ApiAnswer {
    daemon.post(&format!("/api/v1/sessions/{id}/{verb}"), how)
}

#[test]
fn what_was_done_is_shown_at_once() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    let (id, pids) = project.start_agent(&[], &["fork-tree", "1", "2"], 3);
    daemon.wait_for_status(&id, "running");
    let check = |verb: &str, how: Value, status: &str| {
        let answer = act(&daemon, &id, verb, &how).is(200).json();
        assert_eq!(answer["status"], status, "{verb}");
        assert_eq!(daemon.show(&id).is(200).json(), answer, "{verb}");
        assert_eq!(daemon.list("")["sessions"], json!([answer]), "{verb}");
        assert_eq!(project.status(&id), status, "{verb}");
        answer
    };
    check("suspend", json!({}), "suspended");
    assert!(pids.iter().all(|pid| is_stopped(*pid)));
    check("suspend", json!({}), "suspended");
    check("resume", json!({}), "running");
    assert!(!pids.iter().any(|pid| is_stopped(*pid)));
    check("resume", json!({}), "running");
    // A signal that the agent does not mind.
    check("kill", json!({"signal": 18}), "running");
    let ended = check("stop", json!({"grace_seconds": 5}), "terminated");
    assert_eq!(ended["outcome"]["kind"], "stopped");
    assert_eq!(ended["outcome"]["by"], "api");
    assert_eq!(ended["liveness"], "ended");
    gone(&pids);
    // It has ended, and that does not change.
    assert_eq!(check("stop", json!({}), "terminated"), ended);
    for verb in ["suspend", "resume", "kill"] {
        act(&daemon, &id, verb, &json!({})).refuses(409, "ended");
    }
    assert_eq!(
        daemon
            .delete(&format!("/api/v1/sessions/{id}"))
            .is(204)
            .body,
        b""
    );
    daemon.show(&id).refuses(404, &id);
    assert_eq!(daemon.ids(""), [""; 0]);
    assert!(!project.record_path(&id).exists() && !project.log_path(&id).exists());
    act(&daemon, &id, "stop", &json!({})).refuses(404, &id);
    daemon
        .delete(&format!("/api/v1/sessions/{id}"))
        .refuses(404, &id);
}

#[test]
fn a_deaf_agent_is_killed_when_its_grace_is_over() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    for (verb, how) in [
        ("stop", json!({"grace_seconds": 0.05})),
        ("stop", json!({"grace_seconds": 0})),
        ("kill", json!({})),
    ] {
        let (id, pids) = project.start_agent(&[], &["ignore-term"], 1);
        daemon.wait_for_status(&id, "running");
        let ended = act(&daemon, &id, verb, &how).is(200).json();
        assert_eq!(ended["status"], "terminated", "{verb} {how}");
        assert_eq!(ended["outcome"]["by"], "api", "{verb} {how}");
        assert!(!alive(pids[0]), "{verb} {how}");
    }
}

#[test]
fn one_slow_stop_holds_nobody_up() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    let (id, pids) = project.start_agent(&[], &["ignore-term"], 1);
    daemon.wait_for_status(&id, "running");
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| act(&daemon, &id, "stop", &json!({"grace_seconds": 600})));
        let other = project.start(&[], &["sleep", "600"]);
        daemon.wait_for_status(&other, "running");
        act(&daemon, &other, "stop", &json!({})).is(200);
        stays("it still runs", Duration::from_millis(20), || {
            alive(pids[0])
        });
        kill(pids[0], Signal::KILL);
        let ended = stop.join().expect("no panic").is(200).json();
        assert_eq!(ended["outcome"]["kind"], "stopped", "{ended}");
    });
}

#[test]
fn an_orphan_can_be_ended_and_not_be_suspended() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    for (verb, how) in [("stop", json!({})), ("kill", json!({}))] {
        let (id, pid) = project.orphan(&[], &["sleep"]);
        wait_until("it is shown as an orphan", || {
            daemon.show(&id).json()["liveness"] == "orphan"
        });
        act(&daemon, &id, "suspend", &json!({})).refuses(409, "lost its owner");
        act(&daemon, &id, "resume", &json!({})).refuses(409, "lost its owner");
        daemon
            .delete(&format!("/api/v1/sessions/{id}"))
            .refuses(409, &id);
        assert!(alive(pid), "{verb}");
        let ended = act(&daemon, &id, verb, &how).is(200).json();
        assert_eq!(
            (&ended["status"], &ended["liveness"]),
            (&json!("terminated"), &json!("ended"))
        );
        gone(&[pid]);
        assert_eq!(daemon.show(&id).is(200).json(), ended, "{verb}");
    }
}

#[test]
fn what_lives_is_removed_only_by_force() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    let (owned, pids) = project.start_agent(&[], &["sleep"], 1);
    let (orphan, pid) = project.orphan(&[], &["sleep"]);
    fs::write(project.record_path("broken"), "{").expect("room");
    wait_until("all are seen", || {
        daemon.ids("").len() == 3 && daemon.show(&orphan).json()["liveness"] == "orphan"
    });
    for id in [&*owned, &orphan, "broken"] {
        let path = format!("/api/v1/sessions/{id}");
        daemon.delete(&path).refuses(409, id);
        assert_eq!(daemon.show(id).status, 200, "{id}");
        assert_eq!(
            daemon.delete(&format!("{path}?force=true")).is(204).body,
            b""
        );
        daemon.show(id).refuses(404, id);
        assert!(!project.record_path(id).exists(), "{id}");
    }
    gone(&[pids[0], pid]);
    assert_eq!(daemon.ids(""), [""; 0]);
}

#[test]
fn a_session_that_nobody_has_begun_to_start() {
    let project = Project::new();
    let manager = SessionManager::create(project.path()).expect("a new project");
    let claim = manager
        .claim_new(NewSession::default())
        .expect("a new session");
    let id = claim.session().id.to_string();
    claim.release().expect("it is ours");
    let daemon = Daemon::start(&project, &[]);
    let shown = daemon.show(&id).is(200).json();
    assert_eq!(
        (&shown["status"], &shown["liveness"]),
        (&json!("pending"), &json!("unclaimed"))
    );
    assert_eq!(shown["pid"], Value::Null);
    assert_eq!(
        daemon
            .get(&format!("/api/v1/sessions/{id}/log"))
            .is(200)
            .body,
        b""
    );
    for verb in ["suspend", "resume", "kill"] {
        act(&daemon, &id, verb, &json!({})).refuses(409, &id);
    }
    let stopped = act(&daemon, &id, "stop", &json!({}));
    let as_cli = project.run(&["stop", &id]);
    assert_eq!(
        stopped.status == 200,
        as_cli.code == 0,
        "{} {as_cli}",
        stopped.text()
    );
    let removed = daemon.delete(&format!("/api/v1/sessions/{id}?force=true"));
    assert_eq!(removed.status, 204, "{}", removed.text());
    daemon.show(&id).refuses(404, &id);
}

#[test]
fn an_owner_that_does_not_answer_is_said_to() {
    let project = Project::new();
    let daemon = Daemon::start(&project, &[]);
    let (id, pids) = project.start_agent(&[], &["sleep"], 1);
    daemon.wait_for_status(&id, "running");
    let supervisor = project.supervisor(&id);
    kill(supervisor, Signal::STOP);
    wait_until("it stands still", || is_stopped(supervisor));
    act(&daemon, &id, "suspend", &json!({})).refuses(504, &id);
    assert_eq!(daemon.show(&id).is(200).json()["liveness"], "owned");
    kill(supervisor, Signal::CONT);
    act(&daemon, &id, "stop", &json!({})).is(200);
    gone(&pids);
}

/// The names of all fields in `schema`, and of those that must be there.
fn fields(document: &Value, name: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let schema = &document["components"]["schemas"][name];
    let properties = schema["properties"].as_object().expect("it is an object");
    let required = schema["required"].as_array().expect("some are");
    let required = required
        .iter()
        .map(|name| name.as_str().expect("a name").to_owned());
    (properties.keys().cloned().collect(), required.collect())
}

#[track_caller]
fn check_fields(document: &Value, name: &str, value: &Value) {
    let (all, required) = fields(document, name);
    let found: BTreeSet<_> = value
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    let unknown: Vec<_> = found.difference(&all).collect();
    assert!(
        unknown.is_empty(),
        "{name} is not said to have {unknown:?}: {value}"
    );
    let missing: Vec<_> = required.difference(&found).collect();
    assert!(
        missing.is_empty(),
        "{name} is said to have {missing:?}: {value}"
    );
}

#[test]
fn everything_that_is_sent_is_described() {
    let project = Project::new();
    let full = [
        "--issue",
        "A",
        "--role",
        "B",
        "--name",
        "full",
        "--label",
        "k=v",
        "--timeout",
        "9m",
    ];
    let (id, _) = project.start_agent(&full, &["sleep"], 1);
    project.run(&["suspend", &id]).ok();
    project.run(&["resume", &id]).ok();
    project.run(&["suspend", &id]).ok();
    project.start(&[], &[monoco(), "run", "--", "false"]);
    project.start(&[], &["sh", "-c", "kill -ABRT $$"]);
    project.start(&["--timeout", "0.01"], &["sleep", "600"]);
    project
        .run(&["run", "-d", "--", "no-such-program"])
        .code(127);
    let (_, pid) = project.orphan(&[], &["sleep"]);
    kill(pid, Signal::KILL);
    gone(&[pid]);
    project.orphan(&[], &["sleep"]);
    let stopped = project.start(&[], &["sleep", "600"]);
    project.run(&["stop", &stopped]).ok();
    let elsewhere = project.record(&stopped);
    project.forge_record("elsewhere", &elsewhere, |record| {
        record["id"] = "elsewhere".into();
        record["status"] = "running".into();
        record["process"]["host"] = "another".into();
        record["engine"] = "claude".into();
        for end in ["outcome", "ended_at"] {
            record.as_object_mut().expect("an object").remove(end);
        }
    });
    project.forge_record("limited", &elsewhere, |record| {
        record["id"] = "limited".into();
        record["conversation_id"] = "7f".into();
        record["resumes"] = "elsewhere".into();
        let until = "2026-11-22T14:05:00+00:00";
        record["verdict"] =
            json!({ "kind": "rate_limited", "until": until, "turns": 3, "cost_usd": 0.5 });
    });
    fs::write(project.record_path("broken"), "{").expect("room");
    let daemon = Daemon::start(&project, &[]);
    wait_until("what ends has ended", || {
        daemon
            .ids("active=true&status=running&status=suspended")
            .len()
            == 2
    });
    let document = daemon.get("/openapi.json").is(200).json();
    let page = daemon.list("");
    check_fields(&document, "SessionList", &page);
    let (mut outcomes, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for session in sessions(&page) {
        if session["status"] == "corrupt" {
            check_fields(&document, "Corrupt", session);
            continue;
        }
        check_fields(&document, "Session", session);
        seen.extend(session.as_object().expect("an object").keys().cloned());
        if let Some(process) = session.get("process") {
            check_fields(&document, "ProcessIdentity", process);
        }
        if let Some(verdict) = session.get("verdict") {
            check_fields(&document, "Verdict", verdict);
        }
        if let Some(outcome) = session.get("outcome") {
            check_fields(&document, "Outcome", outcome);
            outcomes.insert(outcome["kind"].clone().to_string());
            if let Some(status) = outcome.get("wait_status") {
                check_fields(&document, "WaitStatus", status);
            }
        }
    }
    assert_eq!(seen, fields(&document, "Session").0, "each was looked at");
    let kinds = &document["components"]["schemas"]["OutcomeKind"]["enum"];
    let kinds = kinds.as_array().expect("words").iter();
    assert_eq!(
        outcomes,
        kinds.map(Value::to_string).collect(),
        "each was looked at"
    );
    check_fields(
        &document,
        "ProjectList",
        &daemon.get("/api/v1/projects").json(),
    );
    check_fields(&document, "Health", &daemon.get("/health").json());
    check_fields(&document, "Problem", &daemon.show("none").is(404).json());
}
