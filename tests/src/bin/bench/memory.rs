//! What one session costs while it lives: the memory of whoever watches its agent.

use monoco_tests::{Project, everybody, memory_kb, memory_kb_if_there, monoco};
use tempfile::TempDir;

use crate::Bench;
use crate::floors::Floor;
use crate::measure::Series;
use crate::peers::PEERS;
use crate::processes::{end_agents, executing, start_sessions, time};
use crate::report::{Growth, Report, Table};

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    let sizes = bench.of(vec![10, 100, 1_000], vec![10, 100]);
    let rows = sizes.iter().map(|n| {
        let floor = of_floor(*n);
        (*n, vec![floor, of_monoco(*n)])
    });
    report.growth(&Growth {
        name: "memory",
        what: "proportional memory (PSS) of one supervisor; goal ≤ 130 KiB at 100",
        unit: "KiB",
        of: "living sessions",
        rows: rows.collect(),
    });
    let n = bench.of(100, 20);
    let mut rows = vec![of_floor(n), of_monoco(n)];
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

fn of_monoco(n: usize) -> Series {
    let project = Project::new();
    start_sessions(&project, n);
    let series = each("monoco supervisor", &executing(monoco()));
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

/// Everything that a peer added to the system, but the agents, divided by their number.
fn of_peer(peer: &'static crate::peers::Peer, n: usize) -> Option<Series> {
    let before = everybody(|_| true);
    let mut server = peer.serve()?;
    for _ in 0..n {
        time(server.start());
    }
    let agents = executing(Floor::Agent.path());
    let new = everybody(|pid| !before.contains(&pid) && !agents.contains(&pid));
    // Some are gone by now.
    let pss = new
        .iter()
        .filter_map(|pid| memory_kb_if_there(*pid, "Pss:"));
    let total = pss.sum::<u64>() as f64;
    let running = agents.len();
    drop(server);
    end_agents();
    // One that keeps them waiting has none to watch.
    (running == n).then(|| Series::new(peer.name, vec![total / n as f64]))
}
