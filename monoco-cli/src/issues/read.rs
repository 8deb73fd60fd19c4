//! Reading the file of an issue. It may be anything: too large, a pipe, no text.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::document::{Document, Position};

/// The longest file that is read, in bytes.
pub(crate) const MAX_LEN: u64 = 1 << 20;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The system refused.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// A directory, a pipe, a device.
    #[error("not a regular file")]
    NotAFile,
    /// Longer than [`MAX_LEN`].
    #[error("longer than {MAX_LEN} bytes")]
    TooLong,
    /// It is not UTF-8 from this place on.
    #[error("not UTF-8: the byte 0x{byte:02x}")]
    NotText { at: Position, byte: u8 },
}

/// The text of a file, without a byte order mark.
///
/// # Errors
/// When it is no regular file, too long, or no text.
pub(crate) fn read(path: &Path) -> Result<String, ReadError> {
    // A pipe that nobody writes to would be waited for.
    let non_blocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options()
        .read(true)
        .custom_flags(non_blocking)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    let mut bytes = Vec::with_capacity(metadata.len().min(MAX_LEN) as usize + 1);
    file.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(ReadError::TooLong);
    }
    text(bytes)
}

fn text(bytes: Vec<u8>) -> Result<String, ReadError> {
    let mut text = String::from_utf8(bytes).map_err(|error| not_text(&error))?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

fn not_text(error: &std::string::FromUtf8Error) -> ReadError {
    let (valid, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
    // As far as it goes it is valid.
    let valid = String::from_utf8_lossy(valid);
    ReadError::NotText {
        at: Document::new(&valid).end(),
        byte: rest.first().copied().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_named_with_its_place() {
        let bytes = "---\ntitle: 持\u{e9}".as_bytes().iter().copied();
        let error = text(bytes.chain([0xff, b'x']).collect()).expect_err("no text");
        let ReadError::NotText { at, byte } = error else {
            panic!("{error}")
        };
        assert_eq!((at.line, at.column, byte), (1, 9, 0xff));
        assert_eq!(text(b"\xef\xbb\xbf---".to_vec()).expect("text"), "---");
    }

    #[test]
    fn only_regular_files_of_bounded_length_are_read() {
        let dir = tempfile::tempdir().expect("room");
        let path = dir.path().join("FEAT-1.md");
        assert!(matches!(read(dir.path()), Err(ReadError::NotAFile)));
        assert!(matches!(read(&path), Err(ReadError::Io(_))));
        std::fs::write(&path, vec![b'x'; MAX_LEN as usize]).expect("room");
        assert_eq!(read(&path).expect("text").len() as u64, MAX_LEN);
        std::fs::write(&path, vec![b'x'; MAX_LEN as usize + 1]).expect("room");
        assert!(matches!(read(&path), Err(ReadError::TooLong)));
        let pipe = dir.path().join("pipe.md");
        let made = rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR);
        made.expect("a pipe");
        assert!(matches!(read(&pipe), Err(ReadError::NotAFile)));
    }
}
