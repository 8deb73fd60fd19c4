//! What can be typed after `monoco run`. It has two forms: a command, all of whose
//! words from the first on are the agent's; and, with `-e` or `-p`, a prompt for an
//! engine, after which options may follow, and of which only what stands after `--` is
//! the agent's.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgMatches, Args as Arguments, Command, value_parser};

use super::{Label, duration, names};

/// Run an agent as a session that outlives this terminal
///
/// In the foreground the agent's output is streamed, and monoco exits with the
/// agent's code. Ctrl-C (or TERM) stops the session, a second one kills it; a closed
/// terminal does neither.
///
/// With an engine (`monoco engines` lists them) the prompt is put together from the
/// role's system prompt, the issue's path and title, the role's goal, and PROMPT; what
/// stands after `--` goes to the engine's program as it is.
#[derive(Debug, Arguments)]
#[command(
    override_usage = "\
monoco run [OPTIONS] [--] CMD...
       monoco run [OPTIONS] -e ENGINE [PROMPT]... [-- ARGS...]",
    after_help = "\
Examples:
  monoco run -d -i FEAT-101 -- claude -p \"write the tests\"
  monoco run --timeout 15m --name review -- codex exec \"review main\"
  monoco run -d -e claude -i FEAT-101 \"Implement it\" -- --model opus
  monoco run -e codex --dry-run \"review main\"

Exit status: the agent's own; 128+n when signal n ended it; 124 when its time
was up; 127 when the program does not exist, 126 when it cannot be executed;
125 when monoco itself failed."
)]
pub(crate) struct Run {
    /// Return once the agent runs, and print the session's id
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// The engine to give the prompt to [default: the role's, if there is no CMD]
    #[arg(short, long, value_name = "ENGINE")]
    pub(crate) engine: Option<String>,
    /// The prompt, instead of words: for one that begins with `-`
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// The issue the agent works on [default: NEW_TASK]
    #[arg(short, long, value_name = "ISSUE", value_parser = names::issue)]
    pub(crate) issue: Option<String>,
    /// The agent's role [default: Default]
    #[arg(short, long, value_name = "ROLE", value_parser = names::role)]
    pub(crate) role: Option<String>,
    /// A name for the session; no two living sessions share one
    #[arg(short, long, value_name = "NAME", value_parser = names::name)]
    pub(crate) name: Option<String>,
    /// A label; may be given more than once
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<Label>,
    /// Stop the agent after this time, not counting suspensions (90, 15m, 2h)
    #[arg(short, long, value_name = "TIME", value_parser = duration::timeout)]
    pub(crate) timeout: Option<Duration>,
    /// Remove the record and the log once the session has ended
    #[arg(long)]
    pub(crate) rm: bool,
    /// Let live what the agent leaves running when it exits
    #[arg(long)]
    pub(crate) leave_children: bool,
    /// Pass standard input to the agent also where it is not done by itself:
    /// to an engine, a pipe with --detach, a device (never a terminal)
    #[arg(long)]
    pub(crate) stdin: bool,
    /// Only say what would be run; nothing is started or recorded
    #[arg(long, conflicts_with = "detach")]
    pub(crate) dry_run: bool,
    /// With --dry-run: as a JSON object
    #[arg(long, requires = "dry_run")]
    pub(crate) json: bool,
    /// The agent's program and its arguments; with -e, the prompt
    #[arg(
        required_unless_present_any = ["engine", "prompt", "role"],
        trailing_var_arg = true,
        value_name = "CMD"
    )]
    pub(crate) command: Vec<OsString>,
    /// What stands after `--` behind a prompt.
    #[arg(skip)]
    pub(crate) extra: Vec<OsString>,
}

/// Whether `run` was asked to give a prompt to an engine, and its words are none of a
/// command.
pub(super) fn is_for_engine(matches: &ArgMatches) -> bool {
    let Some(("run", run)) = matches.subcommand() else {
        return false;
    };
    run.contains_id("engine") || run.contains_id("prompt")
}

