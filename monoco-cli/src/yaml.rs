//! YAML with the place of everything in it, for files that people write.
//!
//! Plain words mean what they meant to the original program (YAML 1.1 as PyYAML
//! resolves it: `yes` is a bool, `5d2c5f` is text). A document is read in time and
//! memory proportional to its length: aliases, which could make it grow, are refused.
//! So are tags, keys that stand twice, and a second document.

mod plain;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span as Marked};

/// How deep lists and maps may be nested.
const MAX_DEPTH: usize = 32;

/// A place in a text: line and column, both from 0, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// From `start` up to, and without, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Span {
    pub(crate) start: Place,
    pub(crate) end: Place,
}

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool,
    /// A number, as it is written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// The entries of a map, in the order of the file; no key stands twice.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Map(Vec<(Key, Node)>);

/// A key, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) span: Span,
    pub(crate) name: String,
}

/// Why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {what}", at.line + 1, at.column + 1)]
pub(crate) struct YamlError {
    pub(crate) at: Place,
    pub(crate) what: String,
}

impl Map {
    /// The entry of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&(Key, Node)> {
        self.0.iter().find(|(key, _)| key.name == name)
    }
}

impl Value {
    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool => "a truth value",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Reads the one document of `text`. An empty one is [`Value::Null`].
///
/// # Errors
/// The first thing in it that is not understood.
pub(crate) fn parse(text: &str) -> Result<Node, YamlError> {
    refuse_control_characters(text)?;
    let mut parser = Parser::new_from_str(text);
    let mut tree = Tree::default();
    while let Some(event) = parser.next_event() {
        let (event, marked) = event.map_err(of_scanner)?;
        tree.add(event, span(marked))?;
    }
    Ok(tree.root.unwrap_or(Node {
        span: Span::default(),
        value: Value::Null,
    }))
}

/// The scanner takes NUL for the end of a document, and would leave away the rest
/// of it without a word.
fn refuse_control_characters(text: &str) -> Result<(), YamlError> {
    let is_refused = |c: &char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    let Some(refused) = text.chars().find(is_refused) else {
        return Ok(());
    };
    let before = text.split(refused).next().unwrap_or_default();
    let lines = || before.split('\n');
    Err(YamlError {
        at: Place {
            line: lines().count() - 1,
            column: lines().next_back().unwrap_or_default().chars().count(),
        },
        what: format!("the control character U+{:04X}", u32::from(refused)),
    })
}

fn of_scanner(error: ScanError) -> YamlError {
    YamlError {
        at: place(error.marker()),
        what: error.info().to_owned(),
    }
}

fn place(marker: &Marker) -> Place {
    Place {
        line: marker.line().saturating_sub(1),
        column: marker.col(),
    }
}

fn span(marked: Marked) -> Span {
    Span {
        start: place(&marked.start),
        end: place(&marked.end),
    }
}

/// A document that is being put together.
#[derive(Debug, Default)]
struct Tree {
    root: Option<Node>,
    open: Vec<Open>,
}

/// A list or map whose end was not seen yet.
#[derive(Debug)]
enum Open {
    List(Span, Vec<Node>),
    Map(Span, Map, std::collections::HashSet<String>, Option<Key>),
}

impl Tree {
    fn add(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        let refused = |what: &str| {
            Err(YamlError {
                at: span.start,
                what: what.to_owned(),
            })
        };
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                refused("a second document begins here; expected one")
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(_) => refused("aliases (`*name`) are not read; write the value itself"),
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                refused("tags (`!name`) are not read; leave it away, or quote the value")
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if self.open.len() >= MAX_DEPTH => {
                refused("nested too deeply")
            }
            Event::Scalar(text, style, ..) => self.scalar(&text, style, span),
            Event::SequenceStart(..) => {
                self.open.push(Open::List(span, Vec::new()));
                Ok(())
            }
            Event::MappingStart(..) => {
                let map = Open::Map(span, Map::default(), Default::default(), None);
                self.open.push(map);
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
        }
    }

    /// A scalar is a key wherever a map waits for one.
    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<(), YamlError> {
        if let Some(Open::Map(_, _, seen, key @ None)) = self.open.last_mut() {
            if !seen.insert(text.to_owned()) {
                return Err(YamlError {
                    at: span.start,
                    what: format!("the key `{text}` stands twice"),
                });
            }
            *key = Some(Key {
                span,
                name: text.to_owned(),
            });
            return Ok(());
        }
        let value = match style {
            ScalarStyle::Plain => plain::value(text),
            _ => Value::Text(text.to_owned()),
        };
        let span = without_trailer(span, text, style);
        self.put(Node { span, value })
    }

