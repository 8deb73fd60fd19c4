//! Lists the sessions of a project, as an observer: `cargo run --example list -- DIR`.
#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::path::PathBuf;

use session_core::SessionManager;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let project = std::env::args_os()
        .nth(1)
        .map_or(PathBuf::from("."), PathBuf::from);
    let mut listing = SessionManager::open(project)?.list()?;
    listing.sessions.sort_by_key(|seen| seen.session.created_at);
    for seen in &listing.sessions {
        let session = &seen.session;
        // What stands in a record can be anything: `{:?}` keeps it from moving the cursor.
        println!(
            "{:36}  {:?}  {:10}  {}",
            session.id,
            session.issue_id,
            seen.status().map_or("unknown", |status| status.as_str()),
            seen.liveness.as_str(),
        );
    }
    for damaged in &listing.damaged {
        println!("{:?}: {}", damaged.path, damaged.damage);
    }
    Ok(())
}
