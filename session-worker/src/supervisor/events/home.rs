//! The owner's place on disk: lease, record and socket, made anew where they were
//! removed from under it.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use session_core::{ClaimError, LeaseError, RuntimeSession};

use super::{SteppedDown, Supervisor, due};
use crate::process_worker::ProcessWorker;
use crate::supervisor::server::Server;
use crate::sys;

/// How often the lease is looked at where the system does not tell of its removal.
const LOOK_AT_LEASE: Duration = Duration::from_secs(5);
/// How soon after its run directory was removed the record is looked at once more.
const LOOK_AT_RECORD: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(super) fn watch_lease(&mut self) {
        let base = self.claim().lease().base();
        // Without it the loss of all records is noticed with the next change.
        self.base = base.ok().filter(|base| sys::notify_removals(base).is_ok());
        self.must_look = sys::notify_removals(self.claim().lease().folder()).is_err();
        self.look_at_lease = self.must_look.then(|| Instant::now() + LOOK_AT_LEASE);
    }

    /// Makes sure that lease and record on disk still are ours. Where they were
    /// removed (`rm -rf .monoco`), they are made anew.
    pub(super) fn keep_lease(&mut self) -> Result<(), SteppedDown> {
        // A look that is planned for later stays planned.
        if self.look_at_lease.is_none_or(due) {
            self.look_at_lease = self.must_look.then(|| Instant::now() + LOOK_AT_LEASE);
        }
        if self.claim().lease().is_current() && !self.is_moving {
            let has_record = self.claim().has_record() || self.claim().rewrite().is_ok();
            if !self.keep_ear() || !has_record {
                self.look_at_lease = Some(Instant::now() + LOOK_AT_LEASE);
            }
            return Ok(());
        }
        self.is_moving = true;
        let moved = match self.claim().lease().is_current() {
            true => self.claim().rewrite(),
            false => self.claim().reestablish(),
        };
        match moved {
            Ok(()) => self.move_in(),
            Err(
                ClaimError::Lease(LeaseError::Held(_))
                | ClaimError::Ended { .. }
                | ClaimError::NewerSchema { .. },
            ) => return Err(SteppedDown),
            Err(_) => self.look_at_lease = Some(Instant::now() + LOOK_AT_LEASE),
        }
        Ok(())
    }

    /// Makes sure that observers find the socket.
    fn keep_ear(&mut self) -> bool {
        Server::is_reachable(folder(&self.session)) || self.listen_again()
    }

    fn listen_again(&mut self) -> bool {
        self.server.listen_again(folder(&self.session)).is_ok()
    }

    /// Furnishes a run directory that was made anew.
    fn move_in(&mut self) {
        self.is_moving = false;
        self.write_again = None;
        // Without an ear or a reserve the session still is owned, and its end recorded.
        self.listen_again();
        let _ = self.claim().keep_reserve();
        self.watch_lease();
        // Whoever removes a whole directory may only just come to the record.
        self.look_at_lease = Some(Instant::now() + LOOK_AT_RECORD);
    }
}

/// The run directory of an owner.
fn folder(session: &RuntimeSession<ProcessWorker>) -> &OwnedFd {
    let (claim, _) = session.as_owner().expect("a supervisor is an owner");
    claim.lease().folder()
}
