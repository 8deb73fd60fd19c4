//! What one session costs while it lives: the memory of whoever watches its agent.

use std::thread::sleep;
use std::time::Duration;

use monoco_tests::{Project, memory_kb, memory_kb_if_there, monoco};
use tempfile::TempDir;

use crate::Bench;
use crate::floors::Floor;
use crate::measure::Series;
use crate::peers::{PEERS, Peer};
use crate::processes::{end_agents, executing, linked, start_sessions_by, time};
use crate::report::{Growth, Report, Table};

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    let sizes = bench.of(vec![10, 100, 1_000], vec![10, 100]);
    let rows = sizes.iter().map(|n| {
        let floor = of_floor(*n);
        let ours = linked().map(|linked| of_monoco("static", linked, *n));
        let first = of_monoco("monoco supervisor", monoco(), *n);
        (
            *n,
            [Some(floor), Some(first), ours]
                .into_iter()
                .flatten()
                .collect(),
        )
    });
    report.growth(&Growth {
        name: "memory",
        what: "proportional memory (PSS) of one supervisor; goal ≤ 130 KiB at 100",
        unit: "KiB",
        of: "living sessions",
        rows: rows.collect(),
    });
    let n = bench.of(100, 20);
    let mut rows = vec![of_floor(n), of_monoco("monoco", monoco(), n)];
    rows.extend(linked().map(|linked| of_monoco("monoco, static", linked, n)));
    rows.extend(PEERS.iter().filter_map(|peer| of_peer(peer, n)));
    report.table(&Table {
        name: "memory/peers",
        what: &format!("memory (PSS) per living session, with all that is shared, at {n}"),
        unit: "KiB",
        floor: 0,
        goal: "",
        rows,
    });
}

fn of_monoco(name: &str, program: &str, n: usize) -> Series {
    let project = Project::new();
    start_sessions_by(program, &project, n);
    let series = each(name, &executing(program));
    end_agents();
    series
}

fn of_floor(n: usize) -> Series {
    let directory = TempDir::new().expect("a temporary directory");
    let directory = directory.path().to_str().expect("a plain path");
    for _ in 0..n {
        time(Floor::Supervise.command(&[directory, Floor::Agent.path()]));
    }
    let series = each("C program", &executing(Floor::Supervise.path()));
    end_agents();
    series
}

fn each(name: &str, pids: &[i32]) -> Series {
    let figures = pids.iter().map(|pid| memory_kb(*pid, "Pss:") as f64);
    Series::new(name, figures.collect())
}

/// Everybody whom a peer started, but the agents, divided by their number. `None` for
/// one that keeps agents waiting, and for one of whom nobody stays.
fn of_peer(peer: &'static Peer, n: usize) -> Option<Series> {
    let mut server = peer.serve()?;
    for _ in 0..n {
        time(server.start());
    }
    let all_run = soon(|| executing(Floor::Agent.path()).len() == n);
    let agents = executing(Floor::Agent.path());
    let mut others = server.inhabitants();
    others.retain(|pid| !agents.contains(pid));
    // Some are gone by now.
    let pss = others
        .iter()
        .filter_map(|pid| memory_kb_if_there(*pid, "Pss:"));
    let total = pss.sum::<u64>() as f64;
    (all_run && total > 0.0).then(|| Series::new(peer.name, vec![total / n as f64]))
}

/// Whether `condition` comes to hold within a few seconds.
fn soon(condition: impl Fn() -> bool) -> bool {
    (0..50).any(|_| {
        let holds = condition();
        if !holds {
            sleep(Duration::from_millis(100));
        }
        holds
    })
}
