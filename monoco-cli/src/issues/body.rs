//! What an issue's markdown says: its headings, its checkboxes and the section each
//! is in. Code blocks and comments say nothing.

mod checkbox;
mod placeholder;
mod section;

use super::document::Document;
use crate::yaml::{Place, Span};

pub(crate) use checkbox::{Checkbox, State};
pub(crate) use section::Section;

/// What was found below the front matter.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) headings: Vec<Heading>,
    pub(crate) checkboxes: Vec<Checkbox>,
    /// Checkboxes that are none, with what is wrong.
    pub(crate) malformed: Vec<(Span, String)>,
    /// What a template left to be filled in.
    pub(crate) placeholders: Vec<(Span, String)>,
    /// Whether anything is said in a section for review comments.
    pub(crate) has_review: bool,
}

/// `## text`, with the section that it begins.
#[derive(Debug)]
pub(crate) struct Heading {
    pub(crate) span: Span,
    pub(crate) level: usize,
    pub(crate) text: String,
    pub(crate) section: Section,
}

impl Body {
    /// Reads what follows the front matter.
    pub(crate) fn read(document: &Document<'_>) -> Self {
        let mut reader = Reader {
            document,
            body: Self::default(),
            enclosing: Vec::new(),
            fence: None,
            in_comment: false,
        };
        for (line, text) in document.body() {
            reader.line(line, text);
        }
        reader.body
    }
}

struct Reader<'d, 't> {
    document: &'d Document<'t>,
    body: Body,
    /// The headings that the current line is below, outermost first.
    enclosing: Vec<(usize, Section)>,
    /// The character and the length of the fence that a code block began with.
    fence: Option<(char, usize)>,
    in_comment: bool,
}

impl Reader<'_, '_> {
    fn line(&mut self, line: usize, text: &str) {
        if let Some(fence) = self.fence {
            if closes(text, fence) {
                self.fence = None;
            }
            self.content(text);
            return;
        }
        let said = self.without_comments(line, text);
        if let Some(fence) = fence_of(&said) {
            self.fence = Some(fence);
        } else if let Some((level, title)) = heading_of(&said) {
            self.heading(line, level, title);
        } else {
            self.item(line, &said);
            self.content(&said);
        }
    }

    fn section(&self) -> Section {
        self.enclosing
            .last()
            .map_or(Section::Other, |(_, section)| *section)
    }

    fn content(&mut self, text: &str) {
        let says_something = || text.contains(char::is_alphanumeric);
        if self.section() == Section::Review && !self.body.has_review && says_something() {
            self.body.has_review = checkbox::text_of(text).is_none_or(|text| !text.is_empty());
        }
    }

    fn heading(&mut self, line: usize, level: usize, title: &str) {
        self.enclosing.retain(|(outer, _)| *outer < level);
        // What is below the title of a page is not below it in meaning.
        let enclosing = self.enclosing.iter().rfind(|(outer, _)| *outer > 1);
        let section = section::of(title, enclosing.map(|(_, section)| *section));
        self.enclosing.push((level, section));
        self.body.headings.push(Heading {
            span: self.document.span_of_line(line),
            level,
            text: title.to_owned(),
            section,
        });
    }

    fn item(&mut self, line: usize, text: &str) {
        let span = self.document.span_of_line(line);
        let section = self.section();
        let mut said = text.trim();
        match checkbox::read(text) {
            Ok(Some((state, text))) => {
                said = text;
                self.body.checkboxes.push(Checkbox {
                    span,
                    state,
                    text: text.to_owned(),
                    section,
                });
            }
            Ok(None) => {}
            Err(why) => self.body.malformed.push((span, why)),
        }
        if placeholder::is_unfilled(said) {
            self.body.placeholders.push((span, said.to_owned()));
        }
    }

    /// `text` with spaces in place of comments. Every character is looked at a fixed
    /// number of times, however many comments there are.
    fn without_comments(&mut self, line: usize, text: &str) -> String {
        let last_end = text.rfind("-->");
        let mut said = String::with_capacity(text.len());
        let (mut at, mut column, mut n_ticks, mut begins_line) = (0, 0, 0, true);
        loop {
            if self.in_comment {
                let end = text[at..].find("-->").map(|end| at + end + 3);
                let comment = &text[at..end.unwrap_or(text.len())];
                self.in_comment = end.is_none();
                self.comment(line, column, comment);
                let length = comment.chars().count();
                said.extend(std::iter::repeat_n(' ', length));
                column += length;
                at += comment.len();
            }
            let start = text[at..].find("<!--").filter(|_| !self.in_comment);
            let before = &text[at..start.map_or(text.len(), |start| at + start)];
            said.push_str(before);
            if start.is_none() {
                return said;
            }
            at += before.len();
            column += before.chars().count();
            n_ticks += before.matches('`').count();
            begins_line &= before.trim().is_empty();
            // Elsewhere than at the start of a line it is a comment only where it
            // also ends there, and in code it is none.
            let in_code = n_ticks % 2 == 1;
            let ends_here = last_end.is_some_and(|end| end > at);
            self.in_comment = begins_line || (!in_code && ends_here);
            if !self.in_comment {
                said.push_str("<!--");
                at += 4;
                column += 4;
            }
        }
    }

