//! Any bytes for a request to an owner, and for an owner's answer: those go over a
//! real socket to the real client. The owner's own end is the campaign's
//! `fuzz/control`: no supervisor runs in this process.
#![no_main]

use std::os::unix::net::UnixListener;
use std::sync::LazyLock;

use monoco_tests::fuzz::{check_control, check_reply};
use session_core::{CONTROL_SOCKET, Claim, NewSession, SessionManager};
use tempfile::TempDir;

/// An owner that says whatever it is told to.
struct Owner {
    project: TempDir,
    claim: Claim,
    ear: UnixListener,
}

static OWNER: LazyLock<Owner> = LazyLock::new(|| {
    let project = TempDir::new().expect("a temporary directory");
    let manager = SessionManager::create(project.path()).expect("an empty project");
    let new = NewSession {
        id: Some("running".parse().expect("an id")),
        ..NewSession::default()
    };
    let claim = manager.claim_new(new).expect("a new session");
    let run = project.path().join(".monoco/run/running");
    let ear = UnixListener::bind(run.join(CONTROL_SOCKET)).expect("an own directory");
    Owner {
        project,
        claim,
        ear,
    }
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    check_control(bytes);
    let session = OWNER.claim.session();
    let manager = SessionManager::open(OWNER.project.path()).expect("it was made");
    let control = manager.control(&session.id).expect("it listens");
    check_reply(&OWNER.ear, control, session, bytes);
});
