//! `monoco config`: its options.

use clap::Args as Arguments;

use crate::config::keys;

const AFTER: &str = "\
Examples:
  monoco config
  monoco config run.timeout
  monoco config --json | jq '.settings[] | select(.source.kind != \"default\")'

Exit status: 1 when KEY is not set; 125 when a file cannot be used.";

/// Show what is configured, and where each value comes from
///
/// The user's file is $XDG_CONFIG_HOME/monoco/config.toml (else in ~/.config), a
/// project's is .monoco/config.toml. The project's is over the user's, an environment
/// variable (MONOCO_RUN_TIMEOUT for run.timeout) over both, and options over all.
///
/// A project's file says what is executed (hooks, engines' arguments) only where
/// the user's own file lists the project in trust.projects.
#[derive(Debug, Arguments)]
#[command(after_help = AFTER, after_long_help = format!("{}\n\n{AFTER}", keys::help()))]
pub(crate) struct Config {
    /// Print only this value
    #[arg(value_name = "KEY", value_parser = keys::name)]
    pub(crate) key: Option<String>,
    /// An object with the settings, what is ignored, and the files
    #[arg(long, conflicts_with = "key")]
    pub(crate) json: bool,
}
