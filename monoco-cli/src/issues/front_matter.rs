//! The fields of an issue, each with its place, as far as they can be understood.

mod fields;
mod time;

pub(crate) use fields::{Field, Problem, ProblemKind, Reading};
pub(crate) use time::Time;

use super::document::Document;
use super::is_id;
use crate::yaml::{self, Map, Place, Span, Value};

/// A field's words, as they stand in files.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($variant,)+ }

        impl $name {
            /// All of them, for people.
            pub(crate) const WORDS: &[&str] = &[$($word,)+];

            /// The one that is written so, in small letters.
            pub(crate) fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// As it is written.
            pub(crate) fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// Where an issue is kept.
    Status { Open = "open", Closed = "closed", Backlog = "backlog", Archived = "archived", }
}
words! {
    /// How far the work is.
    Stage { Draft = "draft", Doing = "doing", Review = "review", Done = "done", Freezed = "freezed", }
}

const TYPES: &[&str] = &["epic", "feature", "chore", "fix", "arch"];
const SOLUTIONS: &[&str] = &["implemented", "cancelled", "wontfix", "duplicate"];
const CRITICALITIES: &[&str] = &["low", "medium", "high", "critical"];
/// The issue that everything is below; no file need say so.
pub(crate) const ROOT: &str = "EPIC-0000";

/// What the front matter says.
#[derive(Debug, Default)]
pub(crate) struct FrontMatter {
    pub(crate) id: Reading<String>,
    pub(crate) status: Reading<Status>,
    pub(crate) stage: Reading<Stage>,
    pub(crate) solution: Reading<String>,
    pub(crate) title: Reading<String>,
    pub(crate) created_at: Reading<Time>,
    pub(crate) opened_at: Reading<Time>,
    pub(crate) closed_at: Reading<Time>,
    pub(crate) parent: Reading<String>,
    pub(crate) dependencies: Vec<Field<String>>,
    pub(crate) related: Vec<Field<String>>,
    pub(crate) files: Vec<Field<String>>,
    pub(crate) tags: Vec<Field<String>>,
    /// Where `tags` stands, or where it could.
    pub(crate) tags_at: Span,
}

impl FrontMatter {
    /// Reads the front matter of `document`, and what is wrong with it.
    pub(crate) fn read(document: &Document<'_>) -> (Option<Self>, Vec<Problem>) {
        let start = document.span_of_line(0);
        let text = match document.front_matter() {
            Ok(text) => text,
            Err(what) => return (None, vec![Problem::unreadable(start, what)]),
        };
        let node = match yaml::parse(text) {
            Ok(node) => node,
            Err(error) => {
                let at = Place {
                    line: error.at.line + 1,
                    column: error.at.column,
                };
                let span = Span { start: at, end: at };
                return (None, vec![Problem::unreadable(span, error.what)]);
            }
        };
        let Value::Map(map) = node.value else {
            let what = format!(
                "the front matter is {}; expected fields such as `id: FEAT-0101`",
                node.value.kind()
            );
            return (None, vec![Problem::unreadable(start, what)]);
        };
        let mut fields = fields::Fields::new(&map, start);
        let front = Self::of_fields(&mut fields, &map);
        (Some(front), fields.into_problems())
    }

    fn of_fields(fields: &mut fields::Fields<'_>, map: &Map) -> Self {
        let front = Self {
            id: fields.id(),
            status: fields.known("status", ProblemKind::Status, Status::WORDS, Status::parse),
            stage: fields.known("stage", ProblemKind::Stage, Stage::WORDS, Stage::parse),
            solution: fields.word("solution", ProblemKind::Solution, SOLUTIONS),
            title: fields.text("title"),
            created_at: fields.time("created_at"),
            opened_at: fields.time("opened_at"),
            closed_at: fields.time("closed_at"),
            parent: fields.text("parent"),
            dependencies: fields.texts("dependencies"),
            related: fields.texts("related"),
            files: fields.texts("files"),
            tags: fields.texts("tags"),
            tags_at: fields.place_of("tags"),
        };
        let kind = fields.word("type", ProblemKind::Type, TYPES);
        fields.word("criticality", ProblemKind::Criticality, CRITICALITIES);
        fields.texts("domains");
        for name in ["uid", "sprint"] {
            fields.text(name);
        }
        fields.time("updated_at");
        if let Some((_, isolation)) = map.get("isolation") {
            fields.isolation(isolation);
        }
        fields.require("id", front.id.is_absent());
        fields.require("type", kind.is_absent());
        fields.require("status", front.status.is_absent());
        fields.require("title", front.title.is_absent());
        fields.require("created_at", front.created_at.is_absent());
        // What these two statuses demand of the stage is a rule of its own.
        let is_told = matches!(front.status.value(), Some(Status::Closed | Status::Backlog));
        fields.require("stage", front.stage.is_absent() && !is_told);
        let is_root = front.id.value().is_some_and(|id| id == ROOT);
        fields.require("parent", front.parent.is_absent() && !is_root);
        front
    }
}

/// An id as it is meant: without a `#` before it.
pub(crate) fn bare(id: &str) -> &str {
    id.trim_start_matches('#')
}

/// Whether `id` names an issue of another project, as in `toolkit::FEAT-0001`.
pub(crate) fn is_elsewhere(id: &str) -> bool {
    bare(id).split_once("::").is_some_and(|(_, id)| is_id(id))
}
