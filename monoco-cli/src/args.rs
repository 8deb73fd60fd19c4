//! The command tree: what can be typed, and what `--help` says about it.

mod config;
pub(crate) mod duration;
mod issue;
mod label;
mod listen;
pub(crate) mod names;
mod resume;
mod roles;
mod run;
mod serve;
mod service;
mod signal;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{
    ArgMatches, Args as Arguments, Command, CommandFactory, FromArgMatches, Parser, Subcommand,
    ValueEnum,
};
use session_core::Status;

pub(crate) use config::Config;
pub(crate) use issue::{Issue, IssueLint, IssueVerb};
pub(crate) use label::{Label, LabelFilter, checked_key as label_key};
pub(crate) use resume::{Recover, Resume};
pub(crate) use roles::Roles;
pub(crate) use run::Run;
pub(crate) use serve::{LogFormat, Serve, ServeOptions};
pub(crate) use service::{Service, ServiceStatus, ServiceVerb};
pub(crate) use signal::{SignalNumber, name as signal_name};

/// The widest that help is on any terminal.
const MAX_WIDTH: usize = 79;

/// Keeps sessions of AI coding agents: they outlive the terminal, and no status
/// is ever made up.
#[derive(Debug, Parser)]
#[command(
    name = "monoco",
    version,
    max_term_width = MAX_WIDTH,
    arg_required_else_help = true,
    after_long_help = "\
A session is named by its id, a unique prefix of it, or its name.

Environment:
  MONOCO_PROJECT  the project's directory; set for agents, so that what they
                  start lands in the same project
  MONOCO_RUN_TIMEOUT and others
                  over the configuration: `monoco config` lists its keys
  XDG_CONFIG_HOME where the user's configuration is, in monoco/
                  [default: ~/.config]
  XDG_STATE_HOME  where the daemon's token and the list of projects are, in
                  monoco/ [default: ~/.local/state]
  NO_COLOR        no colours, where it is set and not empty

Exit status: the agent's own; 128+n when signal n ended it; never 0 for what
was stopped; 124 when its time was up; 127 when the program does not exist,
126 when it cannot be executed; 125 when monoco itself failed; 2 for a usage
error."
)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

// Its documentation would become the command's.
#[derive(Debug, Arguments)]
#[group(skip)]
struct Place {
    /// The project's directory, instead of searching upwards for .monoco, then
    /// for .git (or set MONOCO_PROJECT)
    #[arg(long, value_name = "DIR")]
    project: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(Box<Run>),
    Ps(Ps),
    Show(Show),
    Logs(Logs),
    Wait(Wait),
    Stop(Stop),
    Kill(Kill),
    Suspend(Suspend),
    Resume(Resume),
    Recover(Recover),
    Rm(Rm),
    Prune(Prune),
    Adopt(Adopt),
    Reconcile(Reconcile),
    Doctor(Doctor),
    Engines(Engines),
    Roles(Roles),
    Config(Config),
    Serve(Box<Serve>),
    Service(Service),
    Issue(Issue),
    Completions(Completions),
}

impl Args {
    /// The command tree. `--project` may stand after every verb as well. It is no
    /// global argument of clap's: of two values before and after a verb those
    /// lose one without a word.
    pub(crate) fn tree() -> Command {
        with_project(<Self as CommandFactory>::command())
    }

    /// The same with nothing but the verb that a line begins with, where it is one of
    /// those that are used most: to make the others takes longer than to read the line.
    fn tree_for(line: &[OsString]) -> Command {
        let verb = match line.get(1).and_then(|word| word.to_str()) {
            Some("run") => Run::augment_args(Command::new("run")),
            Some("ps") => Ps::augment_args(Command::new("ps")),
            _ => return crate::command(),
        };
        let command = Command::new("monoco").max_term_width(MAX_WIDTH);
        with_project(Place::augment_args(command).subcommand(verb))
    }

