//! What sessions cost in which nothing happens.

use std::time::Duration;

use monoco_tests::{Daemon, Project, context_switches, cpu_ticks, monoco};

use crate::Bench;
use crate::measure::Series;
use crate::processes::{end_agents, executing, start_sessions};
use crate::report::{Report, Table};

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    let (n, seconds) = (bench.of(100, 20), bench.of(30, 5));
    let project = Project::new();
    start_sessions(&project, n);
    let daemon = Daemon::start(&project, &[]);
    let events: Vec<_> = (0..100).map(|_| daemon.events(None)).collect();
    // Whatever was begun is done by then.
    std::thread::sleep(Duration::from_secs(2));
    let all = executing(monoco());
    let before = (sum(&all, context_switches), sum(&all, cpu_ticks));
    std::thread::sleep(Duration::from_secs(seconds));
    let after = (sum(&all, context_switches), sum(&all, cpu_ticks));
    drop((events, daemon));
    end_agents();
    let row = |name: &str, figure: u64| Series::new(name, vec![figure as f64]);
    report.table(&Table {
        name: "idle",
        what: &format!("{n} idle sessions, a daemon and 100 event clients for {seconds} s"),
        unit: "all together",
        floor: 0,
        goal: "0 and 0",
        rows: vec![
            row("context switches", after.0 - before.0),
            row("CPU ticks (10 ms)", after.1 - before.1),
        ],
    });
}

fn sum(pids: &[i32], of: fn(i32) -> u64) -> u64 {
    pids.iter().map(|pid| of(*pid)).sum()
}
