//! After a reboot: sessions that ran, and whose agents are gone.

use monoco_tests::Project;
use tempfile::TempDir;

use crate::measure::{Contender, in_turn, ms, timed};
use crate::processes::time;
use crate::report::{Growth, Report};
use crate::{Bench, records, write};

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    let sizes = bench.of(vec![100, 1_000, 10_000], vec![100, 1_000]);
    let rows = sizes.iter().map(|n| {
        let contenders = vec![
            Contender::new("bare durable writes", || {
                let directory = TempDir::new().expect("a temporary directory");
                ms(timed(|| write::bare(directory.path(), 0, *n)))
            }),
            Contender::new("monoco ps -a (told)", || {
                let project = rebooted(*n);
                ms(time(project.monoco(&["ps", "-a", "--no-reconcile"])))
            }),
            Contender::new("monoco reconcile", || {
                let project = rebooted(*n);
                let took = ms(time(project.monoco(&["reconcile"])));
                assert_eq!(project.ids(&["-a", "--status", "terminated"]).len(), *n);
                took
            }),
        ];
        (*n, in_turn(bench.of(3, 1), contenders))
    });
    report.growth(&Growth {
        name: "reconcile",
        what: "sessions lost in a reboot; goal: 1,000 told right within 2 s",
        unit: "ms",
        of: "lost sessions",
        rows: rows.collect(),
    });
}

/// A project whose sessions all ran before the machine was started anew.
fn rebooted(n: usize) -> Project {
    let project = records::project_with(0);
    records::add(&project, 0..n, records::running);
    for number in 0..n {
        let id = records::running(number).id;
        let folder = project.path().join(format!(".monoco/run/{id}"));
        std::fs::create_dir_all(&folder).expect("room for a directory");
        std::fs::write(folder.join("lease"), "").expect("room for a file");
    }
    project
}
