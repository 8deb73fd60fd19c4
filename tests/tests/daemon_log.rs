//! What an agent printed, over HTTP: any part of it, byte for byte, and while it
//! is being printed.

use std::fs::{self, File};
use std::io::{Read, Write};

use monoco_tests::{ApiAnswer, Daemon, Project, Streamed, agent, finish, memory_kb, wait_until};

/// A session that has ended, whose log holds `bytes`.
fn with_log(project: &Project, bytes: &[u8]) -> String {
    let id = project.start(&[], &["true"]);
    project.run(&["wait", &id]).ok();
    fs::write(project.log_path(&id), bytes).expect("room");
    id
}

fn log(id: &str) -> String {
    format!("/api/v1/sessions/{id}/log")
}

/// The next bytes of a log that is being followed.
fn take(stream: &mut Streamed, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).expect("it comes in time");
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
}

#[test]
fn any_part_of_a_log() {
    let project = Project::new();
    let id = with_log(&project, b"0123456789");
    let daemon = Daemon::start(&project, &[]);
    let whole = daemon.get(&log(&id)).is(200);
    assert_eq!(whole.text(), "0123456789");
    assert_eq!(whole.header("content-length"), Some("10"));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(
        whole.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(whole.header("x-content-type-options"), Some("nosniff"));
    let ranged = |range: &str| daemon.send("GET", &log(&id), &[("Range", range)], b"");
    for (range, part, place) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=-99", "0123456789", "bytes 0-9/10"),
        ("bytes=5-99", "56789", "bytes 5-9/10"),
    ] {
        let answer = ranged(range).is(206);
        assert_eq!(answer.text(), part, "{range}");
        assert_eq!(answer.header("content-range"), Some(place), "{range}");
    }
    for range in ["bytes=10-", "bytes=99-100", "bytes=-0"] {
        let answer = ranged(range);
        assert_eq!(
            answer.header("content-range"),
            Some("bytes */10"),
            "{range}"
        );
        answer.refuses(416, "10 bytes");
    }
    // What is not understood is as if it were not there (RFC 9110, 14.2).
    for range in ["bytes=4-2", "lines=1-2", "bytes=0-1,3-4", "x"] {
        assert_eq!(ranged(range).is(200).text(), "0123456789", "{range}");
    }
    for (query, part) in [
        ("offset=3", "3456789"),
        ("limit=3", "012"),
        ("offset=3&limit=2", "34"),
        ("offset=8&limit=99", "89"),
        ("offset=10", ""),
        ("offset=99", ""),
        ("limit=0", ""),
        ("offset=8&follow=true", "89"),
        ("limit=3&follow=true", "012"),
        ("offset=99&follow=true", ""),
    ] {
        let answer = daemon.get(&format!("{}?{query}", log(&id))).is(200);
        assert_eq!(answer.text(), part, "{query}");
    }
    for query in [
        "offset=-1",
        "limit=x",
        "offset=1&offset=2",
        "page=1",
        "follow=1",
    ] {
        let answer = daemon.get(&format!("{}?{query}", log(&id)));
        answer.refuses(400, "in the query");
    }
    let both = daemon.send("GET", &log(&id), &[("Range", "bytes=0-")], b"");
    assert_eq!(both.status, 206);
    for query in ["offset=1", "limit=1", "follow=true"] {
        let path = format!("{}?{query}", log(&id));
        let both = daemon.send("GET", &path, &[("Range", "bytes=0-")], b"");
        both.refuses(400, "cannot be combined");
    }
    daemon
        .get(&log("no-such-session"))
        .refuses(404, "no-such-session");
    let head = daemon.send("HEAD", &log(&id), &[], b"").is(200);
    assert_eq!(head.header("content-length"), Some("10"));
}

#[test]
fn every_byte_is_as_the_agent_printed_it() {
    let project = Project::new();
    let binary: Vec<u8> = (0..300_000_u32).map(|n| (n * 7 + n / 256) as u8).collect();
    let id = with_log(&project, &binary);
    let empty = with_log(&project, b"");
    let daemon = Daemon::start(&project, &[]);
    assert!(daemon.get(&log(&id)).is(200).body == binary);
    let followed = daemon.get(&format!("{}?follow=true", log(&id)));
    assert!(followed.is(200).body == binary);
    let part = daemon.get(&format!("{}?offset=65535&limit=131073", log(&id)));
    assert!(part.is(200).body == binary[65_535..65_535 + 131_073]);
    assert_eq!(daemon.get(&log(&empty)).is(200).body, b"");
    let ranged = daemon.send("GET", &log(&empty), &[("Range", "bytes=0-")], b"");
    ranged.refuses(416, "0 bytes");
    fs::remove_file(project.log_path(&empty)).expect("it is there");
    assert_eq!(daemon.get(&log(&empty)).is(200).body, b"");
}

#[test]
fn a_log_that_is_compressed_is_the_same() {
    let project = Project::new();
    let text = "The same line again and again.\n".repeat(10_000);
    let id = with_log(&project, text.as_bytes());
    let daemon = Daemon::start(&project, &[]);
    let gzip = [("Accept-Encoding", "gzip")];
    let answer = daemon.send("GET", &log(&id), &gzip, b"").is(200);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert!(answer.body.len() < text.len() / 10);
    assert_eq!(unzipped(&project, &answer), text);
    // A part of it is a part of the text, not of what is sent.
    let range = [("Accept-Encoding", "gzip"), ("Range", "bytes=0-99")];
    let answer = daemon.send("GET", &log(&id), &range, b"").is(206);
    assert_eq!(answer.header("content-encoding"), None);
    assert_eq!(answer.text(), text[..100]);
}

