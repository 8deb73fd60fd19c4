//! Sessions of AI coding agents as files.
//!
//! A session is one run of one agent. It is a JSON file, its *record*, that
//! outlives the terminal, the daemon and the machine's reboot. Anyone may look
//! at it; exactly one process, its *owner*, may write it.
//!
//! This crate is the model and the file-backed manager. It starts no process,
//! prints nothing, and reads no environment variable. It promises two things:
//! no session is ever lost, and no status is ever made up.
//!
//! - [`SessionManager`] creates, finds and lists the sessions of a project.
//! - [`Claim`] is a session together with its lease: the only thing that writes.
//! - [`RuntimeSession`] is a session as its owner drives it, or as others see it.
//! - [`Observation`] tells a record, and whether to believe it.
//! - [`Registry`] remembers which projects there are.

mod act;
mod chain;
mod claim;
pub mod control;
mod conversation;
#[doc(hidden)]
pub mod failpoint;
mod feed;
mod id;
mod lease;
mod listing;
mod manager;
mod observe;
mod original;
mod orphan;
mod outcome;
pub mod process;
pub mod reconcile;
mod record;
mod registry;
mod runtime;
mod session;
mod status;
mod storage;
mod store;
mod sys;
mod timestamp;
mod verdict;
mod worker;

pub use act::{ActError, Discarded};
pub use chain::error_chain;
pub use claim::{Claim, ClaimError};
pub use control::{Control, ControlError};
pub use conversation::{InvalidConversationId, check_conversation_id};
pub use feed::{Change, Feed};
pub use id::{InvalidSessionId, SessionId};
pub use lease::{ConversationError, ConversationLease, Hold, Holder, Lease, LeaseError};
pub use listing::{Damaged, Listing, RecordFile, Stamp};
pub use manager::{LookError, RemoveError, SessionManager};
pub use observe::{Liveness, Observation};
pub use orphan::OrphanError;
pub use outcome::{LostCause, Outcome, SpawnFailure, WaitStatus};
pub use process::{Host, Pid, Process, ProcessHandle, ProcessIdentity};
pub use record::{
    MAX_RECORD_LEN, RecordError, SCHEMA, parse as parse_record, to_json as record_to_json,
};
pub use registry::Registry;
pub use runtime::{RuntimeError, RuntimeSession};
pub use session::{End, LastWords, NewSession, Session, State, TransitionError};
pub use status::{Status, UnknownStatus};
pub use storage::WriteError;
pub use store::{CONTROL_SOCKET, Damage, StoreError};
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use verdict::{Verdict, VerdictKind};
pub use worker::{NoWorker, Worker, WorkerError};

/// Keeps the example in the README compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
