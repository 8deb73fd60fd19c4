//! The program `monoco`: this process may be asked to be a session's supervisor
//! instead of the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    session_worker::supervise_if_asked();
    monoco_cli::main()
}
