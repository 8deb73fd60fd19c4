//! Writes the man pages of all commands into a directory:
//! `cargo run -p monoco-cli --example man -- DIR`.

use std::io;

fn main() -> io::Result<()> {
    let Some(dir) = std::env::args_os().nth(1) else {
        return Err(io::Error::other("expected the directory to write to"));
    };
    std::fs::create_dir_all(&dir)?;
    clap_mangen::generate_to(monoco_cli::command(), dir)
}
