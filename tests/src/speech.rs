//! What a scripted agent says: described in words, said by the agent, and known
//! to whoever listens, byte for byte.

use std::fs::File;
use std::io::{self, Write};

/// Where something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
    /// Standard output, opened anew for appending, as a shell's `>>/dev/stdout` does.
    Anew,
}

/// One or many writes of the same length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Utterance {
    /// Where.
    pub way: Way,
    /// How many bytes each has.
    pub bytes: usize,
    /// How many there are.
    pub times: usize,
}

impl Utterance {
    /// The utterance that `word` stands for: `out:BYTESxTIMES`, or with `err`, `anew`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let (way, size) = word.split_once(':')?;
        let (bytes, times) = size.split_once('x')?;
        let way = match way {
            "out" => Way::Out,
            "err" => Way::Err,
            "anew" => Way::Anew,
            _ => return None,
        };
        let (bytes, times) = (bytes.parse().ok()?, times.parse().ok()?);
        Some(Self { way, bytes, times })
    }

    /// The word that stands for it.
    #[must_use]
    pub fn word(self) -> String {
        let way = match self.way {
            Way::Out => "out",
            Way::Err => "err",
            Way::Anew => "anew",
        };
        format!("{way}:{}x{}", self.bytes, self.times)
    }

    /// How much it is.
    #[must_use]
    pub fn len(self) -> usize {
        self.bytes * self.times
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Says it, after `before` bytes were said; without a buffer, for the last word
    /// to be said in the last instant.
    ///
    /// # Errors
    /// When nobody can write it.
    pub fn say(self, before: usize) -> io::Result<()> {
        let all = sounds(before, self.len());
        let mut anew = match self.way {
            Way::Anew => Some(File::options().append(true).open("/proc/self/fd/1")?),
            Way::Out | Way::Err => None,
        };
        for part in all.chunks(self.bytes.max(1)) {
            match (self.way, &mut anew) {
                (_, Some(file)) => file.write_all(part)?,
                (Way::Err, None) => io::stderr().write_all(part)?,
                (_, None) => write_all(part)?,
            }
        }
        Ok(())
    }
}

/// The bytes from `before` on of what any agent says: lines and others, with all
/// values a byte has, and rarely an end of line at the end.
#[must_use]
pub fn sounds(before: usize, len: usize) -> Vec<u8> {
    let sound = |at: usize| (at.wrapping_mul(0x9E37_79B9) >> 13) as u8;
    (before..before + len).map(sound).collect()
}

/// Past the standard library's buffer of lines.
fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_utterance_is_what_its_word_says() {
        let utterance = Utterance {
            way: Way::Anew,
            bytes: 12,
            times: 3,
        };
        assert_eq!(Utterance::from_word(&utterance.word()), Some(utterance));
        assert_eq!(utterance.len(), 36);
        assert_eq!(Utterance::from_word("exit:3"), None);
    }

    #[test]
    fn what_is_said_does_not_repeat_itself() {
        let all = sounds(0, 4096);
        assert_eq!(all[100..200], sounds(100, 100));
        assert_ne!(all[..100], all[100..200]);
        assert!((0..=255).all(|value| all.contains(&value)));
    }
}
