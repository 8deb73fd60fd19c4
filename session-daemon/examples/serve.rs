//! Serves the sessions of one project, read-only but for what their owners can be
//! asked: no launcher is given.
//!
//! `cargo run -p session-daemon --example serve -- PROJECT TOKEN_FILE`
#![expect(clippy::print_stdout, reason = "an example for people")]

use std::error::Error;

use session_daemon::{Config, Daemon, Projects};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(project), Some(token)) = (arguments.next(), arguments.next()) else {
        return Err("expected a project's directory and a token file".into());
    };
    let daemon = Daemon::start(Config {
        projects: Projects::These(vec![std::path::absolute(project)?]),
        listen: Some(([127, 0, 0, 1], 8642).into()),
        unix: None,
        token_file: token.into(),
        create_token: true,
        allowed_hosts: Vec::new(),
        launcher: None,
    })?;
    for address in daemon.addresses() {
        println!("http://{address}{}", daemon.login_path()?);
    }
    Ok(daemon.run()?)
}
