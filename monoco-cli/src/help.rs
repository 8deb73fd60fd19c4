//! The top level's help: its commands in groups, in the order one meets them.

use std::fmt::Write;

use clap::Command;

const GROUPS: [(&str, &[&str]); 7] = [
    (
        "Start and stop",
        &["run", "stop", "kill", "suspend", "resume"],
    ),
    ("Look", &["ps", "show", "logs", "wait"]),
    ("Tidy up", &["rm", "prune"]),
    (
        "After accidents",
        &["recover", "adopt", "reconcile", "doctor"],
    ),
    ("A daemon", &["serve", "service"]),
    ("Set up", &["engines", "roles", "config"]),
    ("Issues", &["issue"]),
];
const OTHERS: (&str, &[&str]) = ("Other", &["completions", "help"]);

/// `command` with a help that groups its subcommands.
pub(crate) fn grouped(command: Command) -> Command {
    let mut groups = String::new();
    for (heading, names) in GROUPS.iter().chain([&OTHERS]) {
        // Writing to a string does not fail.
        let _ = writeln!(groups, "\n{heading}:");
        for name in *names {
            let about = about(&command, name);
            let _ = writeln!(groups, "  {name:<13}{about}");
        }
    }
    command.help_template(format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n{groups}\nOptions:\n{{options}}{{after-help}}"
    ))
}

fn about(command: &Command, name: &str) -> String {
    match command.find_subcommand(name).and_then(Command::get_about) {
        Some(about) => about.to_string(),
        None => "Print the help of a command".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let command = crate::command();
        let grouped = || {
            let groups = GROUPS.iter().chain([&OTHERS]);
            groups.flat_map(|(_, names)| names.iter().copied())
        };
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            assert_eq!(
                grouped().filter(|listed| *listed == name).count(),
                1,
                "{name}"
            );
        }
        assert_eq!(
            grouped().count(),
            command.get_subcommands().count() + 1,
            "help is clap's own"
        );
    }

    #[test]
    fn the_help_is_narrower_than_a_terminal() {
        let mut command = crate::command();
        command.build();
        for command in std::iter::once(&mut command.clone()).chain(command.get_subcommands_mut()) {
            let help = command.render_long_help().to_string();
            let widest = help.lines().max_by_key(|line| line.chars().count());
            assert!(
                widest.is_none_or(|line| line.chars().count() < 80),
                "{widest:?}"
            );
        }
    }

    #[test]
    fn the_top_level() {
        insta::assert_snapshot!(crate::command().render_help().to_string(), @"
        Keeps sessions of AI coding agents: they outlive the terminal, and no status is
        ever made up

        Usage: monoco [OPTIONS] <COMMAND>

        Start and stop:
          run          Run an agent as a session that outlives this terminal
          stop         Ask sessions to end, and kill them when the time is up
          kill         Kill sessions at once, or send their agents another signal
          suspend      Freeze sessions: the agent with all its descendants
          resume       Thaw suspended sessions; continue one that has ended

        Look:
          ps           List the sessions that live (-a: all, newest first)
          show         Show whole records, and whether to believe them
          logs         Print what an agent printed
          wait         Wait until sessions have ended

        Tidy up:
          rm           Remove ended sessions: their records and their logs
          prune        Remove all ended sessions, or those that ended long ago

        After accidents:
          recover      Go on with the conversations of sessions that were lost
          adopt        Give orphans (agents that outlived their owner) a new owner
          reconcile    Record the end of sessions that ended without their owner
          doctor       Look for what is wrong, and say what to do about it

        A daemon:
          serve        Serve sessions over HTTP, live, to this machine only
          service      Let systemd keep `monoco serve` running for this account

        Set up:
          engines      List the engines of `run -e`: which are ready, and why not
          roles        List the roles that agents can be given, or show one of them
          config       Show what is configured, and where each value comes from

        Issues:
          issue        Look after the issues that agents work on

        Other:
          completions  Print the completions for a shell
          help         Print the help of a command

        Options:
              --project <DIR>  The project's directory, instead of searching upwards
                               for .monoco, then for .git (or set MONOCO_PROJECT)
          -h, --help           Print help (see more with '--help')
          -V, --version        Print version
        ");
    }
}
