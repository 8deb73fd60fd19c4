//! The project's own chores, run as `cargo xtask …`. Plain Rust, no
//! dependencies, and none on the crates that it checks.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for people"
)]

mod agents;
mod bench;
mod checks;
mod count;
mod dist;
mod faults;
mod fuzz;
mod man;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci          everything that CI runs: lint, test, the campaigns for 2 minutes, count
  lint        formatting, clippy, documentation, the direction of dependencies,
              and whether the crates could be published
  test        all tests of the workspace
  faults [--minutes N] [--seed S] [--only NAME[,NAME…] [--trial T]] [--list]
              the campaigns that try to break the promise, in full or for N minutes;
              --trial repeats what failed (docs/reliability.md)
  agents [--samples] [NAME…]
              the agents that people use, against a stand-in for their models, under
              Monoco; --samples keeps what they print; needs npm and unshare
  bench [--quick] [--only NAME[,NAME…]] [--json FILE] [--list] [--install-peers]
              Monoco beside its floors and its peers, with ratios; needs a C compiler
  count [--bless]
              what a start, a listing and a write execute, in instructions, beside
              tests/instructions.toml, which --bless writes; needs valgrind
  fuzz TARGET [--minutes N]
              a parser under libFuzzer (record, id, control or http); needs a C++ compiler
  dist        the binary for others: one static file; needs the static C library
  man [DIR]   write the man pages into DIR (target/man)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["ci"] => checks::lint()
            .and_then(|()| checks::test())
            .and_then(|()| faults::run(&["--minutes", "2", "--seed", "101"]))
            .and_then(|()| count::run(&[])),
        ["lint"] => checks::lint(),
        ["test"] => checks::test(),
        ["agents", arguments @ ..] => agents::run(arguments),
        ["bench", arguments @ ..] => bench::run(arguments),
        ["count", arguments @ ..] => count::run(arguments),
        ["dist"] => dist::build().map(|binary| println!("{}", binary.display())),
        ["faults", arguments @ ..] => faults::run(arguments),
        ["fuzz", target, arguments @ ..] => fuzz::run(target, arguments),
        ["man"] => man::write("target/man"),
        ["man", directory] => man::write(directory),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs cargo in the workspace, showing what is run.
fn cargo(arguments: &[&str], env: &[(&str, &str)]) -> Result<(), String> {
    println!("$ cargo {}", arguments.join(" "));
    let mut command = cargo_command(arguments);
    command.envs(env.iter().copied());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`cargo {}` failed: {status}", arguments.join(" "))),
        Err(error) => Err(format!("cannot run cargo: {error}")),
    }
}

/// What has cargo build the program as it is installed.
const BUILD_RELEASE: [&str; 5] = ["build", "--release", "--locked", "--package", "monoco-cli"];

/// Builds the program as it is installed; where it then stands.
fn build_release() -> Result<PathBuf, String> {
    cargo(&BUILD_RELEASE, &[])?;
    Ok(target().join("release/monoco"))
}

/// Where cargo builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
            workspace.expect("xtask is in the workspace").join("target")
        },
        PathBuf::from,
    )
}

fn cargo_command(arguments: &[&str]) -> std::process::Command {
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut command = std::process::Command::new(env!("CARGO"));
    command.args(arguments).current_dir(workspace);
    command
}
