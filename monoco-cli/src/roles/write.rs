//! A role as the YAML of a file that has only this one.

use std::fmt::Write;

use super::Role;
use crate::output::json;

impl Role {
    /// The text of a file from which the same role is read.
    pub(crate) fn to_yaml(&self) -> String {
        let mut yaml = String::new();
        let fields = [
            ("name", self.name.as_str()),
            ("description", &self.description),
            ("trigger", &self.trigger),
            ("goal", &self.goal),
            ("engine", self.engine.as_deref().unwrap_or_default()),
            ("system_prompt", &self.system_prompt),
        ];
        for (field, text) in fields {
            if !text.is_empty() {
                write_field(&mut yaml, field, text);
            }
        }
        yaml
    }
}

fn write_field(yaml: &mut String, field: &str, text: &str) {
    // Writing to a string does not fail.
    let _ = match literal(text) {
        Some(header) => {
            let _ = writeln!(yaml, "{field}: {header}");
            text.lines().try_for_each(|line| match line {
                "" => writeln!(yaml),
                line => writeln!(yaml, "  {line}"),
            })
        }
        None => writeln!(yaml, "{field}: {}", quoted(text)),
    };
}

/// The header of a block that holds several lines just as they are; `None` where no
/// block can.
fn literal(text: &str) -> Option<&'static str> {
    let (body, header) = match text.strip_suffix('\n') {
        Some(body) => (body, "|"),
        None => (text, "|-"),
    };
    // The first line tells how deep the block is indented.
    let is_plain = |line: &str| !line.contains(char::is_control) && !is_blank(line);
    let begins = body.starts_with(|c: char| !c.is_whitespace());
    let ends = body.ends_with(|c: char| !c.is_whitespace());
    (body.contains('\n') && begins && ends && body.split('\n').all(is_plain)).then_some(header)
}

/// Spaces only: how many of them are indentation cannot be seen.
fn is_blank(line: &str) -> bool {
    !line.is_empty() && line.trim().is_empty()
}

/// A string of JSON is one of YAML, too.
fn quoted(text: &str) -> String {
    let mut json = Vec::new();
    json::write_element(&mut json, &text, true).expect("writing to memory does not fail");
    String::from_utf8(json).expect("JSON is text")
}

#[cfg(test)]
mod tests {
    use super::super::{Source, file};
    use super::*;

    fn role(system_prompt: &str) -> Role {
        Role {
            name: "A \"B\": c".into(),
            description: String::new(),
            trigger: "# no comment".into(),
            goal: "5".into(),
            system_prompt: system_prompt.into(),
            engine: Some("yes".into()),
            source: Source::BuiltIn,
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for text in [
            "one line",
            "one line\n",
            "two\nlines",
            "two\nlines\n",
            "too\nmany\n\n",
            " indented\nfirst",
            "\nempty first",
            "indented\n  second\n\nand empty",
            "spaces\n  \nbetween",
            "ends with \nspaces ",
            "tab\tand\nmore",
            "carriage\r\nreturn",
            "control \u{1b}[2J \u{7f}\u{9b}\u{85}",
            "规划\n# no comment\n--- no document\n'quotes\" \\ here",
            "\u{2028}\u{feff}\nx",
            "- a\n- b",
        ] {
            let role = role(text);
            let yaml = role.to_yaml();
            let read = file::parse(&yaml, &Source::BuiltIn);
            assert_eq!(read, Ok(vec![role]), "{yaml}");
        }
    }

    #[test]
    fn a_role_reads_well() {
        insta::assert_snapshot!(role("# Identity\n\nYou plan.\n").to_yaml(), @r##"
        name: "A \"B\": c"
        trigger: "# no comment"
        goal: "5"
        engine: "yes"
        system_prompt: |
          # Identity

          You plan.
        "##);
    }
}
