//! An engine's JSON lines as text for people. What is no JSON object passes as it is: it
//! is what the agent's tools, or the system, printed in between.
//!
//! Works on a stream in chunks of any size; holds one line, of which no more than is
//! looked at. One that is longer passes as it is.

use session_worker::{MAX_LINE_LEN, Reading};

/// Makes lines readable.
#[derive(Debug)]
pub(crate) struct Renderer {
    reading: Reading,
    line: Vec<u8>,
    /// Whether the rest of the line passes as it is.
    passes: bool,
}

impl Renderer {
    /// `None` for an engine whose lines there are no rules to show by.
    pub(crate) fn new(reading: Reading) -> Option<Self> {
        (!reading.text.is_empty()).then_some(Self {
            reading,
            line: Vec::new(),
            passes: false,
        })
    }

    /// Appends to `out` how the lines are shown that `chunk` ends.
    pub(crate) fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            let ends = part.ends_with(b"\n");
            if self.passes {
                out.extend_from_slice(part);
                self.passes = !ends;
                continue;
            }
            self.line.extend_from_slice(part);
            // A line's end is not counted.
            if ends {
                self.show(out);
            } else if self.line.len() > MAX_LINE_LEN {
                out.append(&mut self.line);
                self.passes = true;
            }
        }
    }

    /// Appends how a last line is shown that has no end.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.show(out);
    }

    fn show(&mut self, out: &mut Vec<u8>) {
        match self.reading.shown(&self.line) {
            None => out.extend_from_slice(&self.line),
            Some(shown) => {
                for shown in shown {
                    out.extend_from_slice(shown.prefix.unwrap_or_default().as_bytes());
                    out.extend_from_slice(shown.text.trim_end().as_bytes());
                    out.push(b'\n');
                }
            }
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renderer() -> Renderer {
        let rules = r#"{"text":[
            {"when":{"/type":"message"},"at":"/content"},
            {"when":{"/type":"tool"},"at":"/name","prefix":"> "}
        ]}"#;
        let reading = serde_json::from_str(rules).expect("rules");
        Renderer::new(reading).expect("there are rules to show by")
    }

    fn check(log: &str, expected: &str) {
        for size in [1, 2, 7, 64, log.len().max(1)] {
            let (mut renderer, mut out) = (renderer(), Vec::new());
            for chunk in log.as_bytes().chunks(size) {
                renderer.push(chunk, &mut out);
            }
            renderer.finish(&mut out);
            let out = String::from_utf8(out).expect("text");
            assert_eq!(out, expected, "in chunks of {size}");
        }
    }

    #[test]
    fn messages_are_shown_and_the_rest_of_the_engines_lines_is_not() {
        check("", "");
        check(
            "{\"type\":\"init\"}\n{\"type\":\"message\",\"content\":\"Hi\\nthere\\n\"}\n",
            "Hi\nthere\n",
        );
        check(
            "{\"type\":\"tool\",\"name\":\"Bash\"}\r\n{\"type\":\"message\",\"content\":[{\"text\":\"a\"},{\"text\":\"b\"}]}",
            "> Bash\na\nb\n",
        );
    }

    #[test]
    fn what_is_not_the_engines_passes_as_it_is() {
        check(
            "warning: x\n\n{ no json\n[1]\nend",
            "warning: x\n\n{ no json\n[1]\nend",
        );
        let mut out = Vec::new();
        renderer().push(b"\xff\xfe\0\n", &mut out);
        assert_eq!(out, b"\xff\xfe\0\n");
    }

    #[test]
    fn a_line_that_is_too_long_is_not_held() {
        let long = format!(
            "{{\"type\":\"message\",\"content\":\"{}\"}}\n",
            "x".repeat(2 << 20)
        );
        let log = format!("{long}{{\"type\":\"message\",\"content\":\"Hi\"}}\n");
        let (mut renderer, mut out) = (renderer(), Vec::new());
        for chunk in log.as_bytes().chunks(100_000) {
            renderer.push(chunk, &mut out);
            assert!(renderer.line.len() <= MAX_LINE_LEN + 100_000);
        }
        assert!(out == format!("{long}Hi\n").as_bytes());
    }
}
