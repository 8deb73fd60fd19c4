//! The daemon among enemies: pages of other sites, other users, clients that lie,
//! that never end and that never read.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use monoco_tests::{
    Answer, PATIENCE, Project, Raw, RawServer, finish, kill, may_open, memory_kb, note, skip,
    token_path, wait_until, works, write_record,
};
use rustix::process::Signal;

const JSON: &str = "Content-Type: application/json";
const SESSIONS: &str = "/api/v1/sessions";
/// Well beyond every deadline for headers and bodies, which are 10 s.
const DEADLINE: Duration = Duration::from_secs(13);
/// Who is nobody everywhere.
const NOBODY: u32 = 65534;

/// A project with a `.monoco`, served.
fn served(options: &[&str]) -> (Project, RawServer) {
    let project = Project::new();
    project.run(&["run", "--", "true"]).ok();
    let server = RawServer::start(&project, options);
    (project, server)
}

/// Whether so many files may be open here as a crowd of clients needs.
fn many_files() -> bool {
    if may_open(4096) {
        return true;
    }
    skip("4096 files cannot be opened here (RLIMIT_NOFILE)");
    false
}

// Names

#[test]
fn a_server_that_is_called_by_another_name_does_not_answer() {
    let (_project, server) = served(&[]);
    let (address, port) = (server.address(), server.address().port());
    let check = |line: &str, hosts: &[&str], expected: u16| {
        for path in [
            "/health",
            "/login/guess",
            SESSIONS,
            "/openapi.json",
            "/none",
        ] {
            let line = line.replace("PATH", path);
            let mut request = format!("{line}\r\n{}\r\n", server.bearer());
            for host in hosts {
                request.push_str(&format!("Host: {host}\r\n"));
            }
            let status = server.send(request + "\r\n").map(|answer| answer.status);
            let allowed = match path {
                "/login/guess" => 403,
                "/none" => 404,
                _ => 200,
            };
            let expected = if expected == 200 { allowed } else { expected };
            assert_eq!(status, Some(expected), "{line} with {hosts:?}");
        }
    };
    let plain = "GET PATH HTTP/1.1";
    for host in ["127.0.0.1", "localhost", "LOCALHOST", "LocalHost", "[::1]"] {
        check(plain, &[&format!("{host}:{port}")], 200);
        check(plain, &[host], 403);
        check(plain, &[&format!("{host}:{}", port ^ 1)], 403);
        check(plain, &[&format!("{host}:0{port}")], 403);
        check(plain, &[&format!("{host}:+{port}")], 403);
    }
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        &format!("127.0.0.1.evil.example:{port}"),
        &format!("localhost.:{port}"),
        &format!("127.1:{port}"),
        &format!("0.0.0.0:{port}"),
        &format!("0:{port}"),
        &format!("2130706433:{port}"),
        &format!("[::ffff:127.0.0.1]:{port}"),
        &format!("::1:{port}"),
        &format!("me@127.0.0.1:{port}"),
        &format!("127.0.0.1:{port}@evil.example"),
        &format!("127.0.0.1:{port}, evil.example"),
        &format!("127.0.0.1:{port}/"),
        &format!("http://127.0.0.1:{port}"),
        "",
        ":",
        "null",
        "\u{e9}vil.example",
    ] {
        check(plain, &[host], 403);
    }
    let own: &str = &address.to_string();
    for hosts in [&[][..], &[own, own], &[own, "evil.example"]] {
        check(plain, hosts, 400);
        check("GET PATH HTTP/1.0", hosts, 400);
    }
    for control in ['\0', '\u{1}', '\u{b}', '\u{7f}', '\r'] {
        check(plain, &[&format!("{address}{control}")], 400);
    }
    check("GET PATH HTTP/1.0", &[own], 200);
    // A whole URL means the host in it, and must not contradict the header.
    check(&format!("GET http://{address}PATH HTTP/1.1"), &[own], 200);
    for url in [
        "http://evil.example".to_owned(),
        format!("http://evil.example:{port}"),
        format!("http://me@{address}"),
        format!("http://{address}@evil.example"),
    ] {
        check(&format!("GET {url}PATH HTTP/1.1"), &[own], 403);
    }
    let line = format!("GET http://{address}PATH HTTP/1.1");
    check(&line, &["evil.example"], 403);
    check(&line, &[], 400);
}

// Other sites

/// The cookie that a browser gets for the printed link.
fn sign_in(server: &RawServer) -> String {
    let link = server.link();
    let answer = server.request(&format!("GET {link}"), &[], "").is(303);
    let cookie = answer.header("set-cookie").expect("a cookie");
    let (pair, attributes) = cookie.split_once("; ").expect("attributes");
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        let mut found = attributes.split("; ");
        assert!(found.any(|found| found == attribute), "{cookie}");
    }
    assert!(!attributes.contains("Domain"), "{cookie}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    format!("Cookie: other=1; {pair}; more=2")
}

/// No other site is ever invited, whatever it asks.
fn is_shut(answer: &Answer) {
    let head = answer.head.to_ascii_lowercase();
    assert!(!head.contains("access-control-"), "{answer}");
    for (name, value) in [
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{answer}");
    }
}

