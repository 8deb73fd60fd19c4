//! `monoco roles`: what agents can be told about who they are.

use std::path::Path;

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::table::{Cell, Style, Table};
use crate::roles::{Damaged, Role, Roles, Source};
use crate::{args, nearest, output, project, xdg};

pub(super) fn roles(project: Option<&Path>, args: &args::Roles) -> Result<Exit, CliError> {
    let home = xdg::home();
    let roles = Roles::load(home.as_deref(), project);
    for Damaged { path, problem } in roles.damaged() {
        output::words(&format!("skipped {}: {problem}", path.display()));
    }
    match &args.name {
        Some(name) => one(named(&roles, name)?, args.json),
        None if args.json => output::json::print_array(roles.all()),
        None => all(&roles, project),
    }?;
    Ok(Exit::SUCCESS)
}

/// The role of that name.
pub(super) fn named<'a>(roles: &'a Roles, name: &str) -> Result<&'a Role, CliError> {
    roles.get(name).ok_or_else(|| {
        let known = roles.all().iter().map(|role| role.name.as_str());
        let near = nearest::nearest(name, known);
        CliError::NoSuchRole {
            name: name.to_owned(),
            instead: near.map_or(String::new(), |near| format!("; did you mean `{near}`?")),
        }
    })
}

fn one(role: &Role, json: bool) -> Result<(), CliError> {
    if json {
        return output::json::print_array(std::slice::from_ref(role));
    }
    output::line(&format!("# {}", role.source))?;
    for line in role.to_yaml().lines() {
        output::line(line)?;
    }
    Ok(())
}

fn all(roles: &Roles, project: Option<&Path>) -> Result<(), CliError> {
    let mut table = Table::new(["NAME", "ENGINE", "SOURCE", "DESCRIPTION"]);
    for role in roles.all() {
        let source = match &role.source {
            Source::BuiltIn => Cell::styled(role.source.to_string(), Style::Dim),
            Source::User { path } | Source::Project { path } => {
                Cell::new(project::short(path, project).display().to_string())
            }
        };
        table.push([
            Cell::new(&*role.name),
            Cell::new(role.engine.as_deref().unwrap_or_default()),
            source,
            Cell::new(&*role.description),
        ]);
    }
    table.print()
}
