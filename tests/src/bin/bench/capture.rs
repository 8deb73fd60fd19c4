//! What it costs to keep what an agent prints.

use std::fs;
use std::process::Command;

use monoco_tests::Project;
use tempfile::TempDir;

use crate::Bench;
use crate::measure::{Contender, in_turn, timed};
use crate::processes::time;
use crate::report::{Report, Table};

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    let gib = bench.of(2, 1);
    let bytes = gib << 30;
    let print = format!("head -c {bytes} /dev/zero");
    let directory = TempDir::new().expect("a temporary directory");
    let rows = in_turn(
        bench.of(7, 3),
        vec![
            Contender::new("shell redirect", || {
                let file = directory.path().join("out");
                let per_second = shell(&print, &format!("> '{}'", file.display()), gib);
                arrived(&file, bytes);
                per_second
            }),
            Contender::new("monoco run", || {
                let project = Project::new();
                let mut id = String::new();
                let time = timed(|| {
                    id = project.start(&[], &["sh", "-c", &print]);
                    time(project.monoco(&["wait", &id]));
                });
                arrived(&project.log_path(&id), bytes);
                gib as f64 / time.as_secs_f64()
            }),
            Contender::new("a pipe to cat", || {
                let file = directory.path().join("piped");
                let per_second = shell(&print, &format!("| cat > '{}'", file.display()), gib);
                arrived(&file, bytes);
                per_second
            }),
        ],
    );
    report.table(&Table {
        name: "capture",
        what: &format!("{gib} GiB of output, from the start to the end"),
        unit: "GiB/s",
        floor: 0,
        goal: "≥ 0.95 × a shell redirect, no byte lost",
        rows,
    });
}

fn shell(print: &str, redirection: &str, gib: u64) -> f64 {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{print} {redirection}")]);
    gib as f64 / time(command).as_secs_f64()
}

/// # Panics
/// When a byte is missing.
fn arrived(file: &std::path::Path, bytes: u64) {
    let len = fs::metadata(file).map_or(0, |metadata| metadata.len());
    assert_eq!(len, bytes, "{} has lost output", file.display());
    // The next has the same room.
    fs::remove_file(file).expect("a file of ours");
}
