//! The fault campaigns, run against the release binary.

use std::path::Path;
use std::process::Command;

use crate::{build_release, cargo, target};

/// Builds what is tested and what tests it, and runs the campaigns.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let target = target();
    // What tests it is not built for release, where a failed check of its own would
    // end it (panic = "abort").
    let tests = ["build", "--locked", "--package", "monoco-tests"];
    // First, since the program without failpoints is built in the same place.
    let with_failpoints = ["--bin", "monoco-under-test", "--features", "failpoints"];
    cargo(&[&tests[..], &with_failpoints].concat(), &[])?;
    let failpoints = target.join("debug/monoco-with-failpoints");
    copy(&target.join("debug/monoco-under-test"), &failpoints)?;
    cargo(&[&tests[..], &["--bins"]].concat(), &[])?;
    let monoco = build_release()?;
    let program = target.join("debug/faults");
    let mut faults = Command::new(&program);
    faults
        .args(arguments)
        .env("MONOCO_UNDER_TEST", monoco)
        .env("MONOCO_WITH_FAILPOINTS", failpoints);
    match faults.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if status.code() == Some(1) => Err("the promise was broken".to_owned()),
        Ok(status) => Err(format!("the campaigns did not run: {status}")),
        Err(error) => Err(format!("cannot run {}: {error}", program.display())),
    }
}

/// Copies a program under another name; one that runs stays as it is.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let new = to.with_extension("new");
    let copied = std::fs::copy(from, &new).and_then(|_| std::fs::rename(&new, to));
    copied.map_err(|error| format!("cannot copy {}: {error}", from.display()))
}
