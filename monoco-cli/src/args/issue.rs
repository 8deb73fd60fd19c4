//! What `issue` can be told.

use std::path::PathBuf;

use clap::{Args as Arguments, Subcommand};

use crate::issues::lint;

/// Look after the issues that agents work on
#[derive(Debug, Arguments)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub(crate) struct Issue {
    #[command(subcommand)]
    pub(crate) verb: IssueVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IssueVerb {
    Lint(IssueLint),
}

/// Say what is wrong with issues, with line and column
///
/// Issues are markdown files with front matter in the project's Issues folder.
/// Without arguments all of them are looked at. Nothing is ever written.
#[derive(Debug, Arguments)]
#[command(
    after_help = "\
Examples:
  monoco issue lint
  monoco issue lint FEAT-0138 Issues/Fixes/open
  monoco issue lint --json | jq -r '.[].diagnostics[].code'

Exit status: 0 when there is no error, 1 when there is one, 2 for a usage
error, 125 when monoco itself failed.",
    after_long_help = format!("\
Examples:
  monoco issue lint
  monoco issue lint FEAT-0138 Issues/Fixes/open
  monoco issue lint --json | jq -r '.[].diagnostics[].code'

{}
Exit status: 0 when there is no error, 1 when there is one, 2 for a usage
error, 125 when monoco itself failed.", lint::help())
)]
pub(crate) struct IssueLint {
    /// The issues: their ids, their files, or folders of files
    #[arg(value_name = "ID|FILE")]
    pub(crate) issues: Vec<PathBuf>,
    /// A JSON array of what LSP publishes: {uri, diagnostics} for each file in which
    /// something was found
    #[arg(long)]
    pub(crate) json: bool,
}
