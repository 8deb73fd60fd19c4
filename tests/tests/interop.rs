//! The original Python program and Monoco on one project.
//!
//! Needs a Python that can import it: `pip install pydantic monoco-toolkit==0.3.11`,
//! then set `MONOCO_TEST_PYTHON` to that Python. That Monoco reads what the
//! original wrote is tested without it, from samples.

use std::ffi::OsString;
use std::process::Command;

use monoco_tests::{Project, finish, gone, skip};
use serde_json::{Value, json};

/// Loads every record as the original's model does, and prints what it sees.
const LOAD: &str = r#"
import json, pathlib
from monoco.features.agent.session import Session
for path in sorted(pathlib.Path(".monoco/sessions").glob("*.json")):
    session = Session(**json.loads(path.read_text()))
    print(json.dumps({"id": session.id, "issue_id": session.issue_id, "status": session.status,
                      "role_name": session.role_name, "branch_name": session.branch_name,
                      "pid": session.pid, "created_at": session.created_at.isoformat()}))
"#;

/// Loads them as the original's manager does, which writes each of them again,
/// with the eight fields that it knows.
const MANAGE: &str = r#"
import json, pathlib
from monoco.features.agent.manager import SessionManager
for session in SessionManager(project_root=pathlib.Path(".").absolute()).list_sessions():
    print(json.dumps({"id": session.model.id, "status": session.model.status}))
"#;

/// A Python that can import the original; `None`, told with a SKIPPED line,
/// where none is known.
fn python() -> Option<OsString> {
    let python = std::env::var_os("MONOCO_TEST_PYTHON").filter(|python| !python.is_empty());
    if python.is_none() {
        skip("set MONOCO_TEST_PYTHON to a Python that can import monoco");
    }
    python
}

/// What the original prints, one JSON object per line.
#[track_caller]
fn original(python: OsString, project: &Project, script: &str) -> Vec<Value> {
    let mut command = Command::new(python);
    command.args(["-c", script]);
    let python = project.at_home(command).spawn();
    let ran = finish(python.expect("MONOCO_TEST_PYTHON can be executed")).ok();
    let out = ran.out();
    let objects = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object per line"));
    objects.collect()
}

/// A project with a session of every status that can be brought about.
fn project_with_sessions() -> Project {
    let project = Project::new();
    for agent in [&["true"][..], &["false"], &["sh", "-c", "kill -KILL $$"]] {
        project.run(&[&["run", "--issue", "FEAT-1", "--"], agent].concat());
    }
    project
        .run(&["run", "--timeout", "0.1", "--", "sleep", "600"])
        .code(124);
    project.run(&["run", "--", "no-such-program"]).code(127);
    let stopped = project.start(&["--label", "k=v"], &["sleep", "600"]);
    project.run(&["stop", &stopped]).ok();
    project.start(&["--name", "living"], &["sleep", "600"]);
    let suspended = project.start(&[], &["sleep", "600"]);
    project.run(&["suspend", &suspended]).ok();
    project
}

#[test]
fn the_original_loads_every_record_of_monoco() {
    let Some(python) = python() else { return };
    let project = project_with_sessions();
    let loaded = original(python, &project, LOAD);
    assert_eq!(loaded.len(), 8);
    let mut statuses: Vec<_> = loaded
        .iter()
        .map(|session| session["status"].to_string())
        .collect();
    statuses.sort();
    let expected = [
        "completed",
        "crashed",
        "failed",
        "failed",
        "running",
        "suspended",
        "terminated",
        "timeout",
    ];
    assert_eq!(statuses, expected.map(|status| format!("{status:?}")));
    for session in loaded {
        let record = project.record(session["id"].as_str().expect("text"));
        for field in [
            "issue_id",
            "status",
            "role_name",
            "branch_name",
            "pid",
            "created_at",
        ] {
            assert_eq!(session[field], record[field], "{field}");
        }
    }
}

#[test]
fn a_living_session_survives_that_the_original_rewrites_its_record() {
    let Some(python) = python() else { return };
    let project = project_with_sessions();
    let managed = original(python, &project, MANAGE);
    assert_eq!(managed.len(), 8);
    let living = project
        .run(&["ps", "--json", "--status", "running"])
        .ok()
        .json();
    let id = living[0]["id"].as_str().expect("text").to_owned();
    assert_eq!(living[0]["liveness"], "owned");
    let agent = project.agent(&id);
    project.run(&["stop", &id]).ok();
    gone(&[agent]);
    let record = project.record(&id);
    assert_eq!(
        (&record["status"], &record["name"]),
        (&json!("terminated"), &json!("living"))
    );
    assert_eq!(record["outcome"]["kind"], "stopped");
    let listing = project.run(&["ps", "-a", "--json"]).ok().json();
    let sessions = listing.as_array().expect("an array");
    assert!(
        sessions.len() == 8
            && sessions
                .iter()
                .all(|session| session["status"] != "corrupt")
    );
}