#[test]
fn a_page_of_another_site_changes_nothing() {
    let (project, server) = served(&[]);
    let id = project.ids(&["-a"]).remove(0);
    let path = format!("{SESSIONS}/{id}");
    let (address, port) = (server.address(), server.address().port());
    let own = format!("Origin: http://{address}");
    let bearer = server.bearer();
    let stop = format!("POST {path}/stop");
    let check = |line: &str, headers: &[&str], expected: u16| {
        let body = if line.starts_with("POST") { "{}" } else { "" };
        let answer = server.request(line, headers, body);
        assert_eq!(answer.status, expected, "{line} {headers:?}: {answer}");
        is_shut(&answer);
    };
    check(&stop, &[JSON], 401);
    check(&stop, &[JSON, &own], 401);
    for content_type in [
        "Content-Type: text/plain",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: multipart/form-data; boundary=x",
        "Content-Type: text/json",
        "Content-Type: text/plain; application/json",
        "Content-Type:",
        "X: no type at all",
        "Content-Type: text/plain\r\nContent-Type: application/json",
        "Content-Type: application/jsonp",
    ] {
        check(&stop, &[&bearer, content_type], 415);
        check(&stop, &[content_type], 401);
    }
    let foreign = [
        "Origin: null".to_owned(),
        "Origin:".to_owned(),
        "Origin: http://evil.example".to_owned(),
        format!("Origin: http://evil.example:{port}"),
        format!("Origin: http://127.0.0.1:{}", port ^ 1),
        format!("Origin: http://localhost:{}", port ^ 1),
        "Origin: http://127.0.0.1".to_owned(),
        format!("Origin: http://127.0.0.1:{port}.evil.example"),
        format!("Origin: file://127.0.0.1:{port}"),
        format!("{own}\r\nOrigin: http://evil.example"),
    ];
    let cookie = sign_in(&server);
    for origin in &foreign {
        for line in [&stop, &format!("DELETE {path}"), &format!("GET {path}")] {
            check(line, &[&bearer, JSON, origin], 403);
            check(line, &[&cookie, JSON, origin], 403);
        }
        check("GET /health", &[origin], 403);
        // What a browser asks before it sends what a form cannot.
        let asks = "Access-Control-Request-Method: POST\r\n\
                    Access-Control-Request-Headers: content-type\r\n\
                    Access-Control-Request-Private-Network: true";
        check(&format!("OPTIONS {path}/stop"), &[origin, asks], 403);
    }
    check(&format!("OPTIONS {path}/stop"), &[&own], 401);
    check(&format!("OPTIONS {path}/stop"), &[&own, &bearer], 405);
    check(&stop, &[&bearer, JSON, &own], 200);
    // The cookie is for looking: every port of this host may learn it.
    check(&stop, &[&cookie, JSON, &own], 403);
    check(&stop, &[&cookie, JSON], 403);
    check(&format!("DELETE {path}"), &[&cookie], 403);
    check(&format!("GET {path}"), &[&cookie], 200);
    check(&format!("GET {path}"), &["Cookie: monoco="], 401);
    check(&format!("GET {path}"), &["Cookie: monoco=guess"], 401);
    check(&format!("GET {path}"), &[&cookie.to_ascii_uppercase()], 401);
    // A page of another port is of the same site: the cookie comes with what it
    // embeds, opens, or fetches without asking, and that has no Origin.
    for site in ["same-site", "cross-site", "", "same-origin, none", "bogus"] {
        let site = format!("Sec-Fetch-Site: {site}");
        check(&format!("GET {path}"), &[&cookie, &site], 403);
        check("GET /api/v1/events", &[&cookie, &site], 403);
        check(&stop, &[&cookie, JSON, &own, &site], 403);
        check(&format!("GET {path}"), &[&bearer, &site], 200);
    }
    for site in ["same-origin", "none"] {
        let site = format!("Sec-Fetch-Site: {site}");
        check(&format!("GET {path}"), &[&cookie, &site], 200);
    }
    let link = server.link();
    check(&format!("GET {link}"), &[], 403);
    check("GET /login/%ff%00", &[], 403);
    check(&format!("GET {path}"), &[&cookie], 200);
    assert!(project.record_path(&id).exists());
}

#[test]
fn what_attackers_write_is_never_a_page() {
    let (project, server) = served(&[]);
    let html = "<!doctype html><script>alert(1)</script>";
    let id = project.start(&[], &["printf", "%s", html]);
    project.wait_for_release(&id);
    let answer = server.get(&format!("{SESSIONS}/{id}/log")).is(200);
    assert_eq!(answer.text(), html);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    is_shut(&answer);
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"));
    assert!(policy.contains("frame-ancestors 'none'"));
    for (path, status) in [
        (
            format!("{SESSIONS}/%3Cscript%3E%22%0d%0aX-Evil:%201%3C%2Fscript%3E"),
            400,
        ),
        (format!("{SESSIONS}?%3Cscript%3E=%22"), 400),
        (format!("{SESSIONS}?status=%3Cscript%3E%22"), 400),
        ("/login/%3Cscript%3E".to_owned(), 403),
        ("/%3Cscript%3E".to_owned(), 404),
    ] {
        let answer = server.get(&path).is(status);
        let content_type = answer.header("content-type");
        assert_eq!(content_type, Some("application/problem+json"), "{answer}");
        assert_eq!(answer.json()["status"], status, "{answer}");
        assert_eq!(answer.header("x-evil"), None, "{answer}");
        is_shut(&answer);
    }
}

// Other users

/// Does `work` on a thread that belongs to nobody; `None` where that cannot be.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    if !rustix::process::geteuid().is_root() {
        skip("only root can become another user");
        return None;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Of this thread only: the system call, unlike setuid(3), spares the others.
            let uid = rustix::process::Uid::from_raw(NOBODY);
            rustix::thread::set_thread_uid(uid).expect("root may");
            work()
        });
        Some(thread.join().expect("its checks hold"))
    })
}

