//! Stopping a session whose agent ends at once.

use monoco_tests::Project;
use tempfile::TempDir;

use crate::Bench;
use crate::floors::Floor;
use crate::measure::{Contender, in_turn, ms};
use crate::processes::{end_agents, executing, start_sessions, time};
use crate::report::{Report, Table};

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    let directory = TempDir::new().expect("a temporary directory");
    let directory = directory.path().to_str().expect("a plain path");
    let project = Project::new();
    let rows = in_turn(
        bench.of(30, 10),
        vec![
            Contender::new("C program (TERM, wait)", || {
                time(Floor::Supervise.command(&[directory, Floor::Agent.path()]));
                let agent = executing(Floor::Agent.path())[0].to_string();
                let took = ms(time(Floor::End.command(&[&agent])));
                end_agents();
                took
            }),
            Contender::new("monoco stop", || {
                start_sessions(&project, 1);
                let id = project.ids(&[]).remove(0);
                ms(time(project.monoco(&["stop", &id])))
            }),
            Contender::new("monoco --version", || {
                ms(time(project.monoco(&["--version"])))
            }),
        ],
    );
    report.table(&Table {
        name: "stop",
        what: "from `stop` to its return, the end recorded durably",
        unit: "ms",
        floor: 0,
        goal: "",
        rows,
    });
}
