//! The benchmark: Monoco beside its floors (the least that anybody could do) and its
//! peers, in one run on one machine, with ratios. It asserts nothing. Run as
//! `cargo xtask bench`.
#![expect(clippy::print_stdout, reason = "a command for people")]

mod capture;
mod client;
mod daemon;
mod floors;
mod idle;
mod list;
mod logs;
mod machine;
mod measure;
mod memory;
mod peers;
mod processes;
mod reconcile;
mod records;
mod report;
mod start;
mod stop;
mod write;

use std::path::PathBuf;
use std::process::ExitCode;

use report::Report;

const USAGE: &str = "\
usage: bench [--quick] [--only NAME[,NAME…]] [--json FILE] [--list]

Measures Monoco beside its floors and its peers, and prints tables with ratios.
--quick takes fewer rounds and smaller sizes.";

/// One measures, and puts what it finds into the report.
type Run = fn(&Bench, &mut Report);

/// What is measured, in this order.
///
/// Writing and starting come first: ext4 without a journal does not soon use an inode
/// again that was just freed, so whoever comes after a large project was removed waits
/// for a look at each of its inodes.
const BENCHES: &[(&str, Run)] = &[
    ("write", write::run),
    ("start", start::run),
    ("memory", memory::run),
    ("idle", idle::run),
    ("list", list::run),
    ("capture", capture::run),
    ("logs", logs::run),
    ("stop", stop::run),
    ("reconcile", reconcile::run),
    ("daemon", daemon::run),
];

/// How much is measured.
pub(crate) struct Bench {
    pub(crate) quick: bool,
}

impl Bench {
    /// `full`, or `quick` where there is less time.
    pub(crate) fn of<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::read() else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    if options.list {
        for (name, _) in BENCHES {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }
    // A thousand sessions want many; where there are fewer, the larger sizes fail.
    let _ = monoco_tests::may_open(4096);
    let bench = Bench {
        quick: options.quick,
    };
    let mut report = Report::new(machine::described(), peers::versions());
    for (name, run) in BENCHES {
        if options.chose(name) {
            run(&bench, &mut report);
        }
    }
    match options
        .json
        .map(|file| std::fs::write(file, report.to_json()))
    {
        None | Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            println!("the report cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Options {
    quick: bool,
    list: bool,
    only: Option<String>,
    json: Option<PathBuf>,
}

impl Options {
    fn read() -> Option<Self> {
        let mut options = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => options.quick = true,
                "--list" => options.list = true,
                "--only" => options.only = Some(words.next()?),
                "--json" => options.json = Some(words.next()?.into()),
                _ => return None,
            }
        }
        let names = options.only.iter().flat_map(|only| only.split(','));
        let known = |name: &str| BENCHES.iter().any(|(known, _)| *known == name);
        names.clone().all(known).then_some(options)
    }

    fn chose(&self, name: &str) -> bool {
        let only = self.only.as_deref();
        only.is_none_or(|only| only.split(',').any(|chosen| chosen == name))
    }
}