#[test]
fn another_user_is_kept_out() {
    let project = Project::new();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let open = |path: &Path, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, mode).expect("it is ours");
    };
    // The directory does not keep them out here, only the socket itself.
    open(folder.path(), 0o755);
    let socket = folder.path().join("socket");
    let server = RawServer::start(&project, &["--unix", &socket.display().to_string()]);
    let ask = |path: &Path| {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // It may be closed before that.
        let _ = write!(
            stream,
            "GET {SESSIONS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        );
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    assert!(ask(&socket).expect("we may").starts_with("HTTP/1.1 200"));
    let checked = as_nobody(|| {
        server.request(&format!("GET {SESSIONS}"), &[], "").is(401);
        std::fs::read(token_path(&project)).expect_err("it is not theirs");
        let refused = ask(&socket).expect_err("the mode keeps them out");
        assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    });
    open(&socket, 0o666);
    as_nobody(|| assert_eq!(ask(&socket).expect("the mode lets them"), ""));
    if checked.is_some() {
        wait_until("it is logged", || {
            server.said().contains("refused another user")
        });
    }
}

#[test]
fn the_token_is_told_to_nobody() {
    for options in [&["-v"][..], &["-v", "--log-format", "json"]] {
        let (project, server) = served(options);
        let token = server.token();
        let mode = std::fs::metadata(token_path(&project)).expect("a file");
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
        // What the agent is given, and what it may reach of the daemon.
        let script = "tr '\\0' '\\n' </proc/self/environ; ls -l /proc/self/fd; sleep 60";
        let body = serde_json::json!({"command": ["sh", "-c", script]}).to_string();
        let started = server.post(SESSIONS, &body).is(201).json();
        let id = started["id"].as_str().expect("an id");
        wait_until("the agent has told all", || {
            project
                .log(id)
                .windows(3)
                .any(|end| end == b"0 -" || end == b" 2 ")
        });
        let cookie = sign_in(&server);
        let wrong = token.replace(&token[..4], "AAAA");
        let mut told = vec![
            server.get(&format!("/%00?{token}=1")).to_string(),
            server.get(&format!("{SESSIONS}?token={token}")).to_string(),
            server.get("/metrics").to_string(),
            server.get("/openapi.json").to_string(),
            server.get(&format!("{SESSIONS}/{id}")).to_string(),
        ];
        for header in [
            format!("Authorization: Bearer {wrong}"),
            format!("Authorization: Basic {token}"),
            format!("Authorization: {token}"),
        ] {
            let answer = server.request(&format!("GET {SESSIONS}"), &[&header], "");
            told.push(answer.is(401).to_string());
        }
        let log = String::from_utf8_lossy(&project.log(id)).into_owned();
        assert!(!log.contains("socket:"), "the agent was given one: {log}");
        told.push(log);
        for pid in project.survivors() {
            for file in ["cmdline", "environ"] {
                let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                told.push(String::from_utf8_lossy(&text).into_owned());
            }
        }
        let said = server.said();
        assert!(said.contains("GET "), "-v tells of requests: {said}");
        let secret = cookie.split(['=', ';']).nth(3).expect("its value");
        assert!(!said.contains(secret), "{said}");
        // The link itself is printed, once, and by then of no use any more.
        assert_eq!(said.matches("/login/").count(), 1, "{said}");
        told.push(said);
        for text in &told {
            assert!(!text.contains(token), "the token is in {text}");
            assert!(
                !text.contains(&wrong),
                "what is nearly the token is in {text}"
            );
        }
    }
}

#[test]
fn a_token_that_others_can_read_is_none() {
    let project = Project::new();
    let path = project.path().join("token");
    std::fs::write(&path, "a-token-of-my-own-0123").expect("a writable project");
    for mode in [0o644, 0o640, 0o604, 0o660] {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("it is ours");
        let ran = project.run(&["serve", "--listen", "127.0.0.1:0", "--token-file", "token"]);
        ran.fails_with(&["can be read by others", "chmod 600"]);
    }
}

// Clients that take their time

#[test]
fn a_thousand_slow_clients_hold_nobody_up() {
    if !many_files() {
        return;
    }
    let (project, server) = served(&[]);
    let quiet = latencies(&server, Duration::from_secs(2));
    let before = server.peak();
    let over = AtomicBool::new(false);
    let slow = std::thread::scope(|scope| {
        let crowd = scope.spawn(|| crowd(&server, &over));
        wait_until("they are all there", || {
            server.metric("monoco_http_connections") >= 900
        });
        let slow = latencies(&server, Duration::from_secs(13));
        let start = Instant::now();
        project.run(&["ps", "-a"]).ok();
        note(&format!("`ps` meanwhile took {:?}", start.elapsed()));
        over.store(true, Ordering::Relaxed);
        let reconnected = crowd.join().expect("the crowd goes home");
        assert!(reconnected > 500, "only {reconnected} were sent away");
        slow
    });
    let (quiet, grown) = (quiet.p99(), server.peak() - before);
    let p99 = slow.p99();
    note(&format!(
        "{} requests beside 1000 slow clients: p99 {p99:?} ({quiet:?} without), {grown} KiB more",
        slow.0.len()
    ));
    // On a machine that is slow by itself, slow is no fault of the crowd.
    assert!(p99 < Duration::from_millis(100).max(quiet * 5), "{p99:?}");
    assert!(grown < 64 << 10, "{grown} KiB");
}

struct Latencies(Vec<Duration>);

impl Latencies {
    fn p99(&self) -> Duration {
        self.0[self.0.len() * 99 / 100]
    }
}

/// Lists the sessions 20 times a second, by turns on a new connection and on one that
/// is kept.
fn latencies(server: &RawServer, time: Duration) -> Latencies {
    let request = server.text(&format!("GET {SESSIONS}"), &[&server.bearer()], "");
    let mut kept = server.connect();
    let mut all = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < time {
        let start = Instant::now();
        let answer = if all.len() % 2 == 0 {
            server.send(&request)
        } else {
            kept.send(&request).expect("it is kept");
            kept.answer()
        };
        answer.expect("an answer").is(200);
        all.push(start.elapsed());
        std::thread::sleep(Duration::from_millis(50).saturating_sub(start.elapsed()));
    }
    all.sort();
    Latencies(all)
}

/// A thousand clients of four kinds, each of which comes again when it is sent away.
/// Returns how often one was.
fn crowd(server: &RawServer, over: &AtomicBool) -> usize {
    let whole = server.text("GET /health", &[], "");
    let enter = |kind: usize| {
        let mut raw = server.connect();
        raw.stream().set_nonblocking(true).expect("any socket can");
        let first = match kind % 4 {
            0 => "",
            1 => "G",
            2 => "GET /health HTTP/1.1\r\nHost: 127",
            _ => &whole,
        };
        // Whoever was sent away meanwhile is found below.
        let _ = raw.send(first);
        raw
    };
    let mut clients: Vec<_> = (0..1000).map(enter).collect();
    let mut reconnected = 0;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_secs(1));
        for (kind, client) in clients.iter_mut().enumerate() {
            let mut buffer = [0; 4096];
            let closed = match client.stream().read(&mut buffer) {
                Ok(n) => n == 0,
                Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
            };
            if closed {
                *client = enter(kind);
                reconnected += 1;
            } else if kind % 4 == 1 {
                let _ = client.send("E");
            }
        }
    }
    reconnected
}

