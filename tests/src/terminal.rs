//! A terminal that a command runs in, and that can be closed.

use std::process::{Child, Stdio};

use crate::process::{Signal, kill};
use crate::project::{Project, with_names};
use crate::ran::{Ran, finish};

/// A terminal (`script(1)`) in which a shell command runs.
#[derive(Debug)]
pub struct Terminal(Option<Child>);

impl Terminal {
    /// Runs `script`, a shell script, in a new terminal; `None` where there is no
    /// `script(1)`, told with a SKIPPED line.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn open(project: &Project, script: &str) -> Option<Self> {
        if !crate::works(&["script", "-qec", "true", "/dev/null"]) {
            crate::skip("it needs script(1) of util-linux");
            return None;
        }
        let mut command = std::process::Command::new("script");
        command.arg("-qec").arg(with_names(script)).arg("/dev/null");
        let mut command = project.at_home(command);
        command
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped());
        Some(Self(Some(command.spawn().expect("script can be executed"))))
    }

    /// Closes the terminal, as a window is closed: its programs are hung up.
    pub fn close(mut self) {
        self.end();
    }

    /// Waits for the end of the command.
    #[track_caller]
    pub fn finish(mut self) -> Ran {
        finish(self.0.take().expect("it is taken only here and at its end"))
    }

    fn end(&mut self) {
        if let Some(mut child) = self.0.take() {
            kill(child.id().cast_signed(), Signal::KILL);
            // It was killed; how it ended is known.
            let _ = child.wait();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.end();
    }
}
