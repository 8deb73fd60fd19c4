//! Bytes that are nearly right: seeds, changed in their bytes or in their structure.

use crate::chance::Chance;

/// What parsers stumble over.
const ODD: [&[u8]; 34] = [
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\xef\xbb\xbf",
    b"\x1b[2J",
    b"\xc2\x9b",
    b"\n",
    b"\r\n",
    b" ",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"{}",
    b"[]",
    b"null",
    b"-1",
    b"0",
    b"1e999",
    b"1e-400",
    b"18446744073709551616",
    b"9223372036854775807",
    b"0.1",
    b"\"\"",
    b"../",
    b"%2e%2e%2f",
];
/// No mutant is longer.
const MAX_LEN: usize = 64 << 10;

/// Makes mutants of seeds.
pub(crate) struct Mutator {
    seeds: Vec<Vec<u8>>,
    /// The words and values of all seeds.
    words: Vec<Vec<u8>>,
}

impl Mutator {
    pub(crate) fn new(seeds: Vec<Vec<u8>>) -> Self {
        let mut words: Vec<_> = seeds.iter().flat_map(|seed| own_words(seed)).collect();
        words.sort();
        words.dedup();
        Self { seeds, words }
    }

    /// A seed with a few changes.
    pub(crate) fn mutant(&self, chance: &mut Chance) -> Vec<u8> {
        let mut mutant = chance.pick(&self.seeds).clone();
        for _ in 0..=chance.below(4) {
            self.change(&mut mutant, chance);
        }
        mutant.truncate(MAX_LEN);
        mutant
    }

    fn change(&self, mutant: &mut Vec<u8>, chance: &mut Chance) {
        match chance.below(10) {
            0 => flip(mutant, chance),
            1 => {
                let at = place(mutant, chance);
                mutant.truncate(at);
            }
            2 => {
                let range = range(mutant, chance);
                mutant.drain(range);
            }
            3 | 4 => insert(mutant, self.word(chance), chance),

            5 | 6 => exchange(mutant, self.word(chance), chance),

            7 => self.take_line(mutant, chance),
            8 => {
                let range = range(mutant, chance);
                let copy = mutant[range].to_vec();
                insert(mutant, &copy, chance);
            }
            _ => nest(mutant, chance),
        }
    }

    /// Something odd, or a word of some seed.
    fn word(&self, chance: &mut Chance) -> &[u8] {
        match chance.below(2) {
            0 => chance.pick::<&[u8]>(&ODD),
            _ => chance.pick::<Vec<u8>>(&self.words).as_slice(),
        }
    }

    /// A whole line of some seed, such as a field of a record, moves in.
    fn take_line(&self, mutant: &mut Vec<u8>, chance: &mut Chance) {
        let seed = chance.pick(&self.seeds);
        let lines: Vec<_> = seed.split_inclusive(|byte| *byte == b'\n').collect();
        let Some(line) = lines.get(index(lines.len(), chance)) else {
            return;
        };
        let starts = mutant.iter().enumerate();
        let starts: Vec<_> = starts
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1)
            .collect();
        let at = starts
            .get(index(starts.len(), chance))
            .copied()
            .unwrap_or(0);
        mutant.splice(at..at, line.iter().copied());
    }
}

fn index(len: usize, chance: &mut Chance) -> usize {
    let len = u64::try_from(len.max(1)).expect("a length");
    usize::try_from(chance.below(len)).expect("below a length")
}

fn place(bytes: &[u8], chance: &mut Chance) -> usize {
    index(bytes.len() + 1, chance)
}

/// Short ones as often as long ones.
fn range(bytes: &[u8], chance: &mut Chance) -> std::ops::Range<usize> {
    let start = place(bytes, chance);
    let up_to = 1 << (1 + chance.below(8));
    let len = usize::try_from(chance.below(up_to)).expect("small");
    start..(start + len).min(bytes.len())
}

fn flip(bytes: &mut [u8], chance: &mut Chance) {
    let at = index(bytes.len(), chance);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << chance.below(8);
    }
}

fn insert(bytes: &mut Vec<u8>, word: &[u8], chance: &mut Chance) {
    let at = place(bytes, chance);
    bytes.splice(at..at, word.iter().copied());
}

/// `word` takes the place of one that is there.
fn exchange(bytes: &mut Vec<u8>, word: &[u8], chance: &mut Chance) {
    let words = words(bytes);
    if let Some(range) = words.get(index(words.len(), chance)).cloned() {
        bytes.splice(range, word.iter().copied());
    }
}

/// A value becomes part of a deep one.
fn nest(bytes: &mut Vec<u8>, chance: &mut Chance) {
    let words = words(bytes);
    let Some(range) = words.get(index(words.len(), chance)).cloned() else {
        return;
    };
    let depth = 1 << chance.below(9);
    let (open, close) = *chance.pick(&[("[", "]"), ("{\"a\":", "}"), ("(", ")"), ("/", "%2f")]);
    let value = &bytes[range.clone()];
    let nested = [
        open.repeat(depth).as_bytes(),
        value,
        close.repeat(depth).as_bytes(),
    ]
    .concat();
    bytes.splice(range, nested);
}

fn own_words(bytes: &[u8]) -> Vec<Vec<u8>> {
    words(bytes)
        .into_iter()
        .map(|range| bytes[range].to_vec())
        .collect()
}

/// Where there are words: strings with their quotes, numbers, names.
fn words(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut words = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        if bytes[at] == b'"' {
            let len = bytes[at + 1..].iter().position(|byte| *byte == b'"');
            at += len.map_or(1, |len| len + 2);
        } else {
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._%".contains(byte);
            at += bytes[at..].iter().take_while(|byte| is_word(byte)).count();
        }
        if at > start {
            words.push(start..at);
        } else {
            at += 1;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_stands_between_the_signs() {
        let text = b"{\"id\": \"a\", \"pid\": -12}";
        let words = own_words(text);
        let expected: [&[u8]; 4] = [b"\"id\"", b"\"a\"", b"\"pid\"", b"-12"];
        assert_eq!(words, expected);
    }

    #[test]
    fn the_same_dice_make_the_same_mutants() {
        let mutator = Mutator::new(vec![b"{\"id\": 1}\n".to_vec(), Vec::new()]);
        let make = || {
            let mut chance = Chance::of(1, "x", 2);
            (0..1000)
                .map(|_| mutator.mutant(&mut chance))
                .collect::<Vec<_>>()
        };
        assert_eq!(make(), make());
    }
}