#[test]
fn every_client_has_a_deadline() {
    let (project, server) = served(&[]);
    let id = project.ids(&["-a"]).remove(0);
    let health = server.text("GET /health", &[], "");
    let kept = |rest: &str| {
        let mut raw = server.connect();
        raw.send(&health).expect("it listens");
        raw.answer().expect("an answer").is(200);
        raw.send(rest).expect("it listens");
        raw
    };
    let with = |text: &str| {
        let mut raw = server.connect();
        raw.send(text).expect("it listens");
        raw
    };
    // Sends a byte now and then until it is closed, or answered.
    let dribble = |mut raw: Raw, byte: &str| {
        let start = Instant::now();
        while raw.send(byte).is_ok() && start.elapsed() < DEADLINE {
            if raw.drained(Duration::from_millis(500)).is_some() {
                break;
            }
        }
        raw
    };
    let check = |what: &str, closed: bool, time: Duration| {
        note(&format!("{what}: {time:?}"));
        assert!(closed, "{what} is still there");
        let expected = Duration::from_secs(8)..DEADLINE;
        assert!(expected.contains(&time), "{what}: {time:?}");
    };
    let half_body = format!(
        "POST {SESSIONS}/{id}/stop HTTP/1.1\r\nHost: {}\r\n{}\r\n{JSON}\r\n",
        server.address(),
        server.bearer()
    );
    std::thread::scope(|scope| {
        for (what, mut raw) in [
            ("nothing", with("")),
            ("half a header", with("GET /health HTTP/1.1\r\nHost: 12")),
            ("nothing more", kept("")),
            ("half a second header", kept("GET /health HTTP/1.1\r\nHo")),
        ] {
            scope.spawn(move || {
                let start = Instant::now();
                let closed = raw.drained(DEADLINE).is_some();
                check(what, closed, start.elapsed());
            });
        }
        for (what, raw) in [
            ("a byte at a time", with("GET /health HTTP/1.1\r\nX: ")),
            (
                "a byte at a time, later",
                kept("GET /health HTTP/1.1\r\nX: "),
            ),
        ] {
            scope.spawn(move || {
                let start = Instant::now();
                let mut raw = dribble(raw, "x");
                check(what, raw.drained(DEADLINE).is_some(), start.elapsed());
            });
        }
        for (what, framing, chunk) in [
            (
                "a body without end",
                "Transfer-Encoding: chunked",
                "1\r\n \r\n",
            ),
            ("a body that stops", "Content-Length: 100000", ""),
        ] {
            let mut raw = with(&format!("{half_body}{framing}\r\n\r\n{chunk}"));
            scope.spawn(move || {
                let start = Instant::now();
                let answer = raw.answer().expect("an answer").is(408);
                check(what, true, start.elapsed());
                is_shut(&answer);
                assert!(raw.drained(PATIENCE).is_some(), "it is closed then");
            });
        }
    });
}

// Bodies and framing

#[test]
fn a_body_without_end_costs_nothing() {
    let (project, server) = served(&[]);
    let id = project.ids(&["-a"]).remove(0);
    let before = server.peak();
    let bearer = server.bearer();
    let gibibyte = "Content-Length: 1073741824";
    let chunked = "Transfer-Encoding: chunked";
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for (line, headers, status) in [
        (
            format!("POST {SESSIONS}"),
            vec![gibibyte, JSON, &bearer],
            413,
        ),
        (
            format!("POST {SESSIONS}"),
            vec![chunked, JSON, &bearer],
            413,
        ),
        (
            format!("POST {SESSIONS}/{id}/stop"),
            vec![gibibyte, JSON, &bearer],
            413,
        ),
        (
            format!("POST {SESSIONS}/{id}/stop"),
            vec![chunked, JSON, &bearer],
            413,
        ),
        (format!("POST {SESSIONS}"), vec![gibibyte, JSON], 401),
        (format!("POST {SESSIONS}"), vec![chunked, &bearer], 415),
        // Nobody reads a body there.
        (format!("GET {SESSIONS}"), vec![gibibyte, &bearer], 200),
        (
            format!("DELETE {SESSIONS}/none"),
            vec![chunked, &bearer],
            404,
        ),
        ("GET /health".to_owned(), vec![chunked], 200),
    ] {
        let start = Instant::now();
        let mut raw = server.connect();
        let _ = raw.send(server.text(&line, &headers, ""));
        let mut sent = 0;
        // It stops listening long before that.
        while sent < 1 << 30 && raw.send(&chunk).is_ok() {
            sent += chunk.len();
        }
        let answer = raw.answer().expect("an answer").is(status);
        is_shut(&answer);
        assert!(sent < 64 << 20, "{line} {headers:?}: it took {sent} bytes");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{line}: {:?}",
            start.elapsed()
        );
    }
    // What is announced is enough.
    let start = Instant::now();
    let text = server.text(&format!("POST {SESSIONS}"), &[gibibyte, JSON, &bearer], "");
    server.send(text).expect("an answer").is(413);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let grown = server.peak() - before;
    note(&format!("a GiB, nine times: {grown} KiB more"));
    assert!(grown < 32 << 10, "{grown} KiB");
}

