//! Running a command to its end.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use serde_json::Value;

use crate::wait::PATIENCE;

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; 128 + n when signal n ended it, as shells have it.
    pub code: i32,
    /// What it printed to standard output.
    pub stdout: Vec<u8>,
    /// What it printed to standard error.
    pub stderr: Vec<u8>,
}

impl Ran {
    /// Standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.stdout) {
            Ok(json) => json,
            Err(error) => panic!("not JSON: {error}: {self}"),
        }
    }

    /// Demands an exit code.
    ///
    /// # Panics
    /// When it was another.
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, expected, "{self}");
        self
    }

    /// Demands success.
    ///
    /// # Panics
    /// When there was none.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Demands monoco's own failure: 125, and one line that holds all of `words`.
    ///
    /// # Panics
    /// When it was something else.
    #[track_caller]
    pub fn fails_with(self, words: &[&str]) -> Self {
        self.complains(125, words)
    }

    /// Demands an exit code, and one line of words that holds all of `words`.
    ///
    /// # Panics
    /// When it was something else.
    #[track_caller]
    pub fn complains(self, code: i32, words: &[&str]) -> Self {
        let ran = self.code(code);
        assert_eq!(ran.err().lines().count(), 1, "one clear line: {ran}");
        for word in words {
            assert!(ran.err().contains(word), "`{word}` is missing: {ran}");
        }
        ran
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let beginning = |text: String| text.chars().take(2000).collect::<String>();
        write!(
            f,
            "exit {}\n{}{}",
            self.code,
            beginning(self.out()),
            beginning(self.err())
        )
    }
}

/// Waits for the end of `child`, whose output streams are pipes or nothing.
///
/// # Panics
/// When it does not end in time, or when somebody holds its output open after it.
#[track_caller]
pub fn finish(mut child: Child) -> Ran {
    let stdout = child.stdout.take().map(read_all);
    let stderr = child.stderr.take().map(read_all);
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            let out = stdout
                .and_then(|out| out.recv_timeout(PATIENCE).ok())
                .unwrap_or_default();
            panic!(
                "no end within {PATIENCE:?}; it said {}",
                String::from_utf8_lossy(&out)
            );
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    let take = |stream: Option<Receiver<Vec<u8>>>| {
        stream.map_or_else(Vec::new, |stream| {
            stream
                .recv_timeout(PATIENCE)
                .expect("nobody holds the output of a command that ended")
        })
    };
    Ran {
        code: shell_code(status),
        stdout: take(stdout),
        stderr: take(stderr),
    }
}

fn read_all(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A reader that fails has what came before.
        let _ = stream.read_to_end(&mut bytes);
        // The test may have failed meanwhile.
        let _ = sender.send(bytes);
    });
    receiver
}

fn shell_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
