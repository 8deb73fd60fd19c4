//! The daemon: how soon it is there, what it holds, how soon it tells, how fast it lists.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use monoco_tests::{Daemon, Project, RawServer, kill, memory_kb, sibling};
use session_core::{Session, SessionId};
use tempfile::TempDir;

use crate::client::Target;
use crate::floors::Floor;
use crate::measure::{Contender, Series, in_turn, ms, timed};
use crate::processes::{end_agents, start_sessions, time};
use crate::report::{Growth, Report, Table};
use crate::{Bench, records};

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    start_up(bench, report);
    with_living(bench, report);
    events(bench, report);
    listing(bench, report);
}

/// From the command to its address, which it says when it has read everything.
fn start_up(bench: &Bench, report: &mut Report) {
    let sizes = bench.of(vec![1_000, 10_000, 100_000], vec![1_000, 10_000]);
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for size in sizes {
        let project = records::project_with(size);
        let sessions = project.path().join(".monoco/sessions");
        let sessions = sessions.to_str().expect("a plain path");
        let mut pss = Vec::new();
        let rounds = bench.of(7, 3);
        let contenders = vec![
            Contender::new("read, 1 thread", || {
                ms(time(Floor::ReadAll.command(&[sessions, "1"])))
            }),
            Contender::new("monoco serve", || {
                let mut daemon = None;
                let took = timed(|| daemon = Some(Daemon::start(&project, &[])));
                pss.push(daemon.map_or(0.0, |daemon| memory_kb(daemon.pid(), "Pss:") as f64));
                ms(took)
            }),
        ];
        times.push((size, in_turn(rounds, contenders)));
        memory.push((size, vec![Series::new("monoco serve", pss)]));
    }
    report.growth(&Growth {
        name: "daemon/start-up",
        what: "until it serves",
        unit: "ms",
        of: "records",
        rows: times,
    });
    report.growth(&Growth {
        name: "daemon/memory",
        what: "its memory (PSS) after that",
        unit: "KiB",
        of: "records",
        rows: memory,
    });
}

fn with_living(bench: &Bench, report: &mut Report) {
    let sizes = bench.of(vec![10, 100, 1_000], vec![10, 100]);
    let rows = sizes.iter().map(|n| {
        let project = Project::new();
        start_sessions(&project, *n);
        let daemon = Daemon::start(&project, &[]);
        let pss = || vec![memory_kb(daemon.pid(), "Pss:") as f64];
        let alone = Series::new("monoco serve", pss());
        let events: Vec<_> = (0..100).map(|_| daemon.events(None)).collect();
        let with_clients = Series::new("with 100 event clients", pss());
        drop((events, daemon));
        end_agents();
        (*n, vec![alone, with_clients])
    });
    report.growth(&Growth {
        name: "daemon/living",
        what: "its memory (PSS) with living sessions; goal ≤ 7 MB at 1,000",
        unit: "KiB",
        of: "living sessions",
        rows: rows.collect(),
    });
}

/// From a record's change to its event at a client.
fn events(bench: &Bench, report: &mut Report) {
    let sizes = bench.of(vec![100, 1_000, 10_000], vec![100, 1_000]);
    let (mut rows, mut worst) = (Vec::new(), Vec::new());
    for size in sizes {
        let project = records::project_with(size);
        let sessions = project.path().join(".monoco/sessions");
        let daemon = Daemon::start(&project, &[]);
        let mut events = daemon.events(None);
        let delays = (0..bench.of(500, 100)).map(|n| {
            let session = changed(n % size, n);
            let start = Instant::now();
            records::write(&sessions, &session);
            let role = session.role_name.as_str();
            events.until_such(|event| event.data["role_name"] == role);
            // Each change is by itself.
            let took = ms(start.elapsed());
            std::thread::sleep(Duration::from_millis(2));
            took
        });
        let delays = Series::new("median", delays.collect());
        worst.push(Series::new("p99", vec![delays.quantile(0.99)]));
        rows.push((size, vec![delays]));
    }
    for (row, worst) in rows.iter_mut().zip(worst) {
        row.1.push(worst);
    }
    report.growth(&Growth {
        name: "daemon/events",
        what: "from a record's change to its event at a client; goal: p99 ≤ 10 ms",
        unit: "ms",
        of: "records",
        rows,
    });
}

/// A session that ended, in a role that says which change this is.
fn changed(number: usize, change: usize) -> Session {
    let mut session = records::ended(number);
    session.role_name = format!("change-{change}");
    session
}

/// Listing 10,000 sessions, beside a server that has nothing else to do.
fn listing(bench: &Bench, report: &mut Report) {
    let n = bench.of(10_000, 1_000);
    let project = records::project_with(n);
    let sessions = project.path().join(".monoco/sessions");
    let server = RawServer::start(&project, &[]);
    let path = format!("/api/v1/sessions?limit={n}");
    let ours = Target::new(server.address(), &path, server.token());
    let body = ours.connect().get().to_vec();
    let directory = TempDir::new().expect("a temporary directory");
    let file = directory.path().join("body.json");
    std::fs::write(&file, body).expect("room for the body");
    let floor = FloorServer::start(file.to_str().expect("a plain path"));
    let prebuilt = Target::new(floor.address, "/prebuilt", "");
    let serialised = Target::new(floor.address, "/serialised", "");
    let rows = in_turn(
        bench.of(5, 2),
        vec![
            Contender::new("axum, prebuilt body", || prebuilt.per_second()),
            Contender::new("monoco serve, unchanged", || ours.per_second()),
            Contender::new("axum, one serialisation", || serialised.per_second()),
        ],
    );
    report.table(&Table {
        name: "daemon/listing",
        what: &format!("requests a second for all {n} sessions, on two connections"),
        unit: "per second",
        floor: 0,
        goal: "≥ 0.9 × axum with a prebuilt body",
        rows,
    });
    let mut change = 0;
    let mut client = ours.connect();
    let one = |id: &SessionId| {
        Target::new(
            server.address(),
            &format!("/api/v1/sessions/{id}"),
            server.token(),
        )
    };
    let mut other = serialised.connect();
    let rows = in_turn(
        bench.of(50, 10),
        vec![
            Contender::new("axum, one serialisation", || ms(timed(|| other.answer()))),
            Contender::new("monoco serve, just changed", || {
                change += 1;
                let session = changed(change % n, change);
                records::write(&sessions, &session);
                let (one, role) = (one(&session.id), session.role_name.as_bytes());
                let mut looking = one.connect();
                while !looking.get().windows(role.len()).any(|part| part == role) {}
                ms(timed(|| client.answer()))
            }),
        ],
    );
    report.table(&Table {
        name: "daemon/changed",
        what: &format!("the first request for all {n} sessions after one has changed"),
        unit: "ms",
        floor: 0,
        goal: "≤ 1.1 × axum with one serde_json serialisation",
        rows,
    });
}

/// `floor-http`, until it is dropped.
struct FloorServer {
    child: Child,
    address: SocketAddr,
}

impl FloorServer {
    fn start(file: &str) -> Self {
        let mut child = Command::new(sibling("floor-http"))
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it is built with the benchmark");
        let stdout = child.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let address = line.trim().parse().expect("an address");
        Self { child, address }
    }
}

impl Drop for FloorServer {
    fn drop(&mut self) {
        kill(self.child.id().cast_signed(), monoco_tests::Signal::KILL);
        // It was killed; how it ended is known.
        let _ = self.child.wait();
    }
}