    /// Reads a command line, whose first word is the program's name.
    pub(crate) fn read(
        line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let line: Vec<OsString> = line.into_iter().map(Into::into).collect();
        let mut command = Self::tree_for(&line);
        let mut matches = command.try_get_matches_from_mut(&line)?;
        if run::is_for_engine(&matches) {
            command = run::with_prompt(Self::tree_for(&line));
            matches = command.try_get_matches_from_mut(&line)?;
        }
        let mut args = Self::from_arg_matches(&matches)?;
        args.place.project = projects(&matches);
        let refusal = match &mut args.verb {
            Verb::Service(Service {
                verb: ServiceVerb::Install(install),
            }) => {
                install.options.projects = std::mem::take(&mut args.place.project);
                install.options.refusal_as_service()
            }
            Verb::Serve(serve) => {
                serve.options.projects = std::mem::take(&mut args.place.project);
                serve.options.refusal()
            }
            Verb::Resume(resume) => {
                resume.sort();
                resume.refusal().or_else(|| args.refusal())
            }
            Verb::Run(run) => {
                run.extra = run::extra(&matches);
                run.refusal().or_else(|| args.refusal())
            }
            _ => args.refusal(),
        };
        match refusal {
            Some(words) => Err(command.error(ErrorKind::ArgumentConflict, words)),
            None => Ok(args),
        }
    }

    /// The one project that was named.
    pub(crate) fn project(&self) -> Option<&Path> {
        self.place.project.first().map(PathBuf::as_path)
    }

    /// Most commands are about one project.
    fn refusal(&self) -> Option<String> {
        let several = self.place.project.len() > 1;
        several
            .then(|| "'--project' can be given once: this command is about one project".to_owned())
    }
}

/// `--project` after every verb as well.
fn with_project(command: Command) -> Command {
    let place = Place::augment_args(Command::new("place"));
    let project = place.get_arguments().next();
    below(command, project.expect("it is declared above"))
}

fn below(command: Command, project: &clap::Arg) -> Command {
    command.mut_subcommands(|subcommand| {
        let has_it = subcommand
            .get_arguments()
            .any(|arg| arg.get_id() == "project");
        let subcommand = below(subcommand, project);
        if has_it {
            subcommand
        } else {
            subcommand.arg(project.clone())
        }
    })
}

/// The projects that were named, wherever they stand in the line.
fn projects(matches: &ArgMatches) -> Vec<PathBuf> {
    let here = matches.try_get_many("project").ok().flatten();
    let mut projects: Vec<PathBuf> = here.into_iter().flatten().cloned().collect();
    if let Some((_, below)) = matches.subcommand() {
        projects.extend(self::projects(below));
    }
    projects
}

/// List the sessions that live (-a: all, newest first)
///
/// A session whose owner died is looked at, not guessed at: `running (orphan)`
/// when its agent still runs, `terminated (lost: …)` when it is gone, `unknown`
/// when that cannot be told from here.
#[derive(Debug, Arguments)]
#[command(visible_aliases = ["ls", "list"], after_help = "\
Examples:
  monoco ps -a --status failed --status crashed
  monoco ps --json | jq -r '.[].id'
  monoco stop $(monoco ps -q --issue FEAT-101)")]
pub(crate) struct Ps {
    /// All sessions, not only those that live
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only the ids
    #[arg(short, long, conflicts_with_all = ["json", "watch"])]
    pub(crate) quiet: bool,
    /// Only sessions of this issue
    #[arg(short, long, value_name = "ISSUE")]
    pub(crate) issue: Option<String>,
    /// Only sessions with this status; may be given more than once
    #[arg(
        short,
        long,
        value_name = "STATUS",
        value_enum,
        hide_possible_values = true,
        long_help = "Only sessions with this status; may be given more than once: pending, \
running, suspended, completed, failed, timeout, terminated, crashed, orphan, unknown, corrupt. \
One that no living session has implies --all"
    )]
    pub(crate) status: Vec<StatusFilter>,
    /// Only sessions in this role
    #[arg(short, long, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// Only sessions with this label; may be given more than once
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<LabelFilter>,
    /// Go on showing what changes; without a terminal, one line per change
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// A JSON array of records (with --watch: one object per line)
    #[arg(long)]
    pub(crate) json: bool,
    /// Do not record the end of sessions that were found lost
    #[arg(long)]
    pub(crate) no_reconcile: bool,
}

