//! A second opinion on JSON, that shares nothing with the parser it judges
//! (RFC 8259): is it one value, how deep does it go, and which keys stand twice?

/// The deepest nesting that is looked into.
const MAX_DEPTH: usize = 200;

/// What is found in a text that is JSON.
#[derive(Debug, Default)]
pub(super) struct Opinion {
    /// The paths of the keys that stand twice in one object.
    pub(super) duplicates: Vec<Vec<String>>,
    /// How deep it is nested.
    pub(super) depth: usize,
}

impl Opinion {
    /// `None` when `text` is not one JSON value, or deeper than anybody reads.
    pub(super) fn of(text: &str) -> Option<Self> {
        let mut reader = Reader {
            bytes: text.as_bytes(),
            at: 0,
            path: Vec::new(),
            opinion: Self::default(),
        };
        reader.value()?;
        reader.space();
        (reader.at == reader.bytes.len()).then_some(reader.opinion)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    path: Vec<String>,
    opinion: Opinion,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, expected: u8) -> Option<()> {
        (self.peek() == Some(expected)).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Option<()> {
        self.space();
        match self.peek()? {
            b'{' => self.members(),
            b'[' => self.elements(),
            b'"' => self.string().map(drop),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then(|| {
            self.at += word.len();
        })
    }

    fn enter(&mut self) -> Option<()> {
        self.path.push(String::new());
        self.opinion.depth = self.opinion.depth.max(self.path.len());
        self.at += 1;
        self.space();
        (self.path.len() < MAX_DEPTH).then_some(())
    }

    fn leave(&mut self) -> Option<()> {
        self.at += 1;
        self.path.pop().map(drop)
    }

    fn elements(&mut self) -> Option<()> {
        self.enter()?;
        if self.peek()? == b']' {
            return self.leave();
        }
        loop {
            self.value()?;
            self.space();
            match self.peek()? {
                b']' => return self.leave(),
                _ => self.take(b',')?,
            }
        }
    }

    fn members(&mut self) -> Option<()> {
        self.enter()?;
        let mut keys = std::collections::BTreeSet::new();
        if self.peek()? == b'}' {
            return self.leave();
        }
        loop {
            self.space();
            let key = self.string()?;
            self.path.last_mut()?.clone_from(&key);
            if !keys.insert(key) {
                self.opinion.duplicates.push(self.path.clone());
            }
            self.space();
            self.take(b':')?;
            self.value()?;
            self.space();
            match self.peek()? {
                b'}' => return self.leave(),
                _ => self.take(b',')?,
            }
        }
    }

    /// The string as it is meant, or as it is spelled where it means nothing.
    fn string(&mut self) -> Option<String> {
        let start = self.at;
        self.take(b'"')?;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.escape()?,
                ..0x20 => return None,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let spelled = std::str::from_utf8(&self.bytes[start..self.at]).ok()?;
        let meant = serde_json::from_str(spelled);
        Some(meant.unwrap_or_else(|_| spelled.to_owned()))
    }

    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        let n_digits = match self.peek()? {
            b'u' => 4,
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 0,
            _ => return None,
        };
        let digits = self.bytes.get(self.at + 1..=self.at + n_digits)?;
        self.at += 1 + n_digits;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        // A minus is optional, and so is what follows the digits.
        let _ = self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_json_and_what_is_not() {
        for good in [
            "0",
            " -1.5e+3 ",
            "\"\\ud800\"",
            "{\"a\":[{},[],null]}",
            "1e999",
        ] {
            assert!(Opinion::of(good).is_some(), "{good}");
        }
        for bad in [
            "", "01", "1.", "{\"a\"}", "[1,]", "\"\t\"", "tru", "{} {}", "\"\\x\"", "-",
        ] {
            assert!(Opinion::of(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn keys_that_stand_twice_are_found_however_they_are_spelled() {
        let opinion =
            Opinion::of("{\"a\":[{\"b\":1,\"\\u0062\":2}],\"c\":{\"a\":1}}").expect("JSON");
        assert_eq!(opinion.duplicates, [["a", "", "b"]]);
        assert_eq!(opinion.depth, 3);
    }
}
