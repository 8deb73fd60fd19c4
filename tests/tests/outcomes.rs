//! How sessions end: the exit code, in the foreground and through `wait`, and
//! the outcome in the record. Nothing is guessed, and nothing stopped is a success.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use monoco_tests::{Project, Signal, agent, finish, kill};
use serde_json::{Value, json};

/// `agent` in the foreground, detached, and through `wait`.
#[track_caller]
fn check(agent: &[&str], code: i32, status: &str, outcome: &Value) {
    check_with(&[], agent, code, status, outcome);
}

#[track_caller]
fn check_with(options: &[&str], agent: &[&str], code: i32, status: &str, outcome: &Value) {
    let project = Project::new();
    let args = [&["run"], options, &["--"], agent].concat();
    project.run(&args).code(code);
    let id = project.start(options, agent);
    let waited = project.run(&["wait", &id]).code(code);
    assert_eq!(waited.out(), format!("{code}\n"));
    // A second time, when it has ended for long.
    project.run(&["wait", &id]).code(code);
    check_records(&project, 2, status, outcome);
}

#[track_caller]
fn check_records(project: &Project, n: usize, status: &str, outcome: &Value) {
    let ids = project.ids(&["-a"]);
    assert_eq!(ids.len(), n);
    for id in ids {
        project.wait_for_release(&id);
        let record = project.record(&id);
        assert_eq!(record["status"], status, "{record}");
        includes(&record["outcome"], outcome);
        assert!(record["ended_at"].is_string(), "{record}");
    }
}

/// That `found` has all that is in `expected`, and maybe more.
#[track_caller]
fn includes(found: &Value, expected: &Value) {
    match expected {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| includes(&found[name], value)),
        expected => assert_eq!(found, expected),
    }
}

/// An agent that cannot be started, in the foreground and detached: no pid, no
/// log, but a record of the attempt.
#[track_caller]
fn check_unstartable(project: &Project, program: &str, code: i32, reason: &str) {
    let words = [program, reason];
    project.run(&["run", "--", program]).complains(code, &words);
    project
        .run(&["run", "-d", "--", program])
        .complains(code, &words);
    let outcome = json!({"kind": "spawn_failed", "error": format!("{program}: {reason}")});
    check_records(project, 2, "failed", &outcome);
    for id in project.ids(&["-a"]) {
        let record = project.record(&id);
        assert_eq!(record["pid"], Value::Null, "{record}");
        project.run(&["wait", &id]).complains(code, &words);
    }
    assert_eq!(project.ids(&[]), [""; 0], "nothing of it lives");
}

fn file(project: &Project, name: &str, text: &str, mode: u32) -> String {
    let path: PathBuf = project.path().join(name);
    std::fs::write(&path, text).expect("the project can be written");
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(&path, mode).expect("the file is ours");
    path.display().to_string()
}

#[test]
fn true_completes() {
    check(
        &["true"],
        0,
        "completed",
        &json!({"kind": "exited", "code": 0}),
    );
}

#[test]
fn false_fails() {
    check(
        &["false"],
        1,
        "failed",
        &json!({"kind": "exited", "code": 1}),
    );
}

#[test]
fn an_exit_code_is_passed_on() {
    check(
        &["sh", "-c", "exit 7"],
        7,
        "failed",
        &json!({"kind": "exited", "code": 7}),
    );
    check(
        &["sh", "-c", "exit 255"],
        255,
        "failed",
        &json!({"kind": "exited", "code": 255}),
    );
}

#[test]
fn a_segmentation_fault_is_a_crash() {
    let outcome = json!({"kind": "signaled", "signal": 11});
    check(
        &["sh", "-c", "ulimit -c 0; kill -SEGV $$"],
        139,
        "crashed",
        &outcome,
    );
}

#[test]
fn exit_codes_that_mean_something_to_monoco_are_the_agents_own() {
    for code in [124, 125, 126, 127, 143] {
        let script = format!("exit {code}");
        check(
            &["sh", "-c", &script],
            code,
            "failed",
            &json!({"kind": "exited", "code": code}),
        );
    }
}

#[test]
fn a_missing_program_is_not_found() {
    check_unstartable(&Project::new(), "no-such-program", 127, "not found");
    check_unstartable(&Project::new(), "/no/such/program", 127, "not found");
}

#[test]
fn what_may_not_be_executed_is_not_executable() {
    let project = Project::new();
    let program = file(&project, "notes.txt", "not a program\n", 0o644);
    check_unstartable(&project, &program, 126, "permission denied");
}

#[test]
fn a_directory_is_not_executable() {
    check_unstartable(&Project::new(), "/tmp", 126, "permission denied");
}

#[test]
fn a_missing_interpreter_is_not_a_missing_program() {
    let project = Project::new();
    let program = file(&project, "script", "#!/no/such/interpreter\n", 0o755);
    let reason = "the interpreter that its first line names does not exist";
    check_unstartable(&project, &program, 126, reason);
}

#[test]
fn a_script_without_an_interpreter_is_not_executable() {
    let project = Project::new();
    let program = file(&project, "script", "echo hello\n", 0o755);
    let reason = "not a program, nor a script with a `#!` line";
    check_unstartable(&project, &program, 126, reason);
}

#[test]
fn an_empty_command_is_not_found() {
    Project::new()
        .run(&["run", "--", ""])
        .complains(127, &["not found"]);
}

#[test]
fn a_timeout_is_told_with_the_real_wait_status() {
    let outcome =
        |wait_status| json!({"kind": "timed_out", "after_seconds": 1, "wait_status": wait_status});
    let killed = outcome(json!({"kind": "signaled", "signal": 15}));
    check_with(
        &["--timeout", "1"],
        &[agent(), "sleep"],
        124,
        "timeout",
        &killed,
    );
    let exited = outcome(json!({"kind": "exited", "code": 0}));
    check_with(
        &["--timeout", "1"],
        &[agent(), "catch-term", "0"],
        124,
        "timeout",
        &exited,
    );
}

