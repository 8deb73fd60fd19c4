//! What `ps` and `show` tell, of one session or of a hundred, of records that
//! are damaged or another program's; and that looking changes nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use monoco_tests::{
    Project, Signal, agent, alive, context_switches, finish, is_stopped, kill, memory_kb, note,
    redacted, redacted_text, skip, wait_until,
};
use serde_json::{Value, json};
use session_core::{Liveness, SessionManager};

/// Records that the original program wrote, checked in, and readable for ever.
const SAMPLES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../session-core/tests/original-format"
);

/// Every file below `dir` with what a write or a replacement would change.
fn files(dir: &Path) -> BTreeMap<String, (u64, u64, i64, i64)> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("it can be read") {
            let path = entry.expect("it can be read").path();
            let stat = path.symlink_metadata().expect("nothing vanishes");
            if stat.is_dir() {
                dirs.push(path.clone());
            }
            let facts = (
                stat.ino(),
                stat.size(),
                stat.mtime_nsec(),
                stat.ctime_nsec(),
            );
            files.insert(path.display().to_string(), facts);
        }
    }
    files
}

#[test]
fn ps_lists_the_living_and_with_a_all_newest_first() {
    let project = Project::new();
    let ended = project.start(&[], &["true"]);
    project.run(&["wait", &ended]).ok();
    let first = project.start(&[], &["sleep", "600"]);
    let second = project.start(&[], &["sleep", "600"]);
    let ids = |options: &[&str]| project.ids(options);
    assert_eq!(ids(&[]), [second.as_str(), &first]);
    assert_eq!(ids(&["-a"]), [second.as_str(), &first, &ended]);
    for alias in ["ls", "list"] {
        let ran = project.run(&[alias, "-q"]).ok();
        assert_eq!(ran.out(), format!("{second}\n{first}\n"));
    }
    let table = project.run(&["ps", "-a"]).ok().out();
    let rows: Vec<_> = table.lines().collect();
    assert_eq!(rows.len(), 4);
    assert!(
        rows[0].starts_with("ID") && rows[1].starts_with(&second[..8]),
        "{table}"
    );
}

#[test]
fn ps_filters() {
    let project = Project::new();
    let a = project.start(
        &["--issue", "A", "--role", "Dev", "--label", "k=1"],
        &["sleep", "600"],
    );
    let b = project.start(
        &["--issue", "B", "--role", "Dev", "--label", "k=2"],
        &["sleep", "600"],
    );
    let failed = project.start(&["--issue", "A"], &["false"]);
    project.run(&["wait", &failed]).code(1);
    project.run(&["suspend", &b]).ok();
    let check = |options: &[&str], expected: &[&String]| {
        assert_eq!(
            project.ids(options).iter().collect::<Vec<_>>(),
            expected,
            "{options:?}"
        );
    };
    check(&["--issue", "A"], &[&a]);
    check(&["-a", "--issue", "A"], &[&failed, &a]);
    check(&["--role", "Dev"], &[&b, &a]);
    check(&["--role", "Nobody"], &[]);
    check(&["--label", "k=1"], &[&a]);
    check(&["--label", "k"], &[&b, &a]);
    check(&["--status", "suspended"], &[&b]);
    check(&["--status", "suspended", "--status", "running"], &[&b, &a]);
    check(&["--status", "failed"], &[&failed]);
    check(&["--issue", "A", "--status", "running"], &[&a]);
    check(&["--status", "orphan"], &[]);
    check(&["-a", "--status", "corrupt"], &[]);
}

