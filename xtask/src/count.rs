//! What Monoco executes, in instructions: a regression shows on a noisy machine, too.
//! The counts of `tests/instructions.toml` are compared with those of now.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use self::room::Room;
use crate::{BUILD_RELEASE, cargo, cargo_command, target};

mod room;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/instructions.toml");

/// From how many percent on something is worse, or better.
const TOLERANCE: f64 = 5.0;

/// The release build as CI makes it: optimisation across crates takes too long there.
const PROFILE: [(&str, &str); 2] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
];

pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let bless = match arguments {
        [] => false,
        ["--bless"] => true,
        _ => return Err(format!("not understood: {}", arguments.join(" "))),
    };
    if !is_installed("valgrind") {
        println!("SKIPPED: valgrind is not installed, so no instructions are counted");
        return Ok(());
    }
    let under = Circumstances::now()?;
    let Some(counts) = twice(&build()?)? else {
        println!("SKIPPED: no process may be traced here, so no instructions are counted");
        return Ok(());
    };
    let kept = fs::read_to_string(KEPT).unwrap_or_default();
    show(&counts, &kept);
    if bless {
        return fs::write(KEPT, under.with(&counts)).map_err(|error| error.to_string());
    }
    match under.difference(&kept) {
        None => judge(&counts, &kept),
        Some(difference) => {
            println!("SKIPPED: {difference}: the counts cannot be compared");
            Ok(())
        }
    }
}

fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What is counted, and what counts it.
struct Programs {
    monoco: PathBuf,
    writer: PathBuf,
    counted: PathBuf,
}

fn build() -> Result<Programs, String> {
    let tests = ["build", "--locked", "--package", "monoco-tests"];
    cargo(&[&tests[..], &["--bin", "counted"]].concat(), &[])?;
    cargo(&BUILD_RELEASE, &PROFILE)?;
    Ok(Programs {
        monoco: target().join("release/monoco"),
        writer: writer()?,
        counted: target().join("debug/counted"),
    })
}

/// Compiles what writes records with the core that `monoco` has built. Cargo would build
/// that once more, with all features that the tests need.
fn writer() -> Result<PathBuf, String> {
    let mut again = cargo_command(&BUILD_RELEASE);
    again.args(["--quiet", "--message-format=json"]);
    let built = told(again.envs(PROFILE))?;
    let is_core = |word: &&str| word.contains("/libsession_core-") && word.ends_with(".rlib");
    let core = built.split('"').find(is_core).map(Path::new);
    let core = core.ok_or("cargo does not tell where the core is")?;
    let writer = target().join("release/writer");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/src/bin/writer.rs");
    let mut rustc = rustc();
    let dependencies = core.with_file_name("");
    rustc.args(["--edition=2024", "-Copt-level=3", "-Cpanic=abort"]);
    rustc.arg(format!("--extern=session_core={}", core.display()));
    rustc.arg(format!("-Ldependency={}", dependencies.display()));
    rustc.arg(source).arg("-o").arg(&writer);
    finish(&mut rustc).map(|()| writer)
}

fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// How often something was executed in each of two runs.
struct Count {
    name: &'static str,
    runs: [u64; 2],
}

impl Count {
    fn least(&self) -> u64 {
        self.runs[0].min(self.runs[1])
    }

    /// How far the runs are apart, in percent.
    fn spread(&self) -> f64 {
        percent(self.least(), self.runs[0].max(self.runs[1]))
    }

    /// How much more there is than was kept, in percent.
    fn change(&self, kept: &str) -> Option<f64> {
        let kept = value(kept, self.name)?.parse().ok()?;
        Some(percent(kept, self.least()))
    }
}

/// How much more `now` is than `before`.
fn percent(before: u64, now: u64) -> f64 {
    (now as f64 / before.max(1) as f64 - 1.0) * 100.0
}

