//! `writer N`: writes a record N times, as durably as its owner does, in a new project
//! where it stands. `cargo xtask count` compiles it with the core of the release build.

use session_core::{NewSession, SessionManager};

fn main() {
    let n = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let manager = SessionManager::create(".").expect("a new project");
    let mut claim = manager
        .claim_new(NewSession::default())
        .expect("a new session");
    for _ in 0..n.unwrap_or(0) {
        claim.rewrite().expect("room");
    }
}
