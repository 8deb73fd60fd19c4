//! `monoco run --dry-run`: exactly what would be run; nothing is started, and nothing
//! is recorded.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use session_worker::AgentStdin;

use super::agent::Agent;
use super::shell::{one, quoted};
use crate::args::Run;
use crate::engines::Added;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{self, sanitise};

/// What would be run, in the order in which it is told.
#[derive(Debug, Serialize)]
struct Plan<'a> {
    project: &'a Path,
    cwd: PathBuf,
    issue_id: Option<&'a str>,
    role_name: &'a str,
    engine: Option<&'a str>,
    conversation_id: Option<&'a str>,
    stdin: &'static str,
    added: &'a [Added],
    env: Vec<(String, String)>,
    argv: Vec<String>,
    prompt: Option<&'a str>,
}

pub(super) fn dry_run(
    project: &Path,
    args: &Run,
    agent: &Agent,
    stdin: AgentStdin,
) -> Result<Exit, CliError> {
    let told = agent.told.as_ref();
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let env = agent.env.iter();
    let plan = Plan {
        project,
        cwd: std::env::current_dir().map_err(CliError::WorkingDirectory)?,
        issue_id: args.issue.as_deref(),
        role_name: &agent.role,
        engine: told.map(|told| told.engine.as_str()),
        conversation_id: told.and_then(|told| told.conversation.as_deref()),
        stdin: match stdin {
            AgentStdin::Null => "/dev/null",
            AgentStdin::Inherit => "inherited",
        },
        added: told.map_or(&[], |told| &told.added),
        env: env.map(|(name, value)| (text(name), text(value))).collect(),
        argv: agent.argv.iter().map(text).collect(),
        prompt: told.map(|told| told.prompt.as_str()),
    };
    let mut out = output::stdout();
    let written = match args.json {
        true => serde_json::to_writer_pretty(&mut out, &plan)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n")),
        false => plan.write(&mut out),
    };
    output::written(written.and_then(|()| out.flush()))?;
    Ok(Exit::SUCCESS)
}

impl Plan<'_> {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let cwd = self.cwd.to_string_lossy();
        let fields = [
            ("Directory", Some(cwd.as_ref())),
            ("Issue", self.issue_id),
            ("Role", Some(self.role_name)),
            ("Engine", self.engine),
            ("Conversation", self.conversation_id),
            ("Stdin", Some(self.stdin)),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                writeln!(out, "{name:<13}{}", sanitise::line(value))?;
            }
        }
        for added in self.added {
            let words = format!("{} ({})", quoted(&added.args), added.by);
            writeln!(out, "{:<13}{}", "Added", sanitise::line(&words))?;
        }
        for (name, value) in &self.env {
            let words = format!("{name}={}", one(value));
            writeln!(out, "{:<13}{}", "Environment", sanitise::line(&words))?;
        }
        writeln!(out, "Command")?;
        for word in &self.argv {
            writeln!(out, "  {}", sanitise::line(&one(word)))?;
        }
        let Some(prompt) = self.prompt else {
            return Ok(());
        };
        writeln!(out, "Prompt")?;
        prompt.split('\n').try_for_each(|line| match line {
            "" => writeln!(out),
            line => writeln!(out, "  {}", sanitise::line(line)),
        })
    }
}
