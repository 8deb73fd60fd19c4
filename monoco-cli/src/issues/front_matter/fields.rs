//! Taking typed values out of a map, and noting what is not as it should be.

use super::bare;
use super::time::Time;
use crate::issues::is_id;
use crate::yaml::{Map, Node, Span, Value};

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field<T> {
    pub(crate) span: Span,
    pub(crate) value: T,
}

/// What became of a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Reading<T> {
    #[default]
    Absent,
    /// It stands there, and is not understood, which is told already.
    Bad,
    Is(Field<T>),
}

/// Something about a field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: ProblemKind,
    pub(crate) span: Span,
    pub(crate) what: String,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// There are no fields.
    FrontMatter,
    Missing,
    IllTyped,
    Type,
    Status,
    Stage,
    Solution,
    Criticality,
}

impl Problem {
    pub(super) fn unreadable(span: Span, what: impl Into<String>) -> Self {
        Self {
            kind: ProblemKind::FrontMatter,
            span,
            what: what.into(),
        }
    }
}

impl<T> Reading<T> {
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The field, where it is understood.
    pub(crate) fn field(&self) -> Option<&Field<T>> {
        match self {
            Self::Is(field) => Some(field),
            Self::Absent | Self::Bad => None,
        }
    }

    pub(crate) fn value(&self) -> Option<&T> {
        self.field().map(|field| &field.value)
    }
}

/// The fields of a front matter, which begins one line before them.
pub(super) struct Fields<'m> {
    map: &'m Map,
    start: Span,
    problems: Vec<Problem>,
}

impl<'m> Fields<'m> {
    pub(super) fn new(map: &'m Map, start: Span) -> Self {
        Self {
            map,
            start,
            problems: Vec::new(),
        }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn get(&self, name: &str) -> Option<&'m Node> {
        self.map.get(name).map(|(_, node)| node)
    }

    /// Where the name of a field stands; the first line where it does not.
    pub(super) fn place_of(&self, name: &str) -> Span {
        let entry = self.map.get(name);
        entry.map_or(self.start, |(key, _)| below_fence(key.span))
    }

    fn problem(&mut self, kind: ProblemKind, span: Span, what: String) {
        self.problems.push(Problem { kind, span, what });
    }

    /// Notes a field that must be there.
    pub(super) fn require(&mut self, name: &str, is_absent: bool) {
        if is_absent {
            let span = self.place_of(name);
            self.problem(ProblemKind::Missing, span, format!("`{name}` is missing"));
        }
    }

    pub(super) fn text(&mut self, name: &str) -> Reading<String> {
        let Some(node) = self.get(name) else {
            return Reading::Absent;
        };
        match &node.value {
            Value::Null => Reading::Absent,
            Value::Text(text) if text.trim().is_empty() => Reading::Absent,
            Value::Text(text) => Reading::Is(Field {
                span: below_fence(node.span),
                value: text.clone(),
            }),
            _ => self.ill_typed(name, node, "text"),
        }
    }

    fn ill_typed<T>(&mut self, name: &str, node: &Node, expected: &str) -> Reading<T> {
        let quote = match &node.value {
            Value::Bool | Value::Number(_) if expected == "text" => "; put it in quotes",
            Value::Null if expected == "text" => "; a word that begins with `#` must be in quotes",
            _ => "",
        };
        let kind = node.value.kind();
        self.problem(
            ProblemKind::IllTyped,
            below_fence(node.span),
            format!("`{name}` is {kind}; expected {expected}{quote}"),
        );
        Reading::Bad
    }

    pub(super) fn id(&mut self) -> Reading<String> {
        let reading = self.text("id");
        match reading.field() {
            Some(field) if !is_id(bare(&field.value)) => {
                let what = format!("`id` is `{}`; expected one such as FEAT-0101", field.value);
                self.problem(ProblemKind::IllTyped, field.span, what);
                Reading::Bad
            }
            _ => reading,
        }
    }

    /// A field that is one of `words`, however its letters are written.
    pub(super) fn word(
        &mut self,
        name: &str,
        kind: ProblemKind,
        words: &[&str],
    ) -> Reading<String> {
        let parse = |word: &str| words.contains(&word).then(|| word.to_owned());
        self.known(name, kind, words, parse)
    }

    /// As [`word`](Self::word), for what has a type.
    pub(super) fn known<T>(
        &mut self,
        name: &str,
        kind: ProblemKind,
        words: &[&str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Reading<T> {
        let field = match self.text(name) {
            Reading::Absent => return Reading::Absent,
            Reading::Bad => return Reading::Bad,
            Reading::Is(field) => field,
        };
        if let Some(value) = parse(&field.value.to_lowercase()) {
            let span = field.span;
            return Reading::Is(Field { span, value });
        }
        let (found, words) = (&field.value, words.join(", "));
        let what = format!("`{found}` is no {name}; expected one of {words}");
        self.problem(kind, field.span, what);
        Reading::Bad
    }

    pub(super) fn time(&mut self, name: &str) -> Reading<Time> {
        let field = match self.text(name) {
            Reading::Absent => return Reading::Absent,
            Reading::Bad => return Reading::Bad,
            Reading::Is(field) => field,
        };
        if let Some(value) = Time::parse(&field.value) {
            let span = field.span;
            return Reading::Is(Field { span, value });
        }
        let found = &field.value;
        let what = format!("`{name}` is `{found}`; expected a time such as 2026-02-01T20:44:08");
        self.problem(ProblemKind::IllTyped, field.span, what);
        Reading::Bad
    }

    /// A list of texts; those of its elements that are none are noted.
    pub(super) fn texts(&mut self, name: &str) -> Vec<Field<String>> {
        let Some(node) = self.get(name) else {
            return Vec::new();
        };
        let Value::List(nodes) = &node.value else {
            self.ill_typed::<()>(name, node, "a list (`[]` when there is nothing in it)");
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(nodes.len());
        for node in nodes {
            match &node.value {
                Value::Text(text) => texts.push(Field {
                    span: below_fence(node.span),
                    value: text.clone(),
                }),
                _ => {
                    self.ill_typed::<()>(&format!("{name}[]"), node, "text");
                }
            }
        }
        texts
    }

    /// Where the work is done: a branch or a worktree.
    pub(super) fn isolation(&mut self, node: &Node) {
        let map = match &node.value {
            Value::Null => return,
            Value::Map(map) => map,
            _ => {
                self.ill_typed::<()>("isolation", node, "a map with `type` and `ref`");
                return;
            }
        };
        let mut inner = Fields::new(map, below_fence(node.span));
        let span = inner.start;
        for (name, required) in [("type", true), ("ref", true), ("path", false)] {
            let absent = inner.text(name).is_absent();
            if absent && required {
                let what = format!("`isolation` has no `{name}`");
                inner.problem(ProblemKind::Missing, span, what);
            }
        }
        inner.time("created_at");
        self.problems.append(&mut inner.problems);
    }
}

/// The line of the first `---` is not part of the map.
fn below_fence(mut span: Span) -> Span {
    span.start.line += 1;
    span.end.line += 1;
    span
}
