//! The durable write of a record, beside the bare system calls.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{Mode, OFlags, fsync, openat, renameat};
use session_core::{NewSession, SessionManager, record_to_json};
use tempfile::TempDir;

use crate::measure::{Contender, in_turn};
use crate::report::{Growth, Report};
use crate::{Bench, records};

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    let writes = bench.of(300, 50);
    let rows = [1, 2, 4].map(|threads| {
        let contenders = vec![
            Contender::new("bare system calls", || {
                let directory = TempDir::new().expect("a temporary directory");
                let ready = (0..threads).collect();
                per_second(writes, ready, |thread| {
                    bare(directory.path(), thread, writes);
                })
            }),
            Contender::new("Claim::rewrite", || {
                let directory = TempDir::new().expect("a temporary directory");
                let manager = SessionManager::create(directory.path()).expect("a new project");
                let claim = |_| manager.claim_new(NewSession::default());
                let claims: Result<Vec<_>, _> = (0..threads).map(claim).collect();
                per_second(writes, claims.expect("new sessions"), |mut claim| {
                    for _ in 0..writes {
                        claim.rewrite().expect("room");
                    }
                })
            }),
        ];
        (threads, in_turn(bench.of(7, 3), contenders))
    });
    report.growth(&Growth {
        name: "write",
        what: "durable writes of a record (file, fsync, rename, fsync of the directory); goal ≥ 0.9 ×",
        unit: "per second",
        of: "threads",
        rows: rows.into(),
    });
}

/// How many writes a second there are where a thread for each of `ready` does so many.
fn per_second<T: Send>(writes: usize, ready: Vec<T>, run: impl Fn(T) + Sync) -> f64 {
    let all = ready.len() * writes;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for one in ready {
            let run = &run;
            scope.spawn(move || run(one));
        }
    });
    all as f64 / start.elapsed().as_secs_f64()
}

/// Just the calls, with the bytes of a record.
pub(crate) fn bare(directory: &Path, thread: usize, writes: usize) {
    let bytes = record_to_json(&records::running(thread));
    let folder = File::open(directory).expect("a directory");
    let (temporary, name) = (format!("record-{thread}"), format!("{thread}.json"));
    for _ in 0..writes {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&folder, &temporary, flags, Mode::RUSR | Mode::WUSR).expect("room");
        let mut file = File::from(file);
        file.write_all(&bytes).expect("room");
        fsync(&file).expect("a working disk");
        renameat(&folder, &temporary, &folder, &name).expect("room");
        fsync(&folder).expect("a working disk");
    }
}