/// Show whole records, and whether to believe them
#[derive(Debug, Arguments)]
#[command(
    visible_alias = "inspect",
    after_help = "\
Example:
  monoco show --json 36f675cc | jq '.[0].outcome'"
)]
pub(crate) struct Show {
    /// The session: its id, a unique prefix of it, or its name
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// A JSON array of records
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print what an agent printed
///
/// What is known of an engine's JSON lines is shown as text. On a terminal, control
/// characters other than colours are made visible.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  monoco logs -f -n 100 36f675cc")]
pub(crate) struct Logs {
    /// The session: its id, a unique prefix of it, or its name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Go on until the session ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) tail: Option<u64>,
    /// The bytes as they are: JSON lines as well, and on a terminal too
    #[arg(long)]
    pub(crate) raw: bool,
}

/// Wait until sessions have ended
///
/// Prints the exit code of each, and exits with the last that is not 0.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  monoco wait --timeout 1h review && echo done

Exit status: the agent's own; 124 when TIME was up first; 125 when nobody saw
how a session ended.")]
pub(crate) struct Wait {
    /// The session: its id, a unique prefix of it, or its name
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Give up after this time (90, 15m, 2h); the sessions go on
    #[arg(short, long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
}

/// Ask sessions to end, and kill them when the time is up
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  monoco stop -t 30 36f675cc review")]
pub(crate) struct Stop {
    /// The session: its id, a unique prefix of it, or its name
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// How long the agent may take to end by itself
    #[arg(short, long, value_name = "TIME", default_value = "10", value_parser = duration::parse)]
    pub(crate) time: Duration,
}

/// Kill sessions at once, or send their agents another signal
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  monoco kill -s INT 36f675cc

KILL goes to the agent and all its descendants, any other signal to the
agent's first process.")]
pub(crate) struct Kill {
    /// The session: its id, a unique prefix of it, or its name
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// The signal: a name, with or without SIG, or a number
    #[arg(short, long, value_name = "SIG", default_value = "KILL")]
    pub(crate) signal: SignalNumber,
}

/// Freeze sessions: the agent with all its descendants
#[derive(Debug, Arguments)]
#[command(
    visible_alias = "pause",
    after_help = "\
Example:
  monoco suspend $(monoco ps -q)

The clock of a session's timeout stops as well."
)]
pub(crate) struct Suspend {
    /// The session: its id, a unique prefix of it, or its name
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
}

/// Remove ended sessions: their records and their logs
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  monoco rm -f 36f675cc")]
pub(crate) struct Rm {
    /// The session: its id, a unique prefix of it, or its name
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Kill the session first if it lives; remove damaged records too
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Remove all ended sessions, or those that ended long ago
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  monoco prune --older-than 30d --dry-run")]
pub(crate) struct Prune {
    /// Only sessions that ended longer ago than this (90, 12h, 7d)
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) older_than: Option<Duration>,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Give orphans (agents that outlived their owner) a new owner
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  monoco adopt 36f675cc
  monoco adopt --all")]
pub(crate) struct Adopt {
    /// The session: its id, a unique prefix of it, or its name
    #[arg(
        required_unless_present = "all",
        conflicts_with = "all",
        value_name = "ID"
    )]
    pub(crate) ids: Vec<String>,
    /// All orphans of the project
    #[arg(long)]
    pub(crate) all: bool,
}

