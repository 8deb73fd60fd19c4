//! Starting a detached session: from the command to its return, when the agent was
//! executed and the record that says so is durable.

use std::fs::OpenOptions;
use std::io::Read;
use std::process::Command;

use monoco_tests::{Project, monoco};
use tempfile::TempDir;

use crate::floors::Floor;
use crate::measure::{Contender, in_turn, ms};
use crate::peers::PEERS;
use crate::processes::{end_agents, linked, start_by, start_sessions, time};
use crate::report::{Growth, Report, Table};
use crate::{Bench, records};

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    detached(bench, report);
    first_instruction(bench, report);
    let alive = bench.of(vec![0, 10, 100, 1_000], vec![0, 10, 100]);
    with_more(
        bench,
        report,
        "start/alive",
        "living sessions",
        &alive,
        |n| {
            let project = Project::new();
            start_sessions(&project, n);
            project
        },
    );
    let recorded = bench.of(vec![0, 1_000, 10_000, 100_000], vec![0, 1_000, 10_000]);
    with_more(
        bench,
        report,
        "start/recorded",
        "recorded sessions",
        &recorded,
        records::project_with,
    );
}

/// `setsid -f`, with nothing to read and nowhere to write.
fn setsid(arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "exec setsid -f \"$@\" </dev/null >/dev/null 2>&1",
        "sh",
    ]);
    command.arg(Floor::Agent.path()).args(arguments);
    command
}

fn supervise(directory: &TempDir, arguments: &[&str]) -> Command {
    let directory = directory.path().to_str().expect("a plain path");
    Floor::Supervise.command(&[&[directory, Floor::Agent.path()], arguments].concat())
}

/// The same with all files that Monoco makes.
fn supervise_with_all_files(directory: &TempDir) -> Command {
    let directory = directory.path().to_str().expect("a plain path");
    Floor::Supervise.command(&["-a", directory, Floor::Agent.path()])
}

fn detached(bench: &Bench, report: &mut Report) {
    let directory = TempDir::new().expect("a temporary directory");
    let project = Project::new();
    let mut contenders = vec![
        Contender::new("C program (supervise)", || {
            ms(time(supervise(&directory, &[])))
        }),
        Contender::new("the same, all files", || {
            ms(time(supervise_with_all_files(&directory)))
        }),
        Contender::new("setsid -f", || ms(time(setsid(&[])))),
        Contender::new("monoco run -d", || {
            ms(time(start_by(monoco(), &project, &[])))
        }),
    ];
    if let Some(linked) = linked() {
        let project = &project;
        contenders.push(Contender::new("monoco, static", move || {
            ms(time(start_by(linked, project, &[])))
        }));
    }
    for peer in PEERS {
        if let Some(mut server) = peer.serve() {
            contenders.push(Contender::new(peer.name, move || ms(time(server.start()))));
        }
    }
    let rows = in_turn(bench.of(50, 10), contenders);
    report.table(&Table {
        name: "start",
        what: "a detached start, from the command to its return",
        unit: "ms",
        floor: 0,
        goal: "≤ 1.5 × the C program",
        rows,
    });
    end_agents();
}

fn first_instruction(bench: &Bench, report: &mut Report) {
    let directory = TempDir::new().expect("a temporary directory");
    let project = Project::new();
    let fifo = directory.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).expect("a FIFO");
    // Open for writing as well: it has no end between two agents.
    let mut ear = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo)
        .expect("a FIFO");
    let mut ear = move || {
        let mut nanoseconds = [0; 8];
        ear.read_exact(&mut nanoseconds)
            .expect("the agent says when it began");
        i64::from_ne_bytes(nanoseconds)
    };
    let fifo = fifo.to_str().expect("a plain path");
    let ear = std::cell::RefCell::new(&mut ear);
    let until_begun = |command: Command| {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let start = now.tv_sec * 1_000_000_000 + now.tv_nsec;
        time(command);
        ((ear.borrow_mut())() - start) as f64 / 1e6
    };
    let mut contenders = vec![
        Contender::new("setsid -f", || until_begun(setsid(&[fifo]))),
        Contender::new("C program (supervise)", || {
            until_begun(supervise(&directory, &[fifo]))
        }),
        Contender::new("monoco run -d", || {
            until_begun(start_by(monoco(), &project, &[fifo]))
        }),
    ];
    if let Some(linked) = linked() {
        let (project, until_begun) = (&project, &until_begun);
        contenders.push(Contender::new("monoco, static", move || {
            until_begun(start_by(linked, project, &[fifo]))
        }));
    }
    let rows = in_turn(bench.of(50, 10), contenders);
    report.table(&Table {
        name: "start/first-instruction",
        what: "from the command to the agent's first instruction",
        unit: "ms",
        floor: 0,
        goal: "≤ 1.5 × setsid -f",
        rows,
    });
    end_agents();
}

/// Starts in projects that already have more and more sessions.
fn with_more(
    bench: &Bench,
    report: &mut Report,
    name: &str,
    of: &str,
    sizes: &[usize],
    make: fn(usize) -> Project,
) {
    let projects: Vec<_> = sizes.iter().map(|n| make(*n)).collect();
    let contenders = projects.iter().zip(sizes).map(|(project, size)| {
        Contender::new(size.to_string(), || {
            ms(time(start_by(monoco(), project, &[])))
        })
    });
    let measured = in_turn(bench.of(50, 10), contenders.collect());
    let floor = measured[0].clone();
    let rows = sizes.iter().zip(measured);
    let rows = rows.map(|(size, series)| {
        let without = floor.named("with none");
        let with = series.named("monoco run -d");
        (*size, vec![without, with])
    });
    report.growth(&Growth {
        name,
        what: "a detached start in a project that has more sessions; goal ≤ 1.05 ×",
        unit: "ms",
        of,
        rows: rows.collect(),
    });
    end_agents();
}
