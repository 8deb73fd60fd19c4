//! Any bytes at the daemon's door. The daemon is the library's, in this process, as a
//! program that embeds it has it; what it must not touch is for the campaign
//! `fuzz/http` to say.
#![no_main]

use std::sync::{LazyLock, Mutex};

use monoco_tests::fuzz::Http;
use session_core::{NewSession, Outcome, SessionManager};
use session_daemon::{Config, Daemon, Projects};
use tempfile::TempDir;

static HTTP: LazyLock<Mutex<Http>> = LazyLock::new(|| {
    let project = TempDir::new().expect("a temporary directory").keep();
    let manager = SessionManager::create(&project).expect("an empty project");
    let new = NewSession {
        id: Some("completed".parse().expect("an id")),
        ..NewSession::default()
    };
    let mut claim = manager.claim_new(new).expect("a new session");
    claim
        .finish(Outcome::never_ran("no"))
        .expect("pending → failed");
    let id = claim.session().id.clone();
    claim.release().expect("an own directory");
    let token_file = project.join("token");
    let daemon = Daemon::start(Config {
        projects: Projects::These(vec![project]),
        listen: Some(([127, 0, 0, 1], 0).into()),
        unix: None,
        token_file: token_file.clone(),
        create_token: true,
        allowed_hosts: Vec::new(),
        launcher: None,
    })
    .expect("a free port");
    let address = daemon.addresses()[0];
    let token = std::fs::read_to_string(token_file).expect("it was made");
    std::thread::spawn(|| daemon.run());
    Mutex::new(Http::new(address, token.trim(), id))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    HTTP.lock()
        .expect("a failed check ends the process")
        .check(bytes);
});
