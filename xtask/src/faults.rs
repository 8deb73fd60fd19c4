//! The fault campaigns, run against the release binary.

use std::path::PathBuf;
use std::process::Command;

use crate::cargo;

/// Builds what is tested and what tests it, and runs the campaigns.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    // What tests it is not built for release, where a failed check of its own would
    // end it (panic = "abort").
    cargo(
        &["build", "--release", "--locked", "--package", "monoco-cli"],
        &[],
    )?;
    cargo(
        &["build", "--locked", "--package", "monoco-tests", "--bins"],
        &[],
    )?;
    let target = target()?;
    let program = target.join("debug/faults");
    let mut faults = Command::new(&program);
    faults
        .args(arguments)
        .env("MONOCO_UNDER_TEST", target.join("release/monoco"));
    match faults.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if status.code() == Some(1) => Err("the promise was broken".to_owned()),
        Ok(status) => Err(format!("the campaigns did not run: {status}")),
        Err(error) => Err(format!("cannot run {}: {error}", program.display())),
    }
}

/// Where cargo builds, as a path that means the same everywhere.
fn target() -> Result<PathBuf, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into(),
        PathBuf::from,
    );
    let absolute = target.canonicalize();
    absolute.map_err(|error| format!("cannot find {}: {error}", target.display()))
}
