//! What a test has to tell that passes: above all that it did not run.

use std::process::{Command, Stdio};

/// Tells, past the capture of the test runner, that a test did not run.
pub fn skip(reason: &str) {
    tell("SKIPPED", reason);
}

/// Tells, past the capture of the test runner, what was measured.
pub fn note(figure: &str) {
    tell("MEASURED", figure);
}

fn tell(what: &str, text: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("{what}: {name}: {text}\n");
    // Where standard error is gone, nobody reads it.
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

/// Whether a command can be run, and succeeds.
#[must_use]
pub fn works(argv: &[&str]) -> bool {
    let mut command = Command::new(argv[0]);
    command
        .args(&argv[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