    fn comment(&mut self, line: usize, column: usize, text: &str) {
        let words = text
            .trim_start_matches("<!--")
            .trim_end_matches("-->")
            .trim();
        let last = self.body.placeholders.last();
        let is_first = last.is_none_or(|(span, _)| span.start.line != line);
        if is_first && placeholder::is_instruction(words) {
            let place = |column| Place { line, column };
            let span = Span {
                start: place(column),
                end: place(column + text.chars().count()),
            };
            self.body.placeholders.push((span, words.to_owned()));
        }
    }
}

/// The fence that begins a code block.
fn fence_of(line: &str) -> Option<(char, usize)> {
    let line = line.trim_start();
    let c = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.chars().take_while(|other| *other == c).count();
    // Three backticks with more behind them are code within a line.
    let within = c == '`' && line[length..].contains('`');
    (length >= 3 && !within).then_some((c, length))
}

fn closes(line: &str, (c, length): (char, usize)) -> bool {
    let line = line.trim();
    line.len() >= length && line.chars().all(|other| other == c)
}

/// The level and the text of a heading.
fn heading_of(line: &str) -> Option<(usize, &str)> {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let line = line[indent..].trim_end();
    let level = line.len() - line.trim_start_matches('#').len();
    let text = &line[level..];
    let is_heading = indent <= 3
        && (1..=6).contains(&level)
        && (text.is_empty() || text.starts_with([' ', '\t']));
    // A closing sequence is no part of the text.
    let closed = text.trim_end_matches('#');
    let text = if closed.ends_with([' ', '\t']) || closed.is_empty() {
        closed
    } else {
        text
    };
    is_heading.then_some((level, text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Body {
        Body::read(&Document::new(text))
    }

    fn sections(text: &str) -> Vec<Section> {
        read(text)
            .checkboxes
            .iter()
            .map(|checkbox| checkbox.section)
            .collect()
    }

    #[test]
    fn checkboxes_belong_to_the_section_they_are_in() {
        use Section::{Criteria, Other, Review, Tasks};
        let text = "- [ ] a\n## Acceptance Criteria\n- [ ] b\n## 技术任务\n### Part\n  - [ ] c\n\
            ### 验收\n- [ ] d\n## Review Comments\n### 实现总结\n- [ ] e\n## Notes\n- [ ] f\n";
        assert_eq!(
            sections(text),
            [Other, Criteria, Tasks, Criteria, Review, Other]
        );
        assert_eq!(
            sections("# Tasks\n- [ ] a\n## Notes\n- [ ] b"),
            [Tasks, Other]
        );
        assert_eq!(sections("## FEAT-1: Tasks\n- [ ] a\n"), [Other]);
    }

    #[test]
    fn code_and_comments_say_nothing() {
        let nothing = [
            "```\n## Tasks\n- [ ] a\n```",
            "~~~~ md\n- [ ] a\n~~~\n- [v] b\n~~~~",
            "<!-- - [ ] a -->",
            "<!--\n- [ ] a\n## Tasks\n-->",
            "<!-- never closed\n- [ ] a",
        ];
        for text in nothing {
            let body = read(text);
            assert!(
                body.checkboxes.is_empty() && body.headings.is_empty(),
                "{text}"
            );
            assert!(body.malformed.is_empty(), "{text}");
        }
        for text in ["`<!--`\n- [ ] a", "a <!-- b\n- [ ] a", "``` x ```\n- [ ] a"] {
            assert_eq!(read(text).checkboxes.len(), 1, "{text}");
        }
        assert_eq!(
            read("<!-- a --> - [ ] <!-- b --> c").checkboxes[0].text,
            "c"
        );
    }

    #[test]
    fn a_review_is_what_somebody_wrote() {
        let filled = |text: &str| read(&format!("## Review Comments\n{text}\n")).has_review;
        for empty in [
            "",
            "\n---\n",
            "<!-- Looks good -->",
            "### Summary\n",
            "- [x]",
            "## Notes\nyes",
        ] {
            assert!(!filled(empty), "{empty}");
        }
        for full in [
            "ok",
            "- [ ] Self-Review",
            "### 实现总结\n\n已完成",
            "```\nlog\n```",
        ] {
            assert!(filled(full), "{full}");
        }
        assert!(read("## 评审记录\n好\n").has_review);
    }

    #[test]
    fn headings() {
        let of = |text: &str| heading_of(text).map(|(level, text)| (level, text.to_owned()));
        assert_eq!(of("## FEAT-1: a ##"), Some((2, "FEAT-1: a".to_owned())));
        assert_eq!(of("   # C#"), Some((1, "C#".to_owned())));
        assert_eq!(of("##"), Some((2, String::new())));
        for no in ["    # code", "#tag", "####### seven", "text"] {
            assert_eq!(of(no), None, "{no}");
        }
    }

    #[test]
    fn what_a_template_left() {
        let text = "<!-- TODO: say why -->\n- [ ] Task 1\nTBD.\n<!-- Status Syntax: -->\n- [ ] a\n";
        let body = read(text);
        let lines: Vec<_> = body
            .placeholders
            .iter()
            .map(|(span, _)| span.start.line)
            .collect();
        assert_eq!(lines, [0, 1, 2]);
    }
}
