//! The fault campaigns, run against the release binary.

use std::process::Command;

use crate::cargo;

/// Builds what is tested and what tests it, and runs the campaigns.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    cargo(
        &[
            "build",
            "--release",
            "--locked",
            "--package",
            "monoco-tests",
            "--bins",
        ],
        &[],
    )?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into(),
        std::path::PathBuf::from,
    );
    let program = target.join("release/faults");
    match Command::new(&program).args(arguments).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if status.code() == Some(1) => Err(
            "the promise was broken; `--seed S --only CAMPAIGN --trial T` repeats it".to_owned(),
        ),
        Ok(status) => Err(format!("the campaigns did not run: {status}")),
        Err(error) => Err(format!("cannot run {}: {error}", program.display())),
    }
}
