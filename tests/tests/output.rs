//! What agents print, on its way to the log, to followers and to terminals.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use monoco_tests::{
    PATIENCE, Project, Terminal, agent, alive, cpu_ticks, finish, gone, memory_kb, stays,
    wait_until,
};

/// A session that prints `first`, waits until [`go_on`], and does `rest`.
fn start_in_two_parts(project: &Project, rest: &str) -> String {
    let script = format!("mkfifo go && echo first && read _ < go; {rest}");
    let id = project.start(&[], &["sh", "-c", &script]);
    wait_until("it waits", || project.log(&id) == b"first\n");
    id
}

fn go_on(project: &Project) {
    std::fs::write(project.path().join("go"), "\n").expect("somebody reads it");
}

#[test]
fn stdout_and_stderr_are_in_the_log_in_order() {
    let project = Project::new();
    let script = "i=0; while [ $i -lt 300 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let expected: String = (0..300).map(|i| format!("out {i}\nerr {i}\n")).collect();
    let ran = project.run(&["run", "--", "sh", "-c", script]).ok();
    assert_eq!(ran.out(), expected);
    let ids = project.ids(&["-a"]);
    assert_eq!(project.run(&["logs", &ids[0]]).ok().out(), expected);
    assert_eq!(String::from_utf8_lossy(&project.log(&ids[0])), expected);
}

#[test]
fn logs_prints_the_last_lines() {
    let project = Project::new();
    let id = project.start(&[], &["printf", "one\\ntwo\\nthree"]);
    project.run(&["wait", &id]).ok();
    for (n, expected) in [
        ("0", ""),
        ("1", "three"),
        ("2", "two\nthree"),
        ("9", "one\ntwo\nthree"),
    ] {
        assert_eq!(project.run(&["logs", "-n", n, &id]).ok().out(), expected);
        assert_eq!(
            project.run(&["logs", "-f", "-n", n, &id]).ok().out(),
            expected
        );
    }
}

#[test]
fn a_follower_sees_all_and_ends_with_its_session() {
    let project = Project::new();
    let id = start_in_two_parts(&project, "echo last; printf end");
    let follower = project.spawn(&["logs", "-f", &id]);
    let late = project.spawn(&["logs", "-f", "-n", "0", &id]);
    stays("they wait", Duration::from_millis(200), || {
        alive(follower.id().cast_signed())
    });
    assert!(alive(late.id().cast_signed()));
    go_on(&project);
    assert_eq!(finish(follower).ok().out(), "first\nlast\nend");
    assert_eq!(finish(late).ok().out(), "last\nend");
}

#[test]
fn a_follower_ends_with_a_session_that_is_stopped() {
    let project = Project::new();
    let (id, pids) = project.start_agent(&[], &["sleep"], 1);
    let follower = project.spawn(&["logs", "-f", &id]);
    project.run(&["stop", &id]).ok();
    assert_eq!(finish(follower).ok().out(), format!("pid {}\n", pids[0]));
}

#[test]
fn a_follower_costs_nothing_while_nothing_is_printed() {
    let project = Project::new();
    let (id, _) = project.start_agent(&[], &["sleep"], 1);
    let follower = project.spawn(&["logs", "-f", &id]);
    let pid = follower.id().cast_signed();
    let switches = || monoco_tests::context_switches(pid);
    let mut before = 0;
    wait_until("it has come to rest", || {
        std::thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut before, switches()) == before
    });
    stays("it sleeps", Duration::from_millis(500), || {
        switches() == before
    });
    project.run(&["kill", &id]).ok();
    finish(follower).ok();
}