#[test]
fn json_is_the_record_with_its_liveness() {
    let project = Project::new();
    let options = [
        "--issue", "FEAT-1", "--role", "Dev", "--name", "json", "--label", "k=v",
    ];
    let id = project.start(
        &[&options[..], &["--timeout", "15m"]].concat(),
        &["sleep", "600"],
    );
    let listed = project.run(&["ps", "--json"]).ok().json();
    let shown = project.run(&["show", "--json", &id]).ok().json();
    assert_eq!(listed, shown);
    let mut expected = project.record(&id);
    expected["liveness"] = json!("owned");
    assert_eq!(listed, json!([expected]));
    insta::assert_snapshot!(pretty(listed), @r#"
    [
      {
        "branch_name": "agent/FEAT-1/[short]",
        "command": [
          "sleep",
          "600"
        ],
        "created_at": "[created_at]",
        "cwd": "[cwd]",
        "id": "[id]",
        "issue_id": "FEAT-1",
        "labels": {
          "k": "v"
        },
        "liveness": "owned",
        "name": "json",
        "pid": "[pid]",
        "process": {
          "boot_id": "[boot_id]",
          "host": "[host]",
          "pid_namespace": "[pid_namespace]",
          "start_ticks": "[start_ticks]"
        },
        "role_name": "Dev",
        "schema": 1,
        "started_at": "[started_at]",
        "status": "running",
        "timeout_seconds": 900,
        "updated_at": "[updated_at]"
      }
    ]
    "#);
    project.run(&["stop", &id]).ok();
    let ended = project.listed(&id);
    assert_eq!(ended["liveness"], "ended");
    insta::assert_snapshot!(pretty(ended["outcome"].clone()), @r#"
    {
      "by": "cli",
      "kind": "stopped",
      "wait_status": {
        "core_dumped": false,
        "kind": "signaled",
        "signal": 15
      }
    }
    "#);
    assert_eq!(project.run(&["ps", "--json"]).ok().out(), "[]\n");
}

fn pretty(json: Value) -> String {
    serde_json::to_string_pretty(&redacted(json)).expect("JSON can be written")
}

#[test]
fn a_record_is_the_documented_file() {
    let project = Project::new();
    let id = project.start(
        &["--issue", "FEAT-1", "--role", "Dev"],
        &["sh", "-c", "exit 7"],
    );
    project.run(&["wait", &id]).code(7);
    let text = std::fs::read_to_string(project.record_path(&id)).expect("a record");
    insta::assert_snapshot!(redacted_text(&text), @r#"
    {
      "id": [id],
      "issue_id": "FEAT-1",
      "role_name": "Dev",
      "status": "failed",
      "branch_name": "agent/FEAT-1/[short]",
      "pid": [pid],
      "created_at": [created_at],
      "updated_at": [updated_at],
      "schema": 1,
      "command": [
        "sh",
        "-c",
        "exit 7"
      ],
      "cwd": [cwd],
      "process": {
        "host": [host],
        "boot_id": [boot_id],
        "pid_namespace": [pid_namespace],
        "start_ticks": [start_ticks]
      },
      "started_at": [started_at],
      "ended_at": [ended_at],
      "outcome": {
        "kind": "exited",
        "code": 7
      }
    }
    "#);
}

#[test]
fn a_damaged_record_is_listed_beside_the_healthy_and_left_as_it_is() {
    let project = Project::new();
    let healthy = project.start(&[], &["sleep", "600"]);
    let sessions = project.path().join(".monoco/sessions");
    let whole = std::fs::read(project.record_path(&healthy)).expect("a record");
    let broken: [(&str, &[u8]); 6] = [
        ("cut", &whole[..whole.len() / 2]),
        ("empty", b""),
        ("not-a-record", b"{\"hello\": 1}"),
        ("nul", &[0; 64]),
        ("other-id", &whole),
        ("not-text", b"\xff\xfe{}"),
    ];
    for (id, bytes) in broken {
        std::fs::write(sessions.join(format!("{id}.json")), bytes).expect("room");
    }
    std::fs::write(sessions.join("Not An Id.json"), "{}").expect("room");
    let before = files(&sessions);
    let listing = project.run(&["ps", "-a", "--json"]).ok();
    let corrupt: Vec<_> = listing
        .json()
        .as_array()
        .expect("an array")
        .iter()
        .filter(|session| session["status"] == "corrupt")
        .map(|session| session["id"].clone())
        .collect();
    let expected = [
        json!(null),
        json!("cut"),
        json!("empty"),
        json!("not-a-record"),
        json!("not-text"),
        json!("nul"),
        json!("other-id"),
    ];
    assert_eq!(corrupt, expected);
    assert_eq!(
        listing.err().lines().count(),
        7,
        "each is told of: {listing}"
    );
    assert!(listing.err().contains("Not An Id.json"), "{listing}");
    assert_eq!(project.listed(&healthy)["status"], "running");
    assert_eq!(project.ids(&["-a", "--status", "corrupt"]).len(), 6);
    let table = project.run(&["ps", "-a"]).ok().out();
    assert_eq!(table.matches(" corrupt ").count(), 7, "{table}");
    for command in [
        &["reconcile"][..],
        &["prune"],
        &["ps"],
        &["run", "--", "true"],
        &["stop", &healthy],
    ] {
        project.run(command).ok();
    }
    for (id, _) in broken {
        project.run(&["show", id]).fails_with(&[id, "damaged"]);
        project
            .run(&["rm", id])
            .fails_with(&[id, "damaged", "rm -f"]);
        project.run(&["stop", id]).fails_with(&[id, "damaged"]);
        let path = sessions.join(format!("{id}.json"));
        assert_eq!(
            files(&sessions)[&path.display().to_string()],
            before[&path.display().to_string()]
        );
    }
    project.run(&["doctor"]).code(1);
    project.run(&["rm", "-f", "cut"]).ok();
    assert!(!sessions.join("cut.json").exists());
}

#[test]
fn records_of_the_original_program_are_listed_and_shown() {
    if alive(999_998) || alive(999_999) {
        return skip("processes have the pids that the samples name");
    }
    let project = Project::new();
    let sessions = project.path().join(".monoco/sessions");
    std::fs::create_dir_all(&sessions).expect("a new directory");
    for entry in std::fs::read_dir(SAMPLES).expect("the samples are checked in") {
        let path = entry.expect("it can be read").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            std::fs::copy(&path, sessions.join(path.file_name().expect("a file"))).expect("room");
        }
    }
    let before = files(&sessions);
    let listing = || {
        project
            .run(&["ps", "-a", "--json", "--no-reconcile"])
            .ok()
            .json()
    };
    let told: Vec<_> = listing()
        .as_array()
        .expect("an array")
        .iter()
        .map(|session| {
            let word = |field: &str| session[field].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {}",
                &word("id")[..8],
                word("issue_id"),
                word("status"),
                word("liveness")
            )
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @"
    a170b338 FEAT-0140 crashed ended
    90c192cf CHORE-0046 terminated ended
    8d116ece NEW_TASK timeout ended
    6b0d549b FEAT-0139 failed ended
    36f675cc FEAT-0138 completed ended
    9531985d FIX-0007 terminated lost
    d23f0824 FEAT-0101 terminated lost
    6513270e FEAT-0101 pending unclaimed
    ");
    for id in project.ids(&["-a", "--no-reconcile"]) {
        let shown = project.run(&["show", &id]).ok().out();
        assert!(shown.contains(&format!(
            "agent/{}",
            project.record(&id)["issue_id"].as_str().expect("text")
        )));
        project.run(&["logs", &id]).ok();
    }
    assert_eq!(files(&sessions), before, "looking changes nothing");
    // What was running without anybody to see its end is settled, the rest is left alone.
    project.run(&["reconcile"]).ok();
    let changed: Vec<_> = files(&sessions)
        .into_iter()
        .filter(|(path, facts)| path.ends_with(".json") && before.get(path) != Some(facts))
        .collect();
    assert_eq!(changed.len(), 2, "{changed:?}");
    for id in [
        "d23f0824-128b-4f33-8c5c-7fd0a6a3a450",
        "9531985d-5d9d-49f8-9818-e811892f902b",
    ] {
        let record = project.record(id);
        assert_eq!(record["status"], "terminated");
        assert_eq!(
            record["outcome"],
            json!({"kind": "lost", "cause": "owner_died"})
        );
        assert!(
            record["pid"].is_i64() && record["branch_name"].is_string(),
            "kept as history"
        );
    }
}

#[test]
fn looking_never_touches_a_living_sessions_files() {
    let project = Project::new();
    let (id, _) = project.start_agent(&["--name", "looked-at"], &["sleep"], 1);
    let before = files(&project.path().join(".monoco"));
    let looks: [&[&str]; 11] = [
        &["ps"],
        &["ps", "-a"],
        &["ps", "--json"],
        &["ps", "-q", "--status", "running"],
        &["show", "looked-at"],
        &["show", "--json", &id],
        &["logs", &id],
        &["reconcile"],
        &["prune"],
        &["doctor", "--fix"],
        &["adopt", "--all"],
    ];
    for look in looks {
        project.run(look).ok();
    }
    project.run(&["wait", "--timeout", "0.1", &id]).code(124);
    let folder_changes = |(path, _): &(String, _)| !path.ends_with("/run");
    let kept = |files: BTreeMap<_, _>| files.into_iter().filter(folder_changes).collect::<Vec<_>>();
    // `doctor` tries whether `run/` can be written, and leaves nothing there.
    assert_eq!(kept(files(&project.path().join(".monoco"))), kept(before));
    assert_eq!(project.status(&id), "running");
}

#[test]
fn without_reconcile_nothing_at_all_is_written() {
    let project = Project::new();
    let (id, agent) = project.orphan(&[], &["sleep"]);
    kill(agent, Signal::KILL);
    wait_until("the agent is dead", || !alive(agent));
    let before = files(project.path());
    for look in [
        &["ps", "--no-reconcile"][..],
        &["ps", "-a", "--no-reconcile"],
        &["show", &id],
        &["reconcile", "--dry-run"],
        &["logs", &id],
        &["prune", "--dry-run"],
    ] {
        project.run(look).ok();
    }
    assert_eq!(files(project.path()), before);
    let planned = project.run(&["reconcile", "--dry-run"]).ok().out();
    assert!(
        planned.contains(&id) && planned.contains("terminated"),
        "{planned}"
    );
    let done = project.run(&["reconcile"]).ok().out();
    assert_eq!(done, planned);
}

#[test]
fn a_manager_that_was_opened_before_sees_what_another_process_starts() {
    let project = Project::new();
    let manager = SessionManager::create(project.path()).expect("a new project");
    assert!(manager.list().expect("a project").sessions.is_empty());
    let id = project.start(&["--issue", "FEAT-9"], &["sleep", "600"]);
    let other = project.start(&[], &["true"]);
    project.run(&["wait", &other]).ok();
    let listing = manager.list_by_issue("FEAT-9").expect("a project");
    assert_eq!(listing.sessions.len(), 1);
    let seen = &listing.sessions[0];
    assert_eq!(
        (seen.session.id.as_str(), &seen.liveness),
        (id.as_str(), &Liveness::Owned)
    );
    assert_eq!(
        seen.session.pid().map(session_core::Pid::get),
        Some(project.agent(&id))
    );
    assert_eq!(
        seen.session.branch_name,
        format!("agent/FEAT-9/{}", &id[..8])
    );
    let mut session = manager.load(&seen.session.id).expect("a session");
    session
        .terminate(Duration::from_secs(5), "a test")
        .expect("its owner does it");
    assert_eq!(project.record(&id)["outcome"]["by"], "a test");
    assert_eq!(manager.list().expect("a project").sessions.len(), 2);
}

#[test]
fn watching_tells_every_change() {
    let project = Project::new();
    let first = project.start(&[], &["sleep", "600"]);
    let mut watcher = project.monoco(&["ps", "-a", "-w", "--json"]);
    let mut watcher = watcher.spawn().expect("executable");
    let stdout = watcher.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(stdout).lines();
    let mut until = |id: &str, status: &str| {
        for line in lines.by_ref() {
            let told: Value =
                serde_json::from_str(&line.expect("text")).expect("an object per line");
            if told["id"] == id && told["status"] == status {
                return;
            }
        }
        panic!("the watcher ended");
    };
    until(&first, "running");
    let second = project.start(&[], &["sleep", "600"]);
    until(&second, "running");
    project.run(&["suspend", &second]).ok();
    until(&second, "suspended");
    // An agent and its owner, with nobody left to write.
    let (supervisor, agent) = (project.supervisor(&first), project.agent(&first));
    kill(supervisor, Signal::STOP);
    wait_until("it stands still", || is_stopped(supervisor));
    kill(agent, Signal::KILL);
    kill(supervisor, Signal::KILL);
    until(&first, "terminated");
    project.run(&["kill", &second]).ok();
    until(&second, "terminated");
    project.run(&["rm", &second]).ok();
    until(&second, "removed");
    watcher.kill().expect("it is ours");
    finish(watcher);
}

#[test]
fn a_hundred_sessions_at_once_are_listed_and_cost_nothing_while_idle() {
    const N: usize = 100;
    let project = Project::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..N / 2).for_each(|_| drop(project.start(&[], &[agent(), "sleep"]))));
        }
    });
    let ids = project.ids(&[]);
    assert_eq!(ids.len(), N);
    let listing = project.run(&["ps", "--json"]).ok().json();
    let all = listing.as_array().expect("an array");
    assert!(
        all.iter()
            .all(|session| session["status"] == "running" && session["liveness"] == "owned")
    );
    let times: Vec<_> = all
        .iter()
        .map(|session| session["created_at"].to_string())
        .collect();
    assert!(
        times.is_sorted_by(|newer, older| newer >= older),
        "{times:?}"
    );
    let supervisors: Vec<_> = ids.iter().map(|id| project.supervisor(id)).collect();
    let agents: Vec<_> = ids.iter().map(|id| project.agent(id)).collect();
    wait_until("every agent sleeps", || {
        ids.iter().all(|id| project.pids(id).len() == 1)
    });
    let switches = || -> u64 { supervisors.iter().map(|pid| context_switches(*pid)).sum() };
    let mut before = 0;
    wait_until("they have come to rest", || {
        std::thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut before, switches()) == before
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(
        switches(),
        before,
        "no context switch of {N} supervisors in 2 s"
    );
    let pss: u64 = supervisors.iter().map(|pid| memory_kb(*pid, "Pss:")).sum();
    note(&format!(
        "{} KiB PSS per supervisor of {N} (this build)",
        pss / N as u64
    ));
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let stopped = project.run(&[&["stop"], &ids[..]].concat()).ok();
    assert_eq!(stopped.out().lines().count(), N);
    monoco_tests::gone(&agents);
    assert_eq!(project.ids(&[]), [""; 0]);
    assert_eq!(project.ids(&["-a", "--status", "terminated"]).len(), N);
    project.wait_until_deserted();
}