#[test]
fn requests_that_mean_two_things_mean_nothing() {
    let (_project, server) = served(&[]);
    let own = format!("Host: {}\r\n{}", server.address(), server.bearer());
    let check = |request: &str, expected: &[u16]| {
        let mut raw = server.connect();
        let _ = raw.send(request);
        let mut answers = Vec::new();
        while let Some(answer) = raw.answer() {
            answers.push(answer.status);
        }
        assert_eq!(answers, expected, "{}", &request[..request.len().min(300)]);
    };
    let post = format!("POST {SESSIONS} HTTP/1.1\r\n{own}\r\n{JSON}\r\n");
    let get = format!("GET {SESSIONS} HTTP/1.1\r\n{own}\r\n");
    let close = format!("GET /health HTTP/1.1\r\n{own}\r\nConnection: close\r\n\r\n");
    // Of the two lengths the chunks are right (RFC 9112, 6.1), and what comes behind
    // them is not a request: whoever smuggled it gets no answer.
    for both in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        check(&format!("{get}{both}\r\n0\r\n\r\n{close}"), &[200]);
        check(
            &format!("{post}{both}\r\n2\r\n{{}}\r\n0\r\n\r\n{close}"),
            &[400],
        );
    }
    for framing in [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: \r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length : 2\r\n",
        " Content-Length: 2\r\n",
        "X: a\r\n b\r\n",
        "X: a\0b\r\n",
        ": x\r\n",
        "no colon\r\n",
    ] {
        check(&format!("{post}{framing}\r\n{{}}{close}"), &[400]);
    }
    let chunked = "Transfer-Encoding: chunked\r\n";
    for body in [
        "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "-1\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}XX0\r\n\r\n",
        "g\r\n{}\r\n",
        "2\n{}\n0\n\n",
    ] {
        check(&format!("{post}{chunked}\r\n{body}"), &[400]);
    }
    check(
        &format!("POST {SESSIONS} HTTP/1.0\r\n{own}\r\n{JSON}\r\n{chunked}\r\n0\r\n\r\n"),
        &[400],
    );
    // Endless extensions of chunks, or trailers, are not read.
    let extension = format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(1 << 20));
    check(&format!("{post}{chunked}\r\n{extension}"), &[400]);
    let trailers = format!("2\r\n{{}}\r\n0\r\n{}\r\n", "X: x\r\n".repeat(1 << 17));
    check(&format!("{post}{chunked}\r\n{trailers}"), &[400]);
    // Headers have a length, and there are only so many.
    for headers in [
        format!("X: {}\r\n", "x".repeat(1 << 20)),
        "X: x\r\n".repeat(10_000),
        format!("{}: x\r\n", "x".repeat(1 << 20)),
        format!("Cookie: {}\r\n", "monoco=x;".repeat(1 << 15)),
    ] {
        check(&format!("{get}{headers}\r\n"), &[431]);
    }
    let long = "x".repeat(100_000);
    check(&format!("GET /{long} HTTP/1.1\r\n{own}\r\n\r\n"), &[431]);
    // Pipelined garbage ends it, after what was a request.
    check(
        &format!("{get}\r\n\0\u{1}garbage\r\n\r\n{close}"),
        &[200, 400],
    );
    check(&format!("{get}\r\n{get}\r\n{close}"), &[200, 200, 200]);
    check("\u{16}\u{3}\u{1}\0\u{ff}", &[400]);
    check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[]);
    // Nothing is upgraded, traced or tunnelled.
    let one = |line: &str, more: &str| {
        server
            .send(format!("{line} HTTP/1.1\r\n{own}\r\n{more}\r\n"))
            .map(|answer| answer.status)
    };
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(one("GET /health", upgrade), Some(200));
    assert_eq!(one(&format!("TRACE {SESSIONS}"), ""), Some(405));
    assert_eq!(one(&format!("PROPFIND {SESSIONS}"), ""), Some(405));
    assert_eq!(one("CONNECT evil.example:443", ""), Some(403));
    assert_eq!(one(&format!("CONNECT {}", server.address()), ""), Some(404));
    assert_eq!(one("OPTIONS *", ""), Some(404));
    // Who waits to be asked for a body that is too long is not asked.
    let mut raw = server.connect();
    let expect = format!("{post}Expect: 100-continue\r\nContent-Length: 1073741824\r\n\r\n");
    raw.send(expect).expect("it listens");
    raw.answer().expect("an answer").is(413);
    let mut raw = server.connect();
    let expect = format!("{post}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    raw.send(expect).expect("it listens");
    raw.answer().expect("an answer").is(100);
    raw.send("{}").expect("it listens");
    raw.answer().expect("an answer").is(400);
}