/// Record the end of sessions that ended without their owner
///
/// Only what is certain is recorded. It can be run at any time, any number of
/// times at once; the commands that list do the same for what they find.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  monoco reconcile --dry-run")]
pub(crate) struct Reconcile {
    /// Only say what would be recorded
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Look for what is wrong, and say what to do about it
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  monoco doctor --fix

Exit status: 0 when all is well, 1 when something is left to do.")]
pub(crate) struct Doctor {
    /// Mend what can be mended without a decision: record lost sessions as
    /// such, and sweep up what starters that died left
    #[arg(long)]
    pub(crate) fix: bool,
}

/// List the engines of `run -e`: which are ready, and why not
///
/// An engine is ready when its program is found, tells its version within 10
/// seconds, and something is there that it authenticates with. Its model is not asked.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  monoco engines
  monoco engines --json | jq -r '.[] | select(.ready).name'")]
pub(crate) struct Engines {
    /// A JSON array of engines
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the completions for a shell
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  monoco completions bash > ~/.local/share/bash-completion/completions/monoco
  monoco completions fish > ~/.config/fish/completions/monoco.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// What `ps --status` can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFilter {
    Pending,
    Running,
    Suspended,
    Completed,
    Failed,
    Timeout,
    Terminated,
    Crashed,
    /// The agent runs, its owner is dead.
    Orphan,
    /// It cannot be told from here.
    Unknown,
    /// The record cannot be read.
    Corrupt,
}

impl StatusFilter {
    /// The status it asks for, where it is one.
    pub(crate) fn status(self) -> Option<Status> {
        match self {
            Self::Pending => Some(Status::Pending),
            Self::Running => Some(Status::Running),
            Self::Suspended => Some(Status::Suspended),
            Self::Completed => Some(Status::Completed),
            Self::Failed => Some(Status::Failed),
            Self::Timeout => Some(Status::Timeout),
            Self::Terminated => Some(Status::Terminated),
            Self::Crashed => Some(Status::Crashed),
            Self::Orphan | Self::Unknown | Self::Corrupt => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        crate::command().debug_assert();
    }

    fn read(line: &str) -> Result<Args, clap::Error> {
        Args::read(line.split(' '))
    }

    #[test]
    fn a_project_may_be_named_anywhere_but_only_once() {
        for line in [
            "monoco --project /p ps",
            "monoco ps --project /p",
            "monoco ps --project=/p -a",
            "monoco service --project /p status",
            "monoco run --project /p x --project /agents",
        ] {
            let args = read(line).expect(line);
            assert_eq!(args.project(), Some(Path::new("/p")), "{line}");
        }
        for line in [
            "monoco --project /p ps --project /q",
            "monoco ps --project /p --project /q",
            "monoco --project /p --project /q run x",
            "monoco --project /p service --project /q status",
        ] {
            let error = read(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains("given once"), "{error}");
        }
    }

    #[test]
    fn a_service_may_be_about_many_projects() {
        let line = "monoco --project /a service --project /b install --project /c --project /d";
        let Verb::Service(service) = read(line).expect("valid").verb else {
            panic!("not service")
        };
        let ServiceVerb::Install(install) = service.verb else {
            panic!("not install")
        };
        let named = install.options.projects;
        assert_eq!(named, ["/a", "/b", "/c", "/d"].map(PathBuf::from));
        for line in [
            "monoco --project /a service install --all",
            "monoco service install --all --project /a",
        ] {
            let error = read(line).expect_err(line).to_string();
            assert!(error.contains("--all"), "{error}");
        }
    }

    #[test]
    fn what_follows_the_program_is_the_agents() {
        for line in [
            "monoco run -d -- agent -d --name x",
            "monoco run -d agent -d --name x",
        ] {
            let args = read(line).expect("valid");
            let Verb::Run(run) = args.verb else {
                panic!("not run")
            };
            assert!(run.detach && run.name.is_none());
            assert_eq!(run.command, ["agent", "-d", "--name", "x"]);
        }
        assert!(Args::try_parse_from(["monoco", "run", "--unknown", "--", "x"]).is_err());
    }
}
