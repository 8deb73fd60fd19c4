//! An `engines.toml`: one table per engine. What a table leaves out is as the files
//! before it have it.

use std::collections::BTreeMap;

use serde::Deserialize;
use session_worker::Reading;

use super::engine::{Conversation, Credentials, Engine, Source, UnknownConversation};
use super::template::Template;

/// What a file says, by the engines' names.
pub(super) type Entries = BTreeMap<String, Entry>;

/// What a file says of one engine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Entry {
    program: Option<String>,
    new: Option<Template>,
    resume: Option<Template>,
    conversation: Option<Conversation>,
    env: Option<BTreeMap<String, String>>,
    version: Option<Vec<String>>,
    credentials: Option<Credentials>,
    reading: Option<Reading>,
    unknown_conversation: Option<UnknownConversation>,
}

/// Why a text is no `engines.toml`, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) message: String,
}

pub(super) fn parse(text: &str) -> Result<Entries, Damage> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let before = before.unwrap_or_default();
        let in_line = before
            .rsplit_once('\n')
            .map_or(before, |(_, in_line)| in_line);
        Damage {
            line: before.matches('\n').count() + 1,
            column: in_line.chars().count() + 1,
            message: error.message().trim().replace('\n', ", "),
        }
    })
}

impl Entry {
    /// What holds when `later` is read after this.
    pub(super) fn overridden(self, later: Self) -> Self {
        Self {
            program: later.program.or(self.program),
            new: later.new.or(self.new),
            resume: later.resume.or(self.resume),
            conversation: later.conversation.or(self.conversation),
            env: later.env.or(self.env),
            version: later.version.or(self.version),
            credentials: later.credentials.or(self.credentials),
            reading: later.reading.or(self.reading),
            unknown_conversation: later.unknown_conversation.or(self.unknown_conversation),
        }
    }

    /// The engine, where all that is needed was said, and fits together.
    pub(super) fn into_engine(
        self,
        name: &str,
        sources: Vec<Source>,
    ) -> Result<Engine, &'static str> {
        let program = self.program.filter(|program| !program.is_empty());
        let engine = Engine {
            name: name.to_owned(),
            program: program.ok_or("it has no `program`")?,
            new: self
                .new
                .ok_or("it has no `new`: how a conversation is begun")?,
            resume: self.resume,
            conversation: self.conversation.unwrap_or_default(),
            added: None,
            env: self.env.unwrap_or_default(),
            version: self.version.unwrap_or_else(|| vec!["--version".to_owned()]),
            credentials: self.credentials.unwrap_or_default(),
            reading: self.reading.unwrap_or_default(),
            unknown_conversation: self.unknown_conversation,
            sources,
        };
        fits_together(&engine).map(|()| engine)
    }
}

fn fits_together(engine: &Engine) -> Result<(), &'static str> {
    let is_given = engine.conversation.is_given();
    if engine.new.names_conversation() != is_given {
        return Err(if is_given {
            "its `conversation` is given, so `new` must hold `{conversation}`"
        } else {
            "its `conversation` is not given (\"uuid\" or \"name\"), so `new` cannot hold \
             `{conversation}`"
        });
    }
    match &engine.resume {
        Some(_) if engine.conversation == Conversation::None => {
            Err("it has a `resume`, but no `conversation`: \"uuid\", \"name\" or \"learned\"")
        }
        Some(resume) if !resume.names_conversation() => {
            Err("its `resume` must hold `{conversation}`")
        }
        _ => Ok(()),
    }
}
