//! Argument vectors with places to fill in. A template is a list of words, never a
//! line for a shell: what is put into a word stays in it.
//!
//! `{prompt}` and `{conversation}` may be parts of a word (`--prompt={prompt}`);
//! `{args}` is a word of its own, and stands for any number of them.

use std::ffi::OsString;

use serde::Deserialize;

/// The arguments of a program, with places to fill in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(crate) struct Template(Vec<Word>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// What the user adds.
    Args,
    Pieces(Vec<Piece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Prompt,
    Conversation,
}

/// What goes into a template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filling<'a> {
    pub(crate) prompt: &'a str,
    /// Empty where the template does not ask for it.
    pub(crate) conversation: &'a str,
    pub(crate) args: &'a [OsString],
}

impl Template {
    /// The arguments. What is filled in is not looked through for places again.
    pub(crate) fn fill(&self, filling: Filling<'_>) -> Vec<OsString> {
        let mut argv = Vec::with_capacity(self.0.len() + filling.args.len());
        for word in &self.0 {
            match word {
                Word::Args => argv.extend_from_slice(filling.args),
                Word::Pieces(pieces) => argv.push(filled(pieces, filling).into()),
            }
        }
        argv
    }

    /// What was added to it in `argv`, arguments that were made from it; `None` where
    /// these are fewer than it has itself.
    pub(crate) fn added_in<'a>(&self, argv: &'a [String]) -> Option<&'a [String]> {
        let before = self.0.iter().position(|word| *word == Word::Args)?;
        let behind = self.0.len() - before - 1;
        argv.get(before..argv.len().checked_sub(behind)?)
    }

    /// Whether it says which conversation is meant.
    pub(crate) fn names_conversation(&self) -> bool {
        self.count(&Piece::Conversation) > 0
    }

    fn count(&self, piece: &Piece) -> usize {
        let pieces = self.0.iter().flat_map(|word| match word {
            Word::Args => &[],
            Word::Pieces(pieces) => pieces.as_slice(),
        });
        pieces.filter(|found| *found == piece).count()
    }
}

fn filled(pieces: &[Piece], filling: Filling<'_>) -> String {
    let mut word = String::new();
    for piece in pieces {
        word.push_str(match piece {
            Piece::Text(text) => text,
            Piece::Prompt => filling.prompt,
            Piece::Conversation => filling.conversation,
        });
    }
    word
}

impl TryFrom<Vec<String>> for Template {
    type Error = String;

    fn try_from(words: Vec<String>) -> Result<Self, String> {
        let words: Vec<Word> = words
            .iter()
            .map(|word| parse(word))
            .collect::<Result<_, _>>()?;
        let args = words.iter().filter(|word| **word == Word::Args).count();
        let template = Self(words);
        // Appended at an end that nobody named, options would become words of a prompt.
        if args != 1 {
            return Err("a template holds the word `{args}` once, where added arguments go".into());
        }
        if template.count(&Piece::Prompt) != 1 {
            return Err("a template holds `{prompt}` once".into());
        }
        Ok(template)
    }
}

fn parse(word: &str) -> Result<Word, String> {
    if word == "{args}" {
        return Ok(Word::Args);
    }
    let mut pieces = Vec::new();
    let (mut text, mut rest) = (String::new(), word);
    while let Some(open) = rest.find('{') {
        text.push_str(&rest[..open]);
        rest = &rest[open..];
        match place(rest) {
            Some(name) => {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
                pieces.push(piece(name, word)?);
                rest = &rest[name.len() + "{}".len()..];
            }
            None => {
                text.push('{');
                rest = &rest[1..];
            }
        }
    }
    pieces.push(Piece::Text(text + rest));
    Ok(Word::Pieces(pieces))
}

fn piece(name: &str, word: &str) -> Result<Piece, String> {
    match name {
        "prompt" => Ok(Piece::Prompt),
        "conversation" => Ok(Piece::Conversation),
        "args" => Err(format!(
            "`{{args}}` is a word of its own, not a part of `{word}`"
        )),
        _ => Err(format!(
            "`{{{name}}}` in `{word}` is no place to fill in: {{prompt}}, {{conversation}} and \
             {{args}} are"
        )),
    }
}

/// The name in braces that `text` begins with. Other braces, those of JSON, are text.
fn place(text: &str) -> Option<&str> {
    let name = text.strip_prefix('{')?.split_once('}')?.0;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(words: &[&str]) -> Result<Template, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Template::try_from(words)
    }

    #[track_caller]
    fn check(words: &[&str], prompt: &str, expected: &[&str]) {
        let args = ["--model", "x y"].map(OsString::from);
        let filling = Filling {
            prompt,
            conversation: "c1",
            args: &args,
        };
        assert_eq!(template(words).expect("valid").fill(filling), expected);
    }

    #[test]
    fn words_stay_words() {
        check(
            &["-p", "{args}", "--id={conversation}", "--", "{prompt}"],
            "two words; $(id) 'q'",
            &[
                "-p",
                "--model",
                "x y",
                "--id=c1",
                "--",
                "two words; $(id) 'q'",
            ],
        );
        check(
            &["--prompt={prompt}", "{args}"],
            "-x\ny",
            &["--prompt=-x\ny", "--model", "x y"],
        );
        check(
            &["a{prompt}b{conversation}c", "{args}", ""],
            "P",
            &["aPbc1c", "--model", "x y", ""],
        );
    }

    #[test]
    fn what_is_filled_in_is_not_read_again() {
        check(
            &["{prompt}", "{conversation}", "{args}"],
            "{conversation} {args} {prompt}",
            &["{conversation} {args} {prompt}", "c1", "--model", "x y"],
        );
    }

    #[test]
    fn other_braces_are_text() {
        check(
            &["-c", r#"{"a":{}}"#, "{Prompt} {", "{args}", "{prompt}"],
            "P",
            &["-c", r#"{"a":{}}"#, "{Prompt} {", "--model", "x y", "P"],
        );
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (words, why) in [
            (&["{args}"][..], "`{prompt}` once"),
            (&["{prompt}", "{prompt}", "{args}"], "`{prompt}` once"),
            (&["{prompt}"], "`{args}` once"),
            (&["{prompt}", "{args}", "{args}"], "`{args}` once"),
            (&["{prompt}", "x={args}"], "word of its own"),
            (&["{promt}", "{args}"], "`{promt}`"),
            (&[], "{args}"),
        ] {
            let error = template(words).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }
}
