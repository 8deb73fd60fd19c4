//! The program `monoco`, as its own crate builds it: made here once more so that
//! the tests can be sure that it is there and up to date.

use std::process::ExitCode;

fn main() -> ExitCode {
    session_worker::supervise_if_asked();
    monoco_cli::main()
}
