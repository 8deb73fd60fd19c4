//! The fuzz targets, by coverage: libFuzzer on the stable toolchain. What cargo-fuzz
//! passes with `--sanitizer none` is passed here.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The targets, each with the folders in which its corpus begins.
const TARGETS: [(&str, &[&str]); 4] = [
    (
        "record",
        &[
            "session-core/tests/schema-1",
            "session-core/tests/original-format",
        ],
    ),
    ("id", &["tests/fuzz/seeds/id"]),
    ("control", &["tests/fuzz/seeds/control"]),
    ("http", &["tests/fuzz/seeds/http"]),
];

/// Counters at every edge and compare, as libFuzzer reads them.
const RUSTFLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "--cfg=fuzzing",
];

/// Inputs are small: what is large is tried by `hostile/records`.
const MAX_LEN: usize = 16 << 10;
const DEFAULT_MINUTES: f64 = 5.0;

pub(crate) fn names() -> String {
    TARGETS.map(|(name, _)| name).join(", ")
}

/// Builds `target`, instrumented, and runs it for a while.
pub(crate) fn run(target: &str, arguments: &[&str]) -> Result<(), String> {
    let minutes = match arguments {
        [] => DEFAULT_MINUTES,
        ["--minutes", minutes] => minutes
            .parse()
            .map_err(|_| format!("`{minutes}` is no number of minutes"))?,
        _ => return Err(format!("not understood: {}", arguments.join(" "))),
    };
    let known = TARGETS.iter().find(|(name, _)| *name == target);
    let (target, seeds) = known.ok_or_else(|| format!("expected one of {}", names()))?;
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let program = build(workspace, target)?;
    let corpus = workspace.join("target/fuzz/corpus").join(target);
    let found = workspace.join("target/fuzz/found").join(target);
    // What the targets put there is left by whatever ends in the middle. Its path is
    // short: sockets have theirs there.
    let temporary = std::env::temp_dir().join(format!("monoco-fuzz-{}", std::process::id()));
    for folder in [&corpus, &found, &temporary] {
        let made = std::fs::create_dir_all(folder);
        made.map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    }
    // What begins as C++ does not ignore SIGPIPE, as Rust programs do; this is inherited.
    let mut fuzzer = Command::new("sh");
    fuzzer
        .args(["-c", "trap '' PIPE; exec \"$0\" \"$@\""])
        .arg(&program)
        .env("TMPDIR", &temporary)
        .arg(format!("-max_total_time={}", (minutes * 60.0).round()))
        .arg(format!("-max_len={MAX_LEN}"))
        .args(["-timeout=10", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(&corpus)
        .args(seeds.iter().map(|folder| workspace.join(folder)));
    println!("$ {}", program.display());
    let status = fuzzer.status();
    // It is in nobody's way if it stays.
    let _ = std::fs::remove_dir_all(&temporary);
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!(
            "something does not hold ({status}); the bytes are in {}",
            found.display()
        )),
        Err(error) => Err(format!("cannot run {}: {error}", program.display())),
    }
}

fn build(workspace: &Path, target: &str) -> Result<PathBuf, String> {
    let triple = host()?;
    let folder = workspace.join("target/fuzz");
    let mut cargo = Command::new(env!("CARGO"));
    // Named, so that build scripts and macros are not instrumented as well.
    cargo
        .args(["build", "--release", "--locked", "--target", &triple])
        .args(["--bin", target, "--manifest-path"])
        .arg(workspace.join("tests/fuzz/Cargo.toml"))
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", RUSTFLAGS.join(" "));
    println!("$ cargo build --bin {target} (tests/fuzz, instrumented)");
    match cargo.status() {
        Ok(status) if status.success() => Ok(folder.join(triple).join("release").join(target)),
        Ok(status) => Err(format!(
            "it was not built: {status} (libFuzzer needs a C++ compiler)"
        )),
        Err(error) => Err(format!("cannot run cargo: {error}")),
    }
}

/// The triple of this machine.
fn host() -> Result<String, String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(&rustc).arg("-vV").output();
    let output = output.map_err(|error| format!("cannot run {rustc}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| format!("{rustc} does not tell its host"))
}
