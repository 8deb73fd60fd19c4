//! The command line of monoco.
