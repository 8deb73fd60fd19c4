//! Man pages, written by the command line's own description of itself.

use crate::cargo;

pub(crate) fn write(directory: &str) -> Result<(), String> {
    let directory = std::path::absolute(directory)
        .map_err(|error| format!("cannot use {directory}: {error}"))?;
    let directory = directory
        .to_str()
        .ok_or("the directory's name is not UTF-8")?;
    cargo(
        &[
            "run",
            "--quiet",
            "--locked",
            "--package",
            "monoco-cli",
            "--example",
            "man",
            "--",
            directory,
        ],
        &[],
    )
}
