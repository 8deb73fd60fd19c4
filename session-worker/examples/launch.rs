//! Starts a command as a session, with this very program as its supervisor, and
//! waits for its end:
//!
//! ```text
//! cargo run -p session-worker --example launch -- PROJECT COMMAND…
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::ffi::OsString;
use std::path::PathBuf;

use session_core::{NewSession, SessionManager};
use session_worker::{Launch, Launcher};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Before anything else: this process may have been started as a supervisor.
    session_worker::supervise_if_asked();

    let mut arguments = std::env::args_os().skip(1);
    let project = PathBuf::from(arguments.next().ok_or("usage: launch PROJECT COMMAND…")?);
    let argv: Vec<OsString> = arguments.collect();

    let manager = SessionManager::create(project)?;
    let launched = Launcher::current_exe()?.launch(
        &manager,
        Launch {
            session: NewSession {
                issue_id: Some("FEAT-101".to_owned()),
                ..NewSession::default()
            },
            argv,
            ..Launch::default()
        },
    )?;
    println!(
        "{} runs, pid {:?}",
        launched.session.id,
        launched.session.pid()
    );

    match launched.end.take() {
        Some(session) => println!("{}: {:?}", session.status(), session.outcome()),
        None => println!("its supervisor died; look at the record"),
    }
    Ok(())
}