#[test]
fn json_that_is_not_what_it_seems() {
    let project = Project::new();
    // Nobody has begun here yet: the first start makes the project.
    let server = RawServer::start(&project, &[]);
    let (id, _) = {
        let body = serde_json::json!({"command": ["sleep", "1000"]}).to_string();
        let started = server.post(SESSIONS, &body).is(201).json();
        (started["id"].as_str().expect("an id").to_owned(), started)
    };
    let stop = format!("{SESSIONS}/{id}/stop");
    let kill = format!("{SESSIONS}/{id}/kill");
    let check = |path: &str, body: &str, status: u16| {
        let answer = server.post(path, body);
        let beginning: String = body.chars().take(100).collect();
        assert_eq!(answer.status, status, "{path} {beginning}: {answer}");
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{answer}");
    };
    for body in [
        "",
        "[]",
        "null",
        "{",
        "{} {}",
        "{\"grace_seconds\":1,\"grace_seconds\":0}",
        "{\"grace_seconds\":1e999}",
        "{\"grace_seconds\":NaN}",
        "{\"grace_seconds\":Infinity}",
        "{\"grace_seconds\":\"1\"}",
        "{\"grace_seconds\":null}",
        "{\"grace\":1}",
        "{\"a\":1}",
        "\u{feff}{}",
        &"[".repeat(100_000),
        &"{\"grace_seconds\":".repeat(50_000),
    ] {
        check(&stop, body, 400);
    }
    for body in [
        "{\"grace_seconds\":-1}",
        "{\"grace_seconds\":-1e-300}",
        "{\"grace_seconds\":1e300}",
        "{\"grace_seconds\":86400.1}",
    ] {
        check(&stop, body, 422);
    }
    for (body, status) in [
        ("{\"signal\":0}", 422),
        ("{\"signal\":-1}", 422),
        ("{\"signal\":65}", 422),
        ("{\"signal\":9.5}", 400),
        ("{\"signal\":99999999999}", 400),
        ("{\"signal\":\"KILL\"}", 400),
    ] {
        check(&kill, body, status);
    }
    for (body, status) in [
        ("{\"command\":[]}", 422),
        ("{\"command\":[\"\"]}", 422),
        ("{\"command\":\"true\"}", 400),
        (
            "{\"command\":[\"true\"],\"command\":[\"sleep\",\"1\"]}",
            400,
        ),
        (
            "{\"command\":[\"true\"],\"labels\":{\"a\":\"1\",\"a\":\"2\"}}",
            400,
        ),
        (
            "{\"command\":[\"true\"],\"env\":{\"A\":\"1\",\"\\u0041\":\"2\"}}",
            400,
        ),
        ("{\"command\":[\"true\"],\"env\":{\"A=B\":\"1\"}}", 422),
        ("{\"command\":[\"true\"],\"env\":{\"A\":\"\\u0000\"}}", 422),
        ("{\"command\":[\"tr\\u0000ue\"]}", 422),
        ("{\"command\":[\"true\"],\"cwd\":\"\\u0000\"}", 422),
        ("{\"command\":[\"true\"],\"name\":\"../x\"}", 422),
        ("{\"command\":[\"true\"],\"issue_id\":\"a b\"}", 422),
        ("{\"command\":[\"true\"],\"project\":\"/\"}", 404),
        ("{\"command\":[\"true\"],\"timeout_seconds\":1e300}", 422),
        ("{\"command\":[\"true\"],\"timeout_seconds\":-0}", 422),
        ("{\"command\":[\"true\"],\"timeout_seconds\":1e-300}", 422),
        ("{\"command\":[\"true\"],\"timeout_seconds\":1e999}", 400),
        ("{\"command\":[\"\\ud800\"]}", 400),
    ] {
        check(SESSIONS, body, status);
    }
    let mut bytes = server.text(
        &format!("POST {stop}"),
        &[&server.bearer(), JSON, "Content-Length: 6"],
        "",
    );
    bytes.push_str("{\"");
    let bytes = [bytes.as_bytes(), b"\xff\":1"].concat();
    server.send(bytes).expect("an answer").is(400);
    assert_eq!(project.status(&id), "running", "nothing of that stopped it");
    server.post(&stop, "{\"grace_seconds\":-0}").is(200);
}

// Ids