/// The command tree in which `run` takes a prompt.
pub(super) fn with_prompt(command: Command) -> Command {
    command.mut_subcommand("run", |run| {
        let extra = Arg::new("extra").last(true).num_args(1..);
        let run = run.mut_arg("command", |command| {
            command.trailing_var_arg(false).value_name("PROMPT")
        });
        run.arg(
            extra
                .value_name("ARGS")
                .value_parser(value_parser!(OsString)),
        )
    })
}

/// What stands after `--` behind a prompt.
pub(super) fn extra(matches: &ArgMatches) -> Vec<OsString> {
    let run = matches.subcommand_matches("run");
    let extra = run.and_then(|run| run.try_get_many("extra").ok().flatten());
    extra.into_iter().flatten().cloned().collect()
}

impl Run {
    /// Whether there is a command to be run, and not a prompt.
    pub(crate) fn is_command(&self) -> bool {
        self.engine.is_none() && self.prompt.is_none() && !self.command.is_empty()
    }

    /// The prompt that was typed.
    pub(crate) fn text(&self) -> Option<String> {
        let words = self.command.iter().map(|word| word.to_string_lossy());
        let words = (!self.command.is_empty()).then(|| words.collect::<Vec<_>>().join(" "));
        self.prompt.clone().or(words)
    }

    /// What speaks against it that clap does not know.
    pub(super) fn refusal(&self) -> Option<String> {
        if self.is_command() {
            return None;
        }
        let words = if self.prompt.is_some() && !self.command.is_empty() {
            "a prompt is given either by '--prompt' or by words"
        } else if self.command.iter().any(|word| word.to_str().is_none()) {
            "a prompt is UTF-8 text"
        } else {
            return None;
        };
        Some(words.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Args, Verb};
    use super::*;

    fn read(line: &[&str]) -> Result<Run, clap::Error> {
        let args = Args::read(["monoco", "run"].iter().chain(line))?;
        match args.verb {
            Verb::Run(run) => Ok(*run),
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn both_command_trees_are_consistent() {
        with_prompt(crate::command()).debug_assert();
    }

    #[track_caller]
    fn check(line: &[&str], text: Option<&str>, extra: &[&str]) {
        let run = read(line).expect("valid");
        assert!(!run.is_command());
        assert_eq!(run.text().as_deref(), text);
        assert_eq!(run.extra, extra);
    }

    #[test]
    fn with_an_engine_words_are_a_prompt() {
        check(&["-e", "x", "Implement", "it"], Some("Implement it"), &[]);
        check(&["-e", "x", "a  b"], Some("a  b"), &[]);
        check(&["-e", "x"], None, &[]);
        check(&["-e", "x", "--", "-m", "y"], None, &["-m", "y"]);
        check(
            &["-e", "x", "a", "--", "--", "-d"],
            Some("a"),
            &["--", "-d"],
        );
        check(&["-p", "-a: b", "--", "c"], Some("-a: b"), &["c"]);
        check(&["-r", "role"], None, &[]);
    }

    #[test]
    fn options_may_follow_a_prompt() {
        let run = read(&["-e", "x", "do", "-i", "FEAT-1", "it", "-d"]).expect("valid");
        assert_eq!(run.text().as_deref(), Some("do it"));
        assert_eq!(run.issue.as_deref(), Some("FEAT-1"));
        assert!(run.detach);
        assert!(read(&["-e", "x", "do", "--unknown"]).is_err());
    }

    #[test]
    fn a_command_is_one_whatever_its_words_are() {
        for line in [
            &["-r", "role", "agent", "-e", "x", "--", "-p", "y"][..],
            &["-r", "role", "--", "agent", "-e", "x", "--", "-p", "y"],
        ] {
            let run = read(line).expect("valid");
            assert!(run.is_command() && run.extra.is_empty());
            assert_eq!(run.command, ["agent", "-e", "x", "--", "-p", "y"]);
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for (line, why) in [
            (&[][..], "CMD"),
            (&["-d"], "CMD"),
            (&["-e", "x", "-p", "a", "b"], "either"),
            (&["--json", "a"], "--dry-run"),
            (&["--dry-run", "-d", "a"], "--detach"),
        ] {
            let error = read(line).expect_err(why);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
