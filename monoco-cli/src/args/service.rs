//! What `service` can be told.

use clap::{Args as Arguments, Subcommand};

use super::ServeOptions;

/// Let systemd keep `monoco serve` running for this account
#[derive(Debug, Arguments)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub(crate) struct Service {
    #[command(subcommand)]
    pub(crate) verb: ServiceVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceVerb {
    Install(Box<ServiceInstall>),
    Uninstall(ServiceUninstall),
    Status(ServiceStatus),
}

/// Write the units of systemd, enable and start them; again to upgrade
///
/// Serves all projects of this account unless some are named. The sessions do
/// not belong to the service: they go on when it is stopped, upgraded or removed.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  monoco service install
  monoco service install --project ~/work/api --listen 127.0.0.1:9000")]
pub(crate) struct ServiceInstall {
    #[command(flatten)]
    pub(crate) options: ServeOptions,
}

/// Stop and disable the service, and remove its units; sessions go on
#[derive(Debug, Arguments)]
pub(crate) struct ServiceUninstall {}

/// Say whether the service is installed, and whether it runs
#[derive(Debug, Arguments)]
#[command(after_help = "\
Exit status: 0 when it runs, 3 when it does not, 4 when it is not installed.")]
pub(crate) struct ServiceStatus {
    /// A JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
