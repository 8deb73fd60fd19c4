//! What can be typed after `monoco resume` and `monoco recover`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args as Arguments;

use super::duration;

/// Thaw suspended sessions; continue one that has ended
///
/// An ended session stays as it is: its conversation goes on in a new session, in the
/// same directory and on the same branch, with PROMPT as the next prompt (or what
/// `monoco config resume.prompt` says). Like `run`, it streams the output.
#[derive(Debug, Arguments)]
#[command(
    visible_alias = "unpause",
    override_usage = "\
monoco resume ID...
       monoco resume [OPTIONS] ID [PROMPT]... [-- ARGS...]",
    after_help = "\
Examples:
  monoco resume 36f675cc
  monoco resume -d 36f675cc \"now write the tests\""
)]
pub(crate) struct Resume {
    /// The session: its id, a unique prefix of it, or its name
    #[arg(required_unless_present = "extra", value_name = "ID")]
    pub(crate) words: Vec<String>,
    /// Of an ended session: the prompt, instead of words
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// Of an ended session: return once the agent runs, and print the new one's id
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Of an ended session: stop the agent after this time (90, 15m, 2h) [default: as
    /// it was]
    #[arg(short, long, value_name = "TIME", value_parser = duration::timeout)]
    pub(crate) timeout: Option<Duration>,
    /// Arguments for the engine's program
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) extra: Vec<OsString>,
}

impl Resume {
    /// Where nothing stands before `--`, what follows it are the sessions.
    pub(super) fn sort(&mut self) {
        if self.words.is_empty() {
            let words = std::mem::take(&mut self.extra);
            let words = words.iter().map(|word| word.to_string_lossy().into_owned());
            self.words = words.collect();
        }
    }

    /// What speaks against it that clap does not know.
    pub(super) fn refusal(&self) -> Option<String> {
        let twice = self.prompt.is_some() && self.words.len() > 1;
        twice.then(|| "a prompt is given either by '--prompt' or by words, to one session".into())
    }
}

/// Go on with the conversations of sessions that were lost
///
/// After a reboot or a crash: shows which sessions nobody saw the end of, and can be
/// continued; with --yes continues each in a new session, once, also when it is
/// interrupted and run again.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  monoco recover && monoco recover --yes")]
pub(crate) struct Recover {
    /// Only these sessions [default: all that were lost]
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Do it, and print the ids of the new sessions
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// What would be done as a JSON array
    #[arg(long, conflicts_with = "yes")]
    pub(crate) json: bool,
}
