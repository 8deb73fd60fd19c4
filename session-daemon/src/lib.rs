//! Sessions of AI coding agents over HTTP.
//!
//! The daemon is an observer with an address: it keeps an index of one or many
//! projects as they are on disk, and serves it to whoever knows the token. It
//! never writes a record and never starts a process. What clients ask of a
//! session it asks the session's owner; what they want started it hands to a
//! [`Launcher`] that it was given. Whether it runs, dies or is restarted changes
//! nothing for any session.

mod access;
mod connections;
mod daemon;
mod growth;
mod http;
mod index;
mod launch;
mod listen;
mod server;
mod watch;

pub use access::TokenError;
pub use daemon::{Config, Daemon, ServeError};
pub use http::openapi_document;
pub use launch::{LaunchError, Launcher, Start};
pub use listen::ListenError;
pub use watch::Projects;
