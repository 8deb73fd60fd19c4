//! `monoco completions`: what a shell needs to complete our command lines.

use std::io::Write;

use crate::args::Completions;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub(super) fn completions(args: &Completions) -> Result<Exit, CliError> {
    // Into memory first: clap_complete panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(), "monoco", &mut script);
    output::written(output::Stdout.write_all(&script))?;
    Ok(Exit::SUCCESS)
}
