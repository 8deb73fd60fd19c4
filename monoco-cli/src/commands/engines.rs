//! `monoco engines`: which agents' programs there are, and whether they are ready.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::Engines as Args;
use crate::engines::ready::{self, Readiness};
use crate::engines::{Engine, Engines, Settings, Source};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::table::{Cell, Style, Table};
use crate::output::{self, Terminal, json};
use crate::project;

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
    let project = project::find(project)?;
    let engines = Engines::load(project.as_deref(), Settings::default())?;
    engines.tell_ignored();
    let ready = ready::look(engines.iter());
    let listed: Vec<_> = engines.iter().zip(ready).map(listed).collect();
    let mut out = output::stdout();
    let written = if args.json {
        let elements = listed.iter().map(|engine| {
            serde_json::to_vec(engine)
                .expect("paths come from text")
                .into_boxed_slice()
        });
        json::write_array(&mut out, elements)
    } else {
        let terminal = Terminal::of_stdout();
        let columns = terminal.map(|terminal| terminal.columns);
        let colour = terminal.is_some_and(|terminal| terminal.colour);
        table(&listed).write(&mut out, columns, colour)
    };
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