    fn close(&mut self, end: Span) -> Result<(), YamlError> {
        let (start, value) = match self.open.pop() {
            Some(Open::List(start, nodes)) => (start, Value::List(nodes)),
            Some(Open::Map(start, map, ..)) => (start, Value::Map(map)),
            None => return Ok(()),
        };
        let span = Span {
            start: start.start,
            end: end.end,
        };
        self.put(Node { span, value })
    }

    fn put(&mut self, node: Node) -> Result<(), YamlError> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, nodes)) => nodes.push(node),
            Some(Open::Map(_, map, _, key)) => match key.take() {
                Some(key) => map.0.push((key, node)),
                None => {
                    return Err(YamlError {
                        at: node.span.start,
                        what: format!("{} as a key; expected text", node.value.kind()),
                    });
                }
            },
        }
        Ok(())
    }
}

/// The scanner ends a quoted word behind the comment that follows it.
fn without_trailer(mut span: Span, text: &str, style: ScalarStyle) -> Span {
    let doubled = match style {
        ScalarStyle::SingleQuoted => text.matches('\'').count(),
        ScalarStyle::DoubleQuoted => 0,
        _ => return span,
    };
    if span.start.line == span.end.line {
        let written = text.chars().count() + doubled + 2;
        span.end.column = span.end.column.min(span.start.column + written);
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        let node = parse(&format!("key: {text}\n")).expect(text);
        let Value::Map(map) = node.value else {
            panic!("{text} is no map")
        };
        map.get("key").expect(text).1.value.clone()
    }

    fn refused(text: &str, line: usize, column: usize, words: &str) {
        let error = parse(text).expect_err(text);
        let place = (error.at.line + 1, error.at.column + 1);
        assert_eq!(place, (line, column), "{error}");
        assert!(error.what.contains(words), "{error}");
    }

    #[test]
    fn words_mean_what_they_meant_to_the_original_program() {
        for text in ["", "~", "null"] {
            assert_eq!(value(text), Value::Null, "{text}");
        }
        for text in ["yes", "Off", "true"] {
            assert_eq!(value(text), Value::Bool, "{text}");
        }
        for number in [
            "0", "-17", "1_000", "0x1F", "0755", "1.5", ".5", "1.5e+3", ".inf",
        ] {
            assert_eq!(value(number), Value::Number(number.to_owned()));
        }
        for text in [
            "5d2c5f",
            "5e1234",
            "009812",
            "2026-02-01",
            "1.2.3",
            "a b",
            "-",
            "+.",
        ] {
            let quoted = value(&format!("'{text}'"));
            assert_eq!(quoted, Value::Text(text.to_owned()));
            if text != "-" {
                assert_eq!(value(text), quoted);
            }
        }
        assert_eq!(value("'123'"), Value::Text("123".to_owned()));
    }

    #[test]
    fn everything_has_a_place() {
        let node = parse("title: 持久化\ntags:\n- 'a'\n").expect("valid");
        let Value::Map(map) = node.value else {
            panic!("no map")
        };
        let (key, title) = map.get("title").expect("it stands there");
        assert_eq!((key.span.start.line, key.span.start.column), (0, 0));
        assert_eq!((title.span.start.column, title.span.end.column), (7, 10));
        let Value::List(tags) = &map.get("tags").expect("it stands there").1.value else {
            panic!("no list")
        };
        assert_eq!((tags[0].span.start.line, tags[0].span.start.column), (2, 2));
    }

    #[test]
    fn what_could_grow_or_be_lost_is_refused() {
        refused("a: &x [1]\nb: *x\n", 2, 4, "aliases");
        refused("a: 1\nb: 2\na: 3\n", 3, 1, "`a` stands twice");
        refused("a: !!python/object x\n", 1, 4, "tags");
        refused("a: 1\n--- \nb: 2\n", 2, 1, "second document");
        refused("a: 1\nb: x\0y\nc: 2\n", 2, 5, "U+0000");
        refused("? [a]\n: b\n", 1, 3, "a list as a key");
        refused("a: [1\nb: 2\n", 2, 2, "illegal placement");
    }

    #[test]
    fn depth_is_bounded_and_length_costs_no_more_than_itself() {
        refused(&"- ".repeat(100), 1, 65, "deeply");
        refused(&"[".repeat(100), 1, 33, "deeply");
        let started = std::time::Instant::now();
        for pattern in [
            "a", "a: ", "? ", "- ", "'", "\"\\", "{", "&a ", "|\n ", "# \n", "a: 1\n",
        ] {
            let _ = parse(&pattern.repeat((64 << 10) / pattern.len()));
        }
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }

    #[test]
    fn nothing_is_null() {
        for text in ["", "\n\n", "# only words\n"] {
            assert_eq!(parse(text).expect(text).value, Value::Null, "{text:?}");
        }
    }
}
