//! `monoco engines`: which agents' programs there are, and whether they are ready.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::Engines as Args;
use crate::config::Config;
use crate::engines::ready::{self, Readiness};
use crate::engines::{Engine, Engines, Source};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::table::{Cell, Style, Table};
use crate::output::{self, Terminal, json};

/// One engine, as programs are told.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    name: &'a str,
    program: &'a str,
    path: Option<PathBuf>,
    version: Option<String>,
    ready: bool,
    problem: Option<String>,
    conversation: &'static str,
    added: &'a [String],
    /// Who says so: `built in`, or files.
    sources: Vec<String>,
}

pub(super) fn engines(project: Option<&Path>, args: &Args) -> Result<Exit, CliError> {
    let config = Config::load(project)?;
    let engines = Engines::load(project, &config)?;
    engines.tell_warnings();
    let ready = ready::look(engines.iter());
    let listed: Vec<_> = engines.iter().zip(ready).map(listed).collect();
    if args.json {
        json::print_array(&listed)?;
        return Ok(Exit::SUCCESS);
    }
    let terminal = Terminal::of_stdout();
    let columns = terminal.map(|terminal| terminal.columns);
    let colour = terminal.is_some_and(|terminal| terminal.colour);
    let mut out = output::stdout();
    let written = table(&listed).write(&mut out, columns, colour);
    output::written(written.and_then(|()| out.flush()))?;
    Ok(Exit::SUCCESS)
}

fn listed((engine, readiness): (&Engine, Readiness)) -> Listed<'_> {
    Listed {
        name: &engine.name,
        program: &engine.program,
        path: readiness.program,
        version: readiness.version,
        ready: readiness.problem.is_none(),
        problem: readiness.problem,
        conversation: engine.conversation.as_str(),
        added: engine.added.as_ref().map_or(&[], |added| &added.args),
        sources: engine.sources.iter().map(Source::to_string).collect(),
    }
}

fn table(engines: &[Listed<'_>]) -> Table<6> {
    let mut table = Table::new(["ENGINE", "READY", "VERSION", "PROGRAM", "SOURCE", "WHY NOT"]);
    for engine in engines {
        let (ready, style) = match engine.ready {
            true => ("yes", Style::Green),
            false => ("no", Style::Yellow),
        };
        let path = engine.path.as_deref().map(Path::to_string_lossy);
        table.push([
            Cell::new(engine.name),
            Cell::styled(ready, style),
            Cell::new(engine.version.as_deref().unwrap_or_default()),
            Cell::new(path.unwrap_or_default()),
            Cell::new(engine.sources.join(", ")),
            Cell::new(engine.problem.as_deref().unwrap_or_default()),
        ]);
    }
    table
}