/// `agent` in the foreground and detached with somebody who waits; both are
/// stopped with `options`.
#[track_caller]
fn check_stopped(options: &[&str], verb: &[&str], code: i32, wait_status: &Value) {
    let project = Project::new();
    let (foreground, _) = project.start_in_foreground(verb);
    let (id, _) = project.start_agent(&[], verb, 1);
    let waiter = project.spawn(&["wait", &id]);
    let ids = project.ids(&[]);
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    project.run(&[options, &ids].concat()).ok();
    finish(foreground).code(code);
    finish(waiter).code(code);
    project.run(&["wait", &id]).code(code);
    let outcome = json!({"kind": "stopped", "by": "cli", "wait_status": wait_status});
    check_records(&project, 2, "terminated", &outcome);
}

#[test]
fn what_was_stopped_is_terminated() {
    check_stopped(
        &["stop"],
        &["sleep"],
        143,
        &json!({"kind": "signaled", "signal": 15}),
    );
    check_stopped(
        &["kill"],
        &["sleep"],
        137,
        &json!({"kind": "signaled", "signal": 9}),
    );
}

#[test]
fn an_agent_that_catches_term_and_exits_0_is_terminated_all_the_same() {
    check_stopped(
        &["stop"],
        &["catch-term", "0"],
        143,
        &json!({"kind": "exited", "code": 0}),
    );
}

#[test]
fn an_agent_that_catches_term_and_exits_otherwise_keeps_its_code() {
    check_stopped(
        &["stop"],
        &["catch-term", "3"],
        3,
        &json!({"kind": "exited", "code": 3}),
    );
}

#[test]
fn a_signal_that_was_sent_through_monoco_is_no_crash() {
    let killed = json!({"kind": "signaled", "signal": 10});
    check_stopped(&["kill", "-s", "USR1"], &["sleep"], 138, &killed);
}

#[test]
fn of_several_signals_that_were_sent_through_monoco_none_is_a_crash() {
    let project = Project::new();
    let (id, _) = project.start_agent(&[], &["sleep"], 1);
    // Suspended, it gets both at once, and the one of the lower number first.
    project.run(&["suspend", &id]).ok();
    project.run(&["kill", "-s", "USR1", &id]).ok();
    project.run(&["kill", "-s", "USR2", &id]).ok();
    project.run(&["resume", &id]).ok();
    project.run(&["wait", &id]).code(138);
    let outcome = &project.record(&id)["outcome"];
    assert_eq!(outcome["kind"], "stopped", "{outcome}");
    assert_eq!(outcome["by"], "cli", "{outcome}");
}

#[test]
fn a_signal_from_elsewhere_is_a_crash() {
    let project = Project::new();
    let (foreground, _) = project.start_in_foreground(&["sleep"]);
    let (id, _) = project.start_agent(&[], &["sleep"], 1);
    for id in project.ids(&[]) {
        kill(project.agent(&id), Signal::KILL);
    }
    finish(foreground).code(137);
    project.run(&["wait", &id]).code(137);
    let outcome = json!({"kind": "signaled", "signal": 9, "core_dumped": false});
    check_records(&project, 2, "crashed", &outcome);
}

#[test]
fn wait_exits_with_the_last_code_that_is_not_0() {
    let project = Project::new();
    let [a, b, c] =
        ["exit 3", "exit 4", "exit 0"].map(|code| project.start(&[], &["sh", "-c", code]));
    let waited = project.run(&["wait", &a, &b, &c]).code(4);
    assert_eq!(waited.out(), "3\n4\n0\n");
}

#[test]
fn wait_gives_up_when_its_time_is_up_and_the_session_goes_on() {
    let project = Project::new();
    let (id, _) = project.start_agent(&[], &["sleep"], 1);
    project
        .run(&["wait", "--timeout", "0.1", &id])
        .complains(124, &[&id, "goes on"]);
    assert_eq!(project.status(&id), "running");
}

/// Failures.md's outcome row, small: every exit code exact, every byte there.
#[test]
fn of_200_short_runs_every_exit_code_is_exact_and_every_byte_there() {
    const SCRIPT: &str =
        "echo out $0; echo err $0 >&2; head -c $((1000 + $0)) /dev/zero | tr '\\0' x; exit $0";
    let project = Project::new();
    let run = |n: i32| {
        let code = n % 256;
        let number = code.to_string();
        let expected = format!(
            "out {code}\nerr {code}\n{}",
            "x".repeat(1000 + code as usize)
        );
        let agent = ["sh", "-c", SCRIPT, &number];
        if n % 2 == 0 {
            let ran = project
                .run(&[&["run", "--"], &agent[..]].concat())
                .code(code);
            assert_eq!(ran.out(), expected);
        } else {
            let id = project.start(&[], &agent);
            project.run(&["wait", &id]).code(code);
            assert_eq!(String::from_utf8_lossy(&project.log(&id)), expected);
        }
    };
    std::thread::scope(|scope| {
        for first in 0..2 {
            scope.spawn(move || (first * 100..(first + 1) * 100).for_each(run));
        }
    });
    let listing = project.run(&["ps", "-a", "--json"]).ok().json();
    let sessions = listing.as_array().expect("a listing is an array");
    assert_eq!(sessions.len(), 200);
    for session in sessions {
        let code = session["command"][3]
            .as_str()
            .expect("the script's argument");
        assert_eq!(session["outcome"]["kind"], "exited");
        assert_eq!(session["outcome"]["code"].to_string(), code);
    }
}
