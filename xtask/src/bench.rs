//! The benchmark: builds Monoco, its floors and what measures them, and runs it.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{build_release, cargo, dist, target};

/// Where programs to compare with are put that no package manager of the system has.
const PEERS: &str = "peers";

pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let (install, arguments): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .partition(|argument| **argument == "--install-peers");
    let peers = target().join(PEERS);
    if !install.is_empty() {
        install_peers(&peers);
    }
    let monoco = build_release()?;
    let bins = ["--bin", "bench", "--bin", "floor-http"];
    let tests = [
        "build",
        "--release",
        "--locked",
        "--package",
        "monoco-tests",
    ];
    cargo(&[&tests[..], &bins].concat(), &[])?;
    let floors = floors()?;
    // Measured beside it, where it can be built.
    let linked = dist::build().inspect_err(|error| println!("{error}"));
    let program = target().join("release/bench");
    let status = Command::new(&program)
        .args(arguments)
        .env("MONOCO_UNDER_TEST", monoco)
        .env("MONOCO_FLOORS", floors)
        .envs(linked.ok().map(|linked| ("MONOCO_STATIC", linked)))
        .env("PATH", with_peers(&peers))
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the benchmark did not end well: {status}")),
        Err(error) => Err(format!("cannot run {}: {error}", program.display())),
    }
}

/// Compiles `tests/floors`, statically: the least that a process can be.
fn floors() -> Result<PathBuf, String> {
    let sources = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/floors"));
    let floors = target().join("floors");
    std::fs::create_dir_all(&floors).map_err(|error| error.to_string())?;
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    for source in std::fs::read_dir(sources).map_err(|error| error.to_string())? {
        let source = source.map_err(|error| error.to_string())?.path();
        let program = floors.join(source.file_stem().unwrap_or_default());
        let mut cc = Command::new(&compiler);
        cc.args(["-O2", "-Wall", "-Wextra", "-static", "-pthread", "-o"]);
        let status = cc.arg(&program).arg(&source).status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(format!("{} cannot be compiled", source.display()));
        }
    }
    Ok(floors)
}

/// Gets the programs to compare with, as far as they can be had here: what cannot is
/// reported as absent by the benchmark.
fn install_peers(peers: &Path) {
    let python = peers.join("python");
    let pip = python.join("bin/pip");
    let [root, python, pip] = [peers, &python, &pip].map(Path::to_string_lossy);
    let debian = [
        "tmux",
        "screen",
        "dtach",
        "nq",
        "task-spooler",
        "s6",
        "python3-venv",
    ];
    // Debian's supervisor would be started with the system.
    let pypi = ["monoco-toolkit==0.3.11", "pydantic", "supervisor"];
    let npm = ["--ignore-scripts", "--no-audit", "--no-fund"];
    let ways: [(&str, Vec<&str>); 5] = [
        ("apt-get", [&["install", "-y", "-qq"], &debian[..]].concat()),
        (
            env!("CARGO"),
            vec!["install", "--quiet", "--locked", "--root", &root, "pueue"],
        ),
        (
            "npm",
            [&["install"], &npm[..], &["--prefix", &root, "pm2"]].concat(),
        ),
        ("python3", vec!["-m", "venv", &python]),
        (&pip, [&["install", "--quiet"], &pypi[..]].concat()),
    ];
    for (program, arguments) in ways {
        println!("$ {program} {}", arguments.join(" "));
        let status = Command::new(program).args(&arguments).status();
        if !status.is_ok_and(|status| status.success()) {
            println!("not installed");
        }
    }
    link_scripts(peers);
}

/// Links what is wanted of the Python environment: one of its programs is called
/// `monoco` as well.
fn link_scripts(peers: &Path) {
    let scripts = [
        ("monoco", "monoco-toolkit"),
        ("supervisord", "supervisord"),
        ("supervisorctl", "supervisorctl"),
    ];
    let _ = std::fs::create_dir_all(peers.join("bin"));
    for (script, name) in scripts {
        // It may be there from an earlier time.
        let _ = symlink(
            Path::new("../python/bin").join(script),
            peers.join("bin").join(name),
        );
    }
}

/// The search path, with what was installed first.
fn with_peers(peers: &Path) -> OsString {
    let own = [peers.join("bin"), peers.join("node_modules/.bin")];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = own.into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(all).unwrap_or(path)
}
