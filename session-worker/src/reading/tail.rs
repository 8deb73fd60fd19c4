//! Reading from a log: its beginning for the conversation, its end for the verdict. Both
//! are bounded; a log may be as long as a disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use session_core::{Verdict, VerdictKind};

use super::Reading;

/// How much of a log's end is looked at, step by step: its last line is nearly always
/// the one that counts.
const STEPS: [u64; 3] = [64 << 10, 1 << 20, 8 << 20];

impl Reading {
    /// What a log says of its agent's end.
    pub(crate) fn verdict_of(&self, log: &File) -> io::Result<Verdict> {
        let len = log.metadata()?.len();
        let mut verdict = None;
        for step in STEPS {
            let from = len.saturating_sub(step);
            let mut tail = read(log, from, len - from)?;
            if from > 0 {
                // Of the line in whose midst it begins it tells nothing.
                let line = tail.iter().position(|byte| *byte == b'\n');
                tail.drain(..line.map_or(tail.len(), |at| at + 1));
            }
            verdict = self.find_verdict(&tail);
            // When a limit ends may have been told long before.
            let decided = verdict.as_ref().is_some_and(|told| !self.asks_until(told));
            if decided || from == 0 {
                break;
            }
        }
        Ok(verdict.unwrap_or_else(|| VerdictKind::Unknown.into()))
    }
}

/// Up to `len` bytes from `from` on; fewer where the file has been cut meanwhile.
fn read(log: &File, from: u64, len: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let mut n_read = 0;
    while n_read < len {
        match log.read_at(&mut bytes[n_read..], from + n_read as u64) {
            Ok(0) => break,
            Ok(n) => n_read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(n_read);
    Ok(bytes)
}
