//! How the stand-in answers.

use std::str::FromStr;

use super::Heard;
use super::reply::{Refusal, Reply};

/// How every request is answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mood {
    /// With a text that repeats the last prompt's first line.
    Answers,
    /// With the beginning of a text, and then with nothing more.
    Hangs,
    /// First with a call of the tool that runs this command, then with a text.
    Runs(String),
    /// Not before this time, in seconds since 1970.
    RateLimited(u64),
    /// With this status of HTTP's.
    Fails(u16),
    /// That the conversation is too long.
    Overflows,
}

/// A text is not the name of a mood.
#[derive(Debug)]
pub(crate) struct NoMood;

impl FromStr for Mood {
    type Err = NoMood;

    fn from_str(word: &str) -> Result<Self, NoMood> {
        let (name, rest) = word.trim().split_once(' ').unwrap_or((word.trim(), ""));
        match name {
            "answers" => Ok(Self::Answers),
            "hangs" => Ok(Self::Hangs),
            "runs" => Ok(Self::Runs(rest.to_owned())),
            "rate-limited" => rest.parse().map(Self::RateLimited).map_err(|_| NoMood),
            "fails" => rest.parse().map(Self::Fails).map_err(|_| NoMood),
            "overflows" => Ok(Self::Overflows),
            _ => Err(NoMood),
        }
    }
}

impl Mood {
    pub(super) fn reply(&self, heard: &Heard) -> Reply {
        let text = || {
            let last = heard
                .prompts
                .last()
                .and_then(|prompt| prompt.lines().last());
            format!("You said: {}", last.unwrap_or("nothing"))
        };
        match self {
            Self::Runs(command) if heard.has_tools && !heard.after_tool => {
                Reply::Tool(command.clone())
            }
            Self::Answers | Self::Runs(_) => Reply::Text(text()),
            Self::Hangs => Reply::Beginning("I begin, and".to_owned()),
            Self::RateLimited(until) => Reply::Refused(Refusal::RateLimited { until: *until }),
            Self::Fails(status) => Reply::Refused(Refusal::Failed { status: *status }),
            Self::Overflows => Reply::Refused(Refusal::TooLong),
        }
    }
}
