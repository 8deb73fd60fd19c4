//! The end of a long log.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::process::Command;

use monoco_tests::Project;

use crate::Bench;
use crate::measure::{Contender, in_turn, ms};
use crate::processes::time;
use crate::report::{Growth, Report};

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    let sizes = bench.of(vec![1, 100, 10_000], vec![1, 100]);
    let rows = sizes.iter().map(|mb| {
        let project = Project::new();
        project.run(&["run", "--", "true"]).ok();
        let id = project.ids(&["-a"]).remove(0);
        let log = project.log_path(&id);
        lengthen(&log, mb * 1_000_000);
        let contenders = vec![
            Contender::new("tail -n 100", || {
                let mut command = Command::new("tail");
                command.args(["-n", "100"]).arg(&log);
                ms(time(command))
            }),
            Contender::new("monoco logs -n 100", || {
                ms(time(project.monoco(&["logs", "-n", "100", &id])))
            }),
        ];
        (*mb as usize, in_turn(bench.of(30, 10), contenders))
    });
    report.growth(&Growth {
        name: "logs",
        what: "the last 100 lines of a log",
        unit: "ms",
        of: "MB of log",
        rows: rows.collect(),
    });
}

/// A log of this length: a hole, and lines at its end.
fn lengthen(log: &std::path::Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(log);
    let mut file = file.expect("the log of a session that ended");
    let lines = "a line of the agent's output, as long as such lines are\n".repeat(1_000);
    let written = file
        .seek(SeekFrom::Start(bytes - lines.len() as u64))
        .and_then(|_| file.write_all(lines.as_bytes()));
    written.expect("room for a hole");
}