fn unzipped(project: &Project, answer: &ApiAnswer) -> String {
    let mut gzip = project.at_home(std::process::Command::new("gzip"));
    let mut gzip = gzip
        .arg("-dc")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("gzip(1)");
    let mut stdin = gzip.stdin.take().expect("it is piped");
    let body = answer.body.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&body));
    let unzipped = finish(gzip).ok().out();
    writer.join().expect("no panic").expect("it reads");
    unzipped
}

#[test]
fn a_log_of_any_length_costs_little_memory() {
    const LEN: u64 = 200 << 20;
    const MOST_KB: u64 = 8 << 10;
    let project = Project::new();
    let id = with_log(&project, b"");
    let file = File::options()
        .write(true)
        .open(project.log_path(&id))
        .expect("it is there");
    file.set_len(LEN).expect("it is sparse");
    let daemon = Daemon::start(&project, &[]);
    assert_eq!(
        daemon
            .get(&format!("{}?limit=1000000", log(&id)))
            .is(200)
            .body
            .len(),
        1_000_000
    );
    let before = memory_kb(daemon.pid(), "VmHWM:");
    for query in ["", "?follow=true"] {
        let path = format!("{}{query}", log(&id));
        let mut stream = daemon.open("GET", &path, &[], b"");
        let n = std::io::copy(&mut stream, &mut std::io::sink());
        assert_eq!(n.expect("all of it comes"), LEN);
    }
    let after = memory_kb(daemon.pid(), "VmHWM:");
    assert!(after < before + MOST_KB, "{before} KiB, then {after} KiB");
}

#[test]
fn a_log_is_followed_while_it_is_printed() {
    for headers in [&[][..], &[("Accept-Encoding", "gzip, identity")]] {
        let project = Project::new();
        // One for each step: who writes may still have the one before open.
        let script = "echo one; read line < go; echo $line; read line < on; echo $line";
        project.run_shell("mkfifo go on").ok();
        let id = project.start(&[], &["sh", "-c", script]);
        let daemon = Daemon::start(&project, &[]);
        let path = format!("{}?follow=true", log(&id));
        let mut stream = daemon.open("GET", &path, headers, b"");
        assert_eq!(stream.head.header("content-encoding"), None);
        take(&mut stream, "one\n");
        let mut late = daemon.open("GET", &format!("{path}&offset=1&limit=5"), headers, b"");
        take(&mut late, "ne\n");
        let mut ahead = daemon.open("GET", &format!("{path}&offset=8"), headers, b"");
        let say = |to: &str, line: &str| {
            fs::write(project.path().join(to), line).expect("it reads");
        };
        say("go", "two\n");
        take(&mut stream, "two\n");
        take(&mut late, "tw");
        assert_eq!(late.finish().body, b"", "so much and no more");
        say("on", "three\n");
        take(&mut stream, "three\n");
        // From where there was nothing yet.
        take(&mut ahead, "three\n");
        // Both end with the session.
        assert_eq!(stream.finish().body, b"");
        assert_eq!(ahead.finish().body, b"");
        assert_eq!(project.record(&id)["status"], "completed");
        // Of one that has ended, there is all of it, and that is all.
        assert_eq!(daemon.get(&path).is(200).text(), "one\ntwo\nthree\n");
        wait_until("nobody follows any more", || {
            daemon.metric("monoco_followers") == 0
        });
    }
}

#[test]
fn a_log_that_is_emptied_is_followed_from_its_new_beginning() {
    let project = Project::new();
    let script = "echo a long first line; read line < go; echo $line; sleep 600";
    project.run_shell("mkfifo go").ok();
    let id = project.start(&[], &["sh", "-c", script]);
    let daemon = Daemon::start(&project, &[]);
    let mut stream = daemon.open("GET", &format!("{}?follow=true", log(&id)), &[], b"");
    take(&mut stream, "a long first line\n");
    File::create(project.log_path(&id)).expect("it is ours");
    assert_eq!(daemon.get(&log(&id)).is(200).body, b"");
    fs::write(project.path().join("go"), "new\n").expect("it reads");
    take(&mut stream, "new\n");
    project.run(&["kill", &id]).ok();
    assert_eq!(stream.finish().body, b"");
}

#[test]
fn whoever_goes_away_is_not_followed_for() {
    let project = Project::new();
    let (id, _) = project.start_agent(&[], &["sleep"], 1);
    let daemon = Daemon::start(&project, &[]);
    let path = format!("{}?follow=true", log(&id));
    let streams: Vec<_> = (0..5)
        .map(|_| daemon.open("GET", &path, &[], b""))
        .collect();
    let events = daemon.events(None);
    assert_eq!(daemon.metric("monoco_followers"), 6);
    drop(streams);
    drop(events);
    wait_until("they are let go of", || {
        daemon.metric("monoco_followers") == 0
    });
    assert_eq!(project.status(&id), "running");
}

#[test]
fn a_flood_is_followed_whole() {
    let project = Project::new();
    let id = project.start(&[], &[agent(), "print", "20000000", "100"]);
    let daemon = Daemon::start(&project, &[]);
    let followed = daemon.get(&format!("{}?follow=true", log(&id))).is(200);
    assert_eq!(followed.body.len(), 20_000_000);
    assert!(followed.body == project.log(&id));
}