#[test]
fn a_piped_stdin_reaches_the_agent_in_the_foreground() {
    let project = Project::new();
    let input: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    let mut cat = project.monoco(&["run", "--", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).spawn().expect("executable");
    let mut stdin = cat.stdin.take().expect("it is piped");
    stdin
        .write_all(input.as_bytes())
        .expect("somebody reads it");
    drop(stdin);
    assert_eq!(finish(cat).ok().out(), input);
}

#[test]
fn a_detached_session_leaves_the_stdin_of_its_launcher_alone() {
    let project = Project::new();
    let script =
        "printf 'a\\nb\\n' | { id=$(\"$monoco\" run -d -- cat); \"$monoco\" wait $id; cat; }";
    assert_eq!(project.run_shell(script).ok().out(), "0\na\nb\n");
    let Some(terminal) = Terminal::open(&project, "exec \"$monoco\" run -d -- cat") else {
        return;
    };
    let id = terminal.finish().ok().out().trim().to_owned();
    project.run(&["wait", &id]).ok();
    assert_eq!(project.log(&id), b"");
}

#[test]
fn a_detached_session_holds_nothing_of_its_launcher_open() {
    // The harness demands it of every command: nobody holds its output.
    let project = Project::new();
    let script = "id=$(\"$monoco\" run -d -- \"$agent\" sleep) && echo $id";
    let id = project.run_shell(script).ok().out().trim().to_owned();
    assert_eq!(project.status(&id), "running");
}

#[test]
fn an_agent_that_closes_its_output_lives_on_and_costs_nothing() {
    let project = Project::new();
    let id = project.start(
        &[],
        &["sh", "-c", "echo pid $$; exec >&- 2>&-; exec sleep 600"],
    );
    wait_until("it told its pid", || project.pids(&id).len() == 1);
    let supervisor = project.supervisor(&id);
    let before = cpu_ticks(supervisor);
    stays("it runs", Duration::from_millis(300), || {
        project.status(&id) == "running"
    });
    assert!(cpu_ticks(supervisor) - before <= 1, "no busy loop");
    project.run(&["stop", &id]).ok();
    gone(&project.pids(&id));
}

/// The most memory, in KiB, that `monoco` with `args` takes to print `len` bytes.
fn memory_to_print(project: &Project, args: &[&str], len: usize) -> u64 {
    let mut child = project
        .monoco(args)
        .stderr(Stdio::inherit())
        .spawn()
        .expect("executable");
    let mut stdout = child.stdout.take().expect("it is piped");
    // All but the last 100 kB: more than a pipe holds, so it has not ended.
    let mut bytes = vec![0; len - 100_000];
    stdout.read_exact(&mut bytes).expect("it prints so much");
    assert!(bytes.iter().all(|byte| matches!(byte, b'x' | b'\n')));
    let memory = memory_kb(child.id().cast_signed(), "VmHWM:");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("it prints the rest");
    assert_eq!(rest.len(), 100_000);
    finish(child).ok();
    memory
}

/// 50 MB in lines of `line` bytes: all there, and nobody keeps them in memory.
fn check_much(line: &str) {
    const LEN: usize = 50_000_000;
    const BOUND: u64 = 16 << 10;
    let project = Project::new();
    let len = LEN.to_string();
    let foreground = ["run", "--", agent(), "print", &len, line];
    let id = project.start(&[], &foreground[2..]);
    let supervisor = project.supervisor(&id);
    let follow = memory_to_print(&project, &["logs", "-f", &id], LEN);
    assert!(!alive(supervisor) || memory_kb(supervisor, "VmHWM:") < BOUND);
    project.run(&["wait", &id]).ok();
    let whole = memory_to_print(&project, &["logs", &id], LEN);
    let tail = memory_to_print(&project, &["logs", "-n", "99999999", &id], LEN);
    let streamed = memory_to_print(&project, &foreground, LEN);
    for memory in [follow, whole, tail, streamed] {
        assert!(
            memory < BOUND,
            "{memory} KiB for {LEN} bytes in lines of {line}"
        );
    }
}

#[test]
fn much_output_takes_little_memory() {
    check_much("80");
}

#[test]
fn a_line_without_end_takes_little_memory() {
    check_much("99999999999");
}

#[test]
fn a_log_that_was_deleted_harms_nobody() {
    let project = Project::new();
    let id = start_in_two_parts(&project, "echo last; exit 4");
    std::fs::remove_file(project.log_path(&id)).expect("there is a log");
    let follower = project.spawn(&["logs", "-f", &id]);
    go_on(&project);
    project.run(&["wait", &id]).code(4);
    project.wait_for_release(&id);
    assert_eq!(project.status(&id), "failed");
    finish(follower).ok();
    let ran = project.run(&["logs", &id]).ok();
    assert!(ran.err().contains("no log"), "{ran}");
    project.run(&["rm", &id]).ok();
}

#[test]
fn a_log_that_was_emptied_is_followed_on() {
    let project = Project::new();
    let id = start_in_two_parts(&project, "echo last");
    let mut follower = project.spawn(&["logs", "-f", &id]);
    let mut first = [0; 6];
    let stdout = follower.stdout.as_mut().expect("it is piped");
    stdout
        .read_exact(&mut first)
        .expect("the follower prints the log");
    std::fs::write(project.log_path(&id), "").expect("there is a log");
    go_on(&project);
    assert_eq!(finish(follower).ok().out(), "last\n");
}

const NASTY: &str =
    "\\033[31mred\\033[0m \\033[2J\\033]0;title\\007 \\033[6n \\233A back\\b\\b end\\r\\n";

#[test]
fn escape_codes_do_not_reach_a_terminal_and_colours_do() {
    let project = Project::new();
    let id = project.start(&["--name", "nasty"], &["printf", NASTY]);
    project.run(&["wait", &id]).ok();
    let raw = project.run(&["logs", &id]).ok().stdout;
    assert_eq!(raw, project.log(&id), "a pipe gets what was printed");
    assert!(raw.windows(4).any(|bytes| bytes == b"\x1b[2J"));
    let in_foreground = format!("\"$monoco\" run -- printf '{NASTY}'");
    for script in [
        "\"$monoco\" logs nasty",
        "\"$monoco\" logs -f nasty",
        &in_foreground,
    ] {
        let Some(terminal) = Terminal::open(&project, script) else {
            return;
        };
        let shown = terminal.finish().ok().out();
        assert!(shown.contains("\u{1b}[31mred\u{1b}[0m"), "{shown:?}");
        assert!(shown.contains("^[[2J^[]0;title^G ^[[6n"), "{shown:?}");
        assert!(!shown.contains(['\u{8}', '\u{7}', '\u{9b}']), "{shown:?}");
        assert_eq!(shown.matches('\u{1b}').count(), 2, "{shown:?}");
    }
    let Some(terminal) = Terminal::open(&project, "\"$monoco\" logs --raw nasty") else {
        return;
    };
    assert!(terminal.finish().ok().out().contains("\u{1b}[2J"));
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let project = Project::new();
    let id = project.start(&[], &[agent(), "print", "5000000", "80"]);
    project.run(&["wait", &id]).ok();
    let script = format!("{{ \"$monoco\" logs {id}; echo code $? >&2; }} | head -n 1");
    let ran = project.run_shell(&script).ok();
    assert_eq!(ran.err(), "code 0\n");
}

#[test]
fn a_follower_whose_reader_has_gone_ends() {
    let project = Project::new();
    let (id, _) = project.start_agent(&[], &["sleep"], 1);
    let mut follower = project.spawn(&["logs", "-f", &id]);
    drop(follower.stdout.take());
    let start = std::time::Instant::now();
    finish(follower).ok();
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(project.status(&id), "running");
}
