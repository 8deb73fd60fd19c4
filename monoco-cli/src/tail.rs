//! Where the last lines of a file begin, read from its end in blocks: a log of
//! any size, with lines of any length, costs one block of memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BLOCK: u64 = 64 << 10;

/// The offset at which the last `lines` lines of `file` begin. A last line
/// without its newline counts as one.
pub(crate) fn offset(file: &File, lines: u64) -> io::Result<u64> {
    let len = file.metadata()?.len();
    if lines == 0 {
        return Ok(len);
    }
    let mut block = vec![0; usize::try_from(BLOCK).expect("64 KiB fit")];
    let (mut end, mut left) = (len, lines);
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let size = usize::try_from(end - start).expect("at most one block");
        let block = &mut block[..size];
        file.read_exact_at(block, start)?;
        for (i, byte) in block.iter().enumerate().rev() {
            let next = start + i as u64 + 1;
            // The newline at the very end ends the last line; it begins none.
            if *byte == b'\n' && next < len {
                left -= 1;
                if left == 0 {
                    return Ok(next);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn check(text: &str, lines: u64, expected: &str) {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("room");
        let offset = usize::try_from(offset(&file, lines).expect("readable")).expect("small");
        assert_eq!(
            &text[offset..],
            expected,
            "the last {lines} of {} bytes",
            text.len()
        );
    }

    #[test]
    fn the_last_lines() {
        check("", 3, "");
        check("one", 1, "one");
        check("one\n", 1, "one\n");
        check("one\ntwo", 1, "two");
        check("one\ntwo\n", 1, "two\n");
        check("one\ntwo\n", 2, "one\ntwo\n");
        check("one\ntwo\n", 9, "one\ntwo\n");
        check("one\n\n\n", 2, "\n\n");
        check("\n", 1, "\n");
        check("one\n", 0, "");
    }

    #[test]
    fn lines_across_blocks() {
        let long = "x".repeat(200_000);
        check(&format!("{long}\n{long}"), 1, &long);
        check(
            &format!("a\n{long}\n{long}\n"),
            2,
            &format!("{long}\n{long}\n"),
        );
        for size in [65_535, 65_536, 65_537] {
            let line = "y".repeat(size);
            check(&format!("a\n{line}"), 1, &line);
            check(&format!("a\n{line}\n"), 1, &format!("{line}\n"));
        }
    }
}
