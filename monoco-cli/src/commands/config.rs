//! `monoco config`: what is configured, and where each value comes from.

use std::path::Path;

use serde::Serialize;

use crate::config::{Config, Looked, Place, Setting, Source, Value};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::table::{Cell, Style, Table};
use crate::{args, output, project};

pub(super) fn config(project: Option<&Path>, args: &args::Config) -> Result<Exit, CliError> {
    let config = Config::load(project)?;
    match &args.key {
        Some(key) => one(&config, key),
        None if args.json => json(&config),
        None => all(&config, project),
    }
}

fn one(config: &Config, key: &str) -> Result<Exit, CliError> {
    config
        .warnings(key)
        .iter()
        .for_each(|words| output::words(words));
    match config.setting(key) {
        Some(setting) => output::line(&setting.value.to_string()).map(|()| Exit::SUCCESS),
        None => Ok(Exit::FINDINGS),
    }
}

fn all(config: &Config, project: Option<&Path>) -> Result<Exit, CliError> {
    let mut table = Table::new(["KEY", "SOURCE", "VALUE"]);
    for (name, setting) in config.settings() {
        table.push(row(name, setting, project));
    }
    for (name, value, place) in config.ignored() {
        let source = format!("{} (not trusted: ignored)", short(place, project));
        table.push([
            Cell::new(name),
            Cell::styled(source, Style::Yellow),
            Cell::styled(value.to_string(), Style::Dim),
        ]);
    }
    table.print()?;
    for Looked { path, found } in config.files() {
        let found = if *found { "read" } else { "there is no" };
        output::words(&format!("{found} {}", path.display()));
    }
    Ok(Exit::SUCCESS)
}

fn row(name: &str, setting: Option<&Setting>, project: Option<&Path>) -> [Cell; 3] {
    let Some(Setting { value, source }) = setting else {
        return [name, "not set", ""].map(|text| Cell::styled(text, Style::Dim));
    };
    let (source, style) = match source {
        Source::Default => ("default".to_owned(), Style::Dim),
        Source::File(place) => (short(place, project), Style::Plain),
        Source::Environment { variable } => (variable.clone(), Style::Plain),
    };
    [
        Cell::new(name),
        Cell::styled(source, style),
        Cell::styled(value.to_string(), style),
    ]
}

fn short(place: &Place, project: Option<&Path>) -> String {
    let path = project::short(&place.path, project);
    let (line, column) = (place.line, place.column);
    Place { path, line, column }.to_string()
}

#[derive(Serialize)]
struct Whole<'a> {
    settings: Vec<OneSetting<'a>>,
    ignored: Vec<OneIgnored<'a>>,
    files: &'a [Looked],
}

#[derive(Serialize)]
struct OneSetting<'a> {
    key: &'a str,
    value: Option<&'a Value>,
    source: &'a Source,
}

#[derive(Serialize)]
struct OneIgnored<'a> {
    key: &'a str,
    value: &'a Value,
    place: &'a Place,
}

impl<'a> OneSetting<'a> {
    fn new((key, setting): (&'a str, Option<&'a Setting>)) -> Self {
        Self {
            key,
            value: setting.map(|setting| &setting.value),
            source: setting.map_or(&Source::Default, |setting| &setting.source),
        }
    }
}

fn json(config: &Config) -> Result<Exit, CliError> {
    let settings = config.settings().into_iter();
    let ignored = config.ignored();
    let whole = Whole {
        settings: settings.map(OneSetting::new).collect(),
        ignored: ignored
            .map(|(key, value, place)| OneIgnored { key, value, place })
            .collect(),
        files: config.files(),
    };
    output::json::print(&whole)?;
    Ok(Exit::SUCCESS)
}
