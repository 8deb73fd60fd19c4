//! One engine: how an agent's program is started, and how it is continued.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use session_core::{InvalidConversationId, SessionId, check_conversation_id};
use session_worker::Reading;

use super::template::{Filling, Template};

/// An agent's program that Monoco knows to start, to continue and to read.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(crate) name: String,
    /// Found through `PATH` if it holds no slash.
    pub(crate) program: String,
    pub(super) new: Template,
    pub(super) resume: Option<Template>,
    pub(crate) conversation: Conversation,
    /// What the configuration adds to every command.
    pub(crate) added: Option<Added>,
    pub(super) env: BTreeMap<String, String>,
    /// The arguments with which it prints its version.
    pub(super) version: Vec<String>,
    pub(super) credentials: Credentials,
    /// How what it prints is read.
    pub(crate) reading: Reading,
    pub(super) unknown_conversation: Option<UnknownConversation>,
    /// Who says all this, the last one first heard.
    pub(crate) sources: Vec<Source>,
}

/// Where a conversation's id comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Conversation {
    /// We give it: a random UUID.
    Uuid,
    /// We give it: a word, which the engine takes as a name.
    Name,
    /// The engine makes it, and prints it.
    Learned,
    /// There is none: nothing can be continued.
    #[default]
    None,
}

/// What tells that an engine may do its work: one of these is enough. Nothing that
/// is named here is ever read or shown, only that it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Credentials {
    /// Environment variables.
    pub(crate) env: Vec<String>,
    /// Files; `~/` is the user's home.
    pub(crate) files: Vec<String>,
}

/// How an engine says that it does not know the conversation that it was asked to
/// continue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnknownConversation {
    /// With which code it exits then.
    pub(crate) exit: i32,
    /// What stands in its output then.
    pub(crate) says: String,
}

/// Arguments that are added to an engine's commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Added {
    pub(crate) args: Vec<String>,
    /// Where that is set, for people.
    pub(crate) by: String,
}

/// Who says something of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    BuiltIn,
    File(PathBuf),
}

/// What is to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Composed {
    /// The program and its arguments.
    pub(crate) argv: Vec<OsString>,
    /// Variables that are added to its environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// The conversation's id, where it is known before the engine has printed it.
    pub(crate) conversation: Option<String>,
}

/// An engine cannot continue a conversation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoResume {
    /// Nothing says how.
    #[error("{engine} cannot continue a conversation: no engines.toml says how (`resume`)")]
    NotTold { engine: String },
    /// It is no id, and might be read as something else: an option, a path.
    #[error(transparent)]
    NoId(#[from] InvalidConversationId),
}

impl Engine {
    /// The command that begins a conversation with `prompt`. The configured
    /// arguments come first, `extra` after them.
    pub(crate) fn new_command(&self, prompt: &str, extra: &[OsString]) -> Composed {
        let conversation = match self.conversation {
            Conversation::Uuid => Some(SessionId::random().to_string()),
            Conversation::Name => Some(format!("monoco-{}", SessionId::random())),
            Conversation::Learned | Conversation::None => None,
        };
        self.compose(&self.new, prompt, conversation, extra)
    }

    /// What its commands do not have by themselves: what is configured, and `extra`.
    pub(crate) fn all_added(&self, extra: &[OsString]) -> Vec<Added> {
        let words = extra.iter().map(|word| word.to_string_lossy().into_owned());
        let typed = (!extra.is_empty()).then(|| Added {
            args: words.collect(),
            by: "command line".to_owned(),
        });
        self.added.iter().cloned().chain(typed).collect()
    }

    fn compose(
        &self,
        template: &Template,
        prompt: &str,
        conversation: Option<String>,
        extra: &[OsString],
    ) -> Composed {
        let added = self.added.iter().flat_map(|added| &added.args);
        let args: Vec<_> = added
            .map(OsString::from)
            .chain(extra.iter().cloned())
            .collect();
        let filling = Filling {
            prompt,
            conversation: conversation.as_deref().unwrap_or_default(),
            args: &args,
        };
        let mut argv = vec![OsString::from(&self.program)];
        argv.extend(template.fill(filling));
        let env = self.env.iter();
        Composed {
            argv,
            env: env
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            conversation,
        }
    }
}

/// Continuing.
impl Engine {
    /// The command that goes on with a conversation.
    ///
    /// # Errors
    /// [`NoResume`]. An id comes from a record or from what an agent printed, and is
    /// never let through where it could be anything else than an id.
    pub(crate) fn resume_command(
        &self,
        conversation: &str,
        prompt: &str,
        extra: &[OsString],
    ) -> Result<Composed, NoResume> {
        let engine = || self.name.clone();
        let template = self.resume.as_ref();
        let template = template.ok_or_else(|| NoResume::NotTold { engine: engine() })?;
        check_conversation_id(conversation)?;
        Ok(self.compose(template, prompt, Some(conversation.to_owned()), extra))
    }

    /// The arguments that stand in a session's command beside those that its engine and
    /// the configuration would give it now; only to be shown.
    pub(crate) fn typed_in<'a>(&self, command: &'a [String], resumed: bool) -> &'a [String] {
        let template = match (&self.resume, resumed) {
            (Some(resume), true) => resume,
            _ => &self.new,
        };
        let args = command.get(1..).and_then(|argv| template.added_in(argv));
        let args = args.unwrap_or_default();
        let configured = self.added.as_ref().map_or(&[][..], |added| &added.args);
        args.strip_prefix(configured).unwrap_or(args)
    }

    /// Whether an end says that the engine does not know the conversation: its exit
    /// code, and the last of what it printed.
    pub(crate) fn knows_no_conversation(&self, exit: i32, output: &str) -> bool {
        let unknown = self.unknown_conversation.as_ref();
        unknown.is_some_and(|unknown| unknown.exit == exit && output.contains(&unknown.says))
    }
}

impl Conversation {
    /// Whether the id is ours to give.
    pub(super) fn is_given(self) -> bool {
        matches!(self, Self::Uuid | Self::Name)
    }

    /// As files have it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Name => "name",
            Self::Learned => "learned",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}