#[test]
fn an_id_that_is_none_touches_no_file() {
    let (project, server) = served(&[]);
    let trace = project.state_home().join("trace");
    let strace = works(&["strace", "-V"]).then(|| {
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-qq", "-e", "trace=%file", "-o"])
            .arg(&trace)
            .args(["-p", &server.pid().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        strace.spawn().expect("it is there")
    });
    if strace.is_none() {
        skip("no strace: files that are touched are not seen");
    }
    // Proves that the trace works: a session that is served does touch its files.
    let id = project.ids(&["-a"]).remove(0);
    if strace.is_some() {
        wait_until("strace sees what is opened", || {
            server.get(&format!("{SESSIONS}/{id}/log")).is(200);
            std::fs::read_to_string(&trace).is_ok_and(|seen| seen.contains(&id))
        });
    }
    let seen = || std::fs::read_to_string(&trace).unwrap_or_default();
    let before = seen().len();
    let long = "a".repeat(300);
    for id in [
        "%00",
        "a%00",
        "%2F",
        "..%2f",
        "..%2f..%2fetc%2fpasswd",
        "%252e%252e",
        "..",
        ".",
        "%2e%2e",
        "%ff",
        "%c0%ae%c0%ae",
        "%ed%a0%80",
        "A",
        "%41",
        "-a",
        "_a",
        "a.json",
        "a%20b",
        "a%0ab",
        "%EF%BC%8E",
        "%s%n",
        "~root",
        "*",
        &long,
        "nobody-has-this",
    ] {
        for (method, below, body) in [
            ("GET", "", ""),
            ("GET", "/log", ""),
            ("GET", "/log?follow=true", ""),
            ("DELETE", "", ""),
            ("DELETE", "?force=true", ""),
            ("POST", "/stop", "{}"),
            ("POST", "/kill", "{}"),
            ("POST", "/suspend", "{}"),
            ("POST", "/resume", "{}"),
        ] {
            let line = format!("{method} {SESSIONS}/{id}{below}");
            let answer = server.request(&line, &[&server.bearer(), JSON], body);
            let expected = if id.starts_with("nobody") { 404 } else { 400 };
            assert_eq!(answer.status, expected, "{line}: {answer}");
        }
    }
    for path in ["", "/", "/../x", "//log", "/a/b/c", "/../../../etc/passwd"] {
        let status = server.get(&format!("{SESSIONS}/{path}")).status;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
    let Some(mut strace) = strace else { return };
    kill(strace.id().cast_signed(), Signal::INT);
    strace.wait().expect("it ends");
    let touched = seen()[before..].to_owned();
    assert!(touched.trim().is_empty(), "it touched {touched}");
}

// Clients that do not read

#[test]
fn clients_that_never_read_are_let_go() {
    let (project, server) = served(&[]);
    let path = project.path();
    let id = project.start(
        &[],
        &["sh", "-c", "yes 0123456789 | head -c 100000000; sleep 1000"],
    );
    wait_until("the log is long", || {
        project
            .log_path(&id)
            .metadata()
            .is_ok_and(|log| log.len() == 100_000_000)
    });
    for i in 0..3000 {
        write_record(path, &format!("s{i}"), "first");
    }
    wait_until("all are listed", || {
        server.metric("monoco_changes_total") > 3000
            || server
                .get(&format!("{SESSIONS}?limit=10000"))
                .text()
                .matches("\"first\"")
                .count()
                == 3000
    });
    // The listing is kept from now on: what follows is what the clients cost.
    server.get(&format!("{SESSIONS}?limit=10000")).is(200);
    let before = server.peak();
    let now = memory_kb(server.pid(), "VmRSS:");
    let open = |path: &str| {
        let mut raw = server.connect_with_buffer(4096);
        let text = server.text(&format!("GET {path}"), &[&server.bearer()], "");
        raw.send(text).expect("it listens");
        raw
    };
    let mut never = [
        open("/api/v1/events"),
        open(&format!("{SESSIONS}/{id}/log?follow=true")),
        open(&format!("{SESSIONS}/{id}/log")),
        open(&format!("{SESSIONS}?limit=10000")),
    ];
    let mut slow = open("/api/v1/events");
    let healthy = open("/api/v1/events");
    std::thread::scope(|scope| {
        let healthy = scope.spawn(|| follow(healthy));
        let start = Instant::now();
        for i in 0..20_000 {
            write_record(path, &format!("s{}", i % 3000), &format!("change-{i}"));
        }
        // Only once it is read can it not be forgotten any more.
        write_record(path, "s0", "the-last");
        let wrote = start.elapsed();
        let (events, resyncs) = healthy.join().expect("it has heard of the last");
        note(&format!(
            "20000 changes in {wrote:?}; a client that reads saw {events} events and {resyncs} resyncs"
        ));
        assert!(events + resyncs > 0);
    });
    let resynced = slow.until_one_of(&["event: resync", "\"the-last\""], 2);
    assert!(resynced, "who reads again is told to read everything");
    drop(slow);
    let full = Instant::now();
    wait_until_within("they are let go", Duration::from_secs(30), || {
        server.metric("monoco_http_connections") == 1
    });
    let waited = full.elapsed();
    for raw in &mut never {
        assert!(raw.drained(PATIENCE).is_some_and(|read| read < 8 << 20));
    }
    let grown = server.peak().saturating_sub(before);
    let rss = memory_kb(server.pid(), "VmRSS:");
    note(&format!(
        "gone {waited:?} after the last change; {grown} KiB more at most, {now} to {rss} KiB in the end"
    ));
    assert!(grown < 48 << 10, "{grown} KiB");
    server.get(SESSIONS).is(200);
}

/// Reads events until that of the last change, or a resync after which it is listed.
fn follow(raw: Raw) -> (usize, usize) {
    let mut stream = raw.stream();
    let mut text = Vec::new();
    let (mut events, mut resyncs) = (0, 0);
    loop {
        let mut buffer = vec![0; 256 << 10];
        let n = stream.read(&mut buffer).expect("it goes on");
        assert!(n > 0, "a client that reads is never let go");
        text.extend_from_slice(&buffer[..n]);
        let Some(end) = text.windows(2).rposition(|end| end == b"\n\n") else {
            continue;
        };
        let rest = text.split_off(end);
        let whole = String::from_utf8_lossy(&std::mem::replace(&mut text, rest)).into_owned();
        events += whole.matches("event: upserted").count();
        resyncs += whole.matches("event: resync").count();
        if whole.contains("\"the-last\"") {
            return (events, resyncs);
        }
    }
}

#[track_caller]
fn wait_until_within(what: &str, time: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < time, "not within {time:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn more_clients_than_there_is_room_for() {
    if !many_files() {
        return;
    }
    let (project, server) = served(&[]);
    let follow = server.text("GET /api/v1/events", &[&server.bearer()], "");
    let mut followers: Vec<_> = (0..512).map(|_| server.connect()).collect();
    for follower in &mut followers {
        follower.send(&follow).expect("it listens");
        follower.head().expect("an answer").is(200);
    }
    let refused = server.get("/api/v1/events").is(503);
    is_shut(&refused);
    let id = project.start(&[], &["sleep", "1000"]);
    let path = format!("{SESSIONS}/{id}");
    server.get(&format!("{path}/log?follow=true")).is(503);
    server.get(&format!("{path}/log")).is(200);
    // Connections that do nothing make room; those that are in use do not.
    // Who is asked for its body is being answered.
    let headers = [
        &server.bearer(),
        JSON,
        "Content-Length: 9",
        "Expect: 100-continue",
    ];
    let half = server.text(&format!("POST {path}/resume"), &headers, "");
    let mut busy = Vec::new();
    loop {
        let mut raw = server.connect();
        // It may be closed before that.
        let _ = raw.send(&half);
        let Some(asked) = raw.answer() else { break };
        asked.is(100);
        busy.push(raw);
    }
    assert_eq!(
        busy.len(),
        512,
        "nobody has to go for another, nor is let in"
    );
    project.run(&["stop", &id]).ok();
    for follower in &mut followers[..3] {
        follower.until(&id);
    }
    for raw in &mut busy {
        raw.send("{\"a\":1}  ").expect("it listens");
        raw.answer().expect("whoever is in is answered").is(400);
    }
    server.get("/health").is(200);
}

#[test]
fn changes_that_do_not_end_leave_room_for_others() {
    let (project, server) = served(&[]);
    let script = "trap '' TERM; echo pid 1; while :; do sleep 1; done";
    let id = project.start(&[], &["sh", "-c", script]);
    wait_until("it has no ear for TERM", || !project.log(&id).is_empty());
    let path = format!("{SESSIONS}/{id}");
    // Whom the daemon does not know yet, nobody can stop.
    wait_until("it is served", || server.get(&path).status == 200);
    let body = "{\"grace_seconds\":86400}";
    let stop = server.text(
        &format!("POST {path}/stop"),
        &[&server.bearer(), JSON],
        body,
    );
    let mut clients: Vec<_> = (0..200)
        .map(|_| {
            let mut raw = server.connect();
            raw.send(&stop).expect("it listens");
            raw
        })
        .collect();
    wait_until("more are not taken", || {
        server.post(&format!("{path}/resume"), "{}").status == 503
    });
    // Whoever hangs up has asked all the same.
    clients.drain(..20);
    server.get(&format!("{path}/log")).is(200);
    server.get(SESSIONS).is(200);
    project.run(&["kill", &id]).ok();
    let answers = clients.iter_mut().filter_map(Raw::answer);
    let mut statuses: Vec<_> = answers.map(|answer| answer.status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, [200, 503]);
    wait_until("there is room again", || {
        server.post(&format!("{path}/stop"), "{}").status == 200
    });
}

// Where it listens

#[test]
fn other_machines_are_let_in_by_name_only() {
    let project = Project::new();
    for listen in [
        "0",
        "0x0",
        "0.0.0.0",
        "0.0.0.0:0",
        "::",
        "[::]",
        "[::]:0",
        "*",
        "*:0",
        "127.1",
        "0x7f.1",
        "2130706433",
        "::ffff:0.0.0.0",
        "[::ffff:0:0]:0",
        "::127.0.0.1",
        "192.168.1.7",
        "10.0.0.1:0",
        "169.254.169.254",
        "example.org",
        "localhost.",
        "ip6-localhost",
        "host.docker.internal:0",
        "",
        ":0",
        "127.0.0.1 ",
        "127.0.0.01",
        "fe80::1%lo",
        "http://127.0.0.1",
        "unix:/tmp/x",
    ] {
        for more in [&[][..], &["--allow-remote"], &["--token-file", "token"]] {
            let args = [&["serve", "--listen", listen], more].concat();
            let ran = project.run(&args);
            assert_eq!(ran.code, 2, "{args:?}: {ran}");
        }
    }
    // By name it is done, and said.
    let token = project.path().join("token");
    let all = [
        "serve",
        "--listen",
        "0.0.0.0:0",
        "--allow-remote",
        "--token-file",
        "token",
    ];
    let ran = project.run(&all).code(125);
    assert!(
        ran.err().contains("does not exist"),
        "no token is made: {ran}"
    );
    std::fs::write(&token, "a-token-of-my-own-0123").expect("a writable project");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&token, private).expect("it is ours");
    let mut child = project.spawn(&all);
    let mut line = [0; 64];
    let stdout = child.stdout.as_mut().expect("a pipe");
    let n = stdout.read(&mut line).expect("it says where it listens");
    kill(child.id().cast_signed(), Signal::KILL);
    finish(child).code(137);
    let line = String::from_utf8_lossy(&line[..n]).into_owned();
    assert!(line.starts_with("http://0.0.0.0:"), "{line}");
}

#[test]
fn what_stands_where_the_socket_is_to_be_is_left_alone() {
    let project = Project::new();
    let victim = project.path().join("victim");
    std::fs::write(&victim, "precious").expect("a writable project");
    for (name, what) in [
        ("link", "ln -s victim link"),
        ("dangling", "ln -s nowhere dangling"),
        ("fifo", "mkfifo fifo"),
        ("folder", "mkdir folder"),
        ("file", "echo precious > file"),
        ("a", "ln -s victim a.lock"),
        ("b", "ln -s nowhere b.lock"),
        ("c", "mkfifo c.lock"),
        ("d", "mkdir d.lock"),
    ] {
        project.run_shell(what).ok();
        let before = project
            .run_shell("ls -lR --time-style=full-iso | grep -v lock")
            .ok()
            .out();
        let ran = project.run(&["serve", "--no-tcp", "--unix", name]);
        let ran = ran.fails_with(&[name]);
        let after = project
            .run_shell("ls -lR --time-style=full-iso | grep -v lock")
            .ok()
            .out();
        assert_eq!(after, before, "{what}: {ran}");
    }
    assert_eq!(std::fs::read(&victim).expect("it is there"), b"precious");
    assert!(!project.path().join("nowhere").exists());
}