/// Counts everything, and everything again; `None` where that is not allowed.
fn twice(programs: &Programs) -> Result<Option<Vec<Count>>, String> {
    let room = Room::with(programs)?;
    let (first, second) = (room.count('1')?, room.count('2')?);
    Ok(first.zip(second).map(|(first, second)| {
        let runs = first.into_iter().zip(second);
        let counts = runs.map(|((name, first), (_, second))| Count {
            name,
            runs: [first, second],
        });
        counts.collect()
    }))
}

/// Runs `command`, which says nothing that matters unless it fails.
fn finish(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?} failed: {output:?}")),
    }
}

/// With what it is counted: only under the same can counts be compared.
struct Circumstances(Vec<(&'static str, String)>);

impl Circumstances {
    fn now() -> Result<Self, String> {
        let version = told(rustc().arg("-vV"))?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let rustc = version.lines().next().unwrap_or_default();
        let libc = told(Command::new("getconf").arg("GNU_LIBC_VERSION"));
        let profile = PROFILE.map(|(name, value)| format!("{name}={value}"));
        Ok(Self(vec![
            ("rustc", rustc.to_owned()),
            ("target", host.unwrap_or_default().to_owned()),
            ("libc", libc.unwrap_or_default().trim().to_owned()),
            ("profile", profile.join(" ")),
        ]))
    }

    /// What is not as it was when the counts were kept.
    fn difference(&self, kept: &str) -> Option<String> {
        let differs = |(name, now): &&(&str, String)| value(kept, name) != Some(now);
        self.0.iter().find(differs).map(|(name, now)| {
            let before = value(kept, name).unwrap_or("nothing");
            format!("{name} is {now}, and was {before}")
        })
    }

    /// The file that keeps `counts`.
    fn with(&self, counts: &[Count]) -> String {
        let mut text = "# What `cargo xtask count --bless` has counted.\n".to_owned();
        for (name, now) in &self.0 {
            text.push_str(&format!("{name} = \"{now}\"\n"));
        }
        text.push_str("\n[instructions]\n");
        for count in counts {
            text.push_str(&format!("\"{}\" = {}\n", count.name, count.least()));
        }
        text
    }
}

/// What the file says of `name`.
fn value<'a>(kept: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = kept.lines().filter_map(|line| line.split_once(" = "));
    let (_, value) = pairs.find(|(key, _)| key.trim_matches('"') == name)?;
    Some(value.trim_matches('"'))
}

fn told(command: &mut Command) -> Result<String, String> {
    match command.output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => Err(format!("{command:?} failed: {}", output.status)),
        Err(error) => Err(format!("cannot run {command:?}: {error}")),
    }
}

fn show(counts: &[Count], kept: &str) {
    println!("\ninstructions            kept          now    change   spread");
    for count in counts {
        let (name, now, spread) = (count.name, count.least(), count.spread());
        let change = count.change(kept).map(|change| format!("{change:+.1} %"));
        let change = change.as_deref().unwrap_or("new");
        let kept = value(kept, name).unwrap_or_default();
        println!("{name:16}{kept:>12} {now:>12} {change:>9} {spread:>6.2} %");
    }
    println!();
}

fn judge(counts: &[Count], kept: &str) -> Result<(), String> {
    let names = |is: fn(f64) -> bool| {
        let counts = counts
            .iter()
            .filter(|count| count.change(kept).is_some_and(is));
        counts
            .map(|count| count.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let worse = names(|change| change > TOLERANCE);
    let better = names(|change| change < -TOLERANCE);
    if !better.is_empty() {
        println!("less is executed than was kept; run `cargo xtask count --bless`: {better}");
    }
    if worse.is_empty() {
        return Ok(());
    }
    let last = told(Command::new("git").args(["log", "-1", "--format=%h %s"]));
    Err(format!(
        "more than {TOLERANCE} % more is executed: {worse}\n  the last commit: {}\n  \
         where that is meant: cargo xtask count --bless",
        last.unwrap_or_default().trim()
    ))
}
