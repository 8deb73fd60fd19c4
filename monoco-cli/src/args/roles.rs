//! `monoco roles`: its options.

use clap::Args as Arguments;

/// List the roles that agents can be given, or show one of them
///
/// Roles are built in, the user's (~/.monoco/roles.yaml, ~/.monoco/roles/*.yaml) or
/// the project's (the same in .monoco). Of several with one name, the last wins.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  monoco roles
  monoco roles Reviewer > .monoco/roles/reviewer.yaml")]
pub(crate) struct Roles {
    /// Show the whole role, as YAML
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// A JSON array of roles
    #[arg(long)]
    pub(crate) json: bool,
}
