//! Listing: the whole command, beside a loop that only opens, reads and closes.

use std::process::Command;

use monoco_tests::Project;

use crate::floors::Floor;
use crate::measure::{Contender, in_turn, ms};
use crate::peers::{self, ORIGINAL};
use crate::processes::{end_agents, start_sessions, time};
use crate::report::{Growth, Report, Table};
use crate::{Bench, records};

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    let sizes = bench.of(vec![1_000, 10_000, 100_000], vec![1_000, 10_000]);
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for size in sizes {
        let project = records::project_with(size);
        let rounds = bench.of(15, 5);
        wall.push((
            size,
            in_turn(rounds, all(&project, |command| ms(time(command)))),
        ));
        cpu.push((size, in_turn(rounds, all(&project, processor_time))));
    }
    report.growth(&Growth {
        name: "list/wall",
        what: "`ps -a --json`, the whole process; goal ≤ 1.25 × one thread that only reads",
        unit: "ms",
        of: "records",
        rows: wall,
    });
    report.growth(&Growth {
        name: "list/cpu",
        what: "the same in processor time",
        unit: "ms",
        of: "records",
        rows: cpu,
    });
    living(bench, report);
    beside_the_original(bench, report);
}

/// Whoever reads all records of the project.
fn all<'a>(project: &'a Project, measure: fn(Command) -> f64) -> Vec<Contender<'a>> {
    let sessions = project.path().join(".monoco/sessions");
    let sessions = sessions.to_str().expect("a plain path").to_owned();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let read = move |threads: usize| {
        let sessions = sessions.clone();
        Contender::new(format!("read, {threads} thread(s)"), move || {
            measure(Floor::ReadAll.command(&[&sessions, &threads.to_string()]))
        })
    };
    vec![
        read(1),
        read(threads),
        Contender::new("monoco ps -a --json", move || {
            measure(project.monoco(&["ps", "-a", "--json", "--no-reconcile"]))
        }),
    ]
}

/// The processor time of a command, in milliseconds.
fn processor_time(command: Command) -> f64 {
    let before = children();
    time(command);
    children() - before
}

/// The processor time of all children that have ended, in milliseconds.
fn children() -> f64 {
    // SAFETY: a struct of numbers, for which zero is a value.
    #[expect(unsafe_code, reason = "rustix has no getrusage(2)")]
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one struct into the one that is borrowed.
    #[expect(unsafe_code, reason = "rustix has no getrusage(2)")]
    let done = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    assert_eq!(done, 0, "getrusage(2) knows this argument");
    let ms = |time: libc::timeval| time.tv_sec as f64 * 1e3 + time.tv_usec as f64 / 1e3;
    ms(usage.ru_utime) + ms(usage.ru_stime)
}

/// Ten that live, among more and more that have ended.
fn living(bench: &Bench, report: &mut Report) {
    let sizes = bench.of(vec![0, 10_000, 100_000], vec![0, 10_000]);
    let projects: Vec<_> = sizes.iter().map(|n| records::project_with(*n)).collect();
    for project in &projects {
        start_sessions(project, 10);
    }
    let contenders = projects.iter().zip(&sizes).map(|(project, size)| {
        let name = format!("10 living, {size} ended");
        Contender::new(name, || {
            ms(time(project.monoco(&["ps", "--json", "--no-reconcile"])))
        })
    });
    let rows = in_turn(bench.of(50, 10), contenders.collect());
    report.table(&Table {
        name: "list/living",
        what: "`ps` of 10 living sessions among those that have ended",
        unit: "ms",
        floor: 0,
        goal: "≤ 1.2 × with none ended",
        rows,
    });
    end_agents();
}

/// The original writes every record again, in its own way, whenever it lists: it has a
/// project of its own.
fn beside_the_original(bench: &Bench, report: &mut Report) {
    if !peers::installed(ORIGINAL) {
        return;
    }
    let [ours, theirs] = [(); 2].map(|()| records::project_with(1_000));
    let original = || {
        let mut command = Command::new(ORIGINAL);
        command.args(["agent", "session", "list"]);
        // It answers with JSON, and keeps nothing elsewhere.
        command.env("AGENT_FLAG", "true").env("HOME", theirs.path());
        theirs.at_home(command)
    };
    let contenders = vec![
        Contender::new("monoco ps -a --json", || {
            ms(time(ours.monoco(&["ps", "-a", "--json"])))
        }),
        Contender::new(ORIGINAL, || ms(time(original()))),
    ];
    let rows = in_turn(bench.of(15, 5), contenders);
    report.table(&Table {
        name: "list/original",
        what: "1,000 records as JSON, beside the original program",
        unit: "ms",
        floor: 0,
        goal: "",
        rows,
    });
}
