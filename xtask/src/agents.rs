//! Real agents: installs them where npm is, and runs them against the stand-in for their
//! models (`tests/src/bin/agents`), under the Monoco that is built here.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{cargo, target};

/// Where they are installed, below what cargo builds.
const FOLDER: &str = "agents";
/// The agents that npm has, in the versions that were seen to work.
const PACKAGES: [&str; 5] = [
    "@anthropic-ai/claude-code@2.1.197",
    "@openai/codex@0.169.0",
    "@google/gemini-cli@0.61.0",
    "@qwen-code/qwen-code@0.15.10",
    "opencode-ai@1.18.33",
];
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/agents/samples");

pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let Some(folder) = install()? else {
        println!("SKIPPED: agents: npm is not here, so no real agent can be had");
        return Ok(());
    };
    cargo(&["build", "--locked", "--package", "monoco-cli"], &[])?;
    cargo(
        &["build", "--locked", "--package", "monoco-tests", "--bins"],
        &[],
    )?;
    let program = target().join("debug/agents");
    let mut agents = Command::new(&program);
    match arguments {
        ["--samples", names @ ..] => agents.args(["samples", SAMPLES]).args(names),
        names => agents.arg("scenarios").args(names),
    };
    let status = agents
        .env("MONOCO_UNDER_TEST", target().join("debug/monoco"))
        .env("PATH", with_first(&folder.join("node_modules/.bin")))
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("real agents did not do as they should: {status}")),
        Err(error) => Err(format!("cannot run {}: {error}", program.display())),
    }
}

/// Installs the agents; where, unless there is no npm.
fn install() -> Result<Option<PathBuf>, String> {
    let mut version = Command::new("npm");
    version.arg("--version").stdout(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let folder = target().join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let options = [
        "install",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        "--prefix",
    ];
    let mut npm = Command::new("npm");
    // No package runs a program of its own here: what their scripts would have done is
    // done below.
    npm.args(options)
        .arg(&folder)
        .arg("--ignore-scripts")
        .args(PACKAGES);
    match npm.status() {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("npm could not install the agents: {status}")),
        Err(error) => return Err(format!("cannot run npm: {error}")),
    }
    let modules = folder.join("node_modules");
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "x64",
        _ => "arm64",
    };
    let claude = format!("@anthropic-ai/claude-code-linux-{architecture}/claude");
    let opencode = format!("opencode-linux-{architecture}/bin/opencode");
    place(
        &modules.join(claude),
        &modules.join("@anthropic-ai/claude-code/bin/claude.exe"),
    )?;
    place(
        &modules.join(opencode),
        &modules.join("opencode-ai/bin/opencode.exe"),
    )?;
    Ok(Some(folder))
}

/// Puts a platform's program where its package looks for it.
fn place(program: &Path, at: &Path) -> Result<(), String> {
    if !program.exists() {
        return Err(format!("{} was not installed", program.display()));
    }
    let program = program.canonicalize().map_err(|error| error.to_string())?;
    // What stands there says that no script was run.
    let placed = std::fs::remove_file(at).and_then(|()| symlink(program, at));
    placed.map_err(|error| format!("cannot replace {}: {error}", at.display()))
}

/// `PATH` with `folder` before all others.
fn with_first(folder: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap_or(path)
}
