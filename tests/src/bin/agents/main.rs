//! Real agents, run against a stand-in for their models where there is no other network
//! than the loopback. Run as `cargo xtask agents`.
#![expect(clippy::print_stdout, reason = "a command for people")]

mod confined;
mod real;
mod samples;
mod scenarios;
mod stand_in;

use std::path::Path;
use std::process::ExitCode;

use stand_in::{Mood, StandIn};

const USAGE: &str = "\
usage: agents stand-in [MOOD]      serves until it is killed, and says where
       agents scenarios [NAME…]    has real agents do under Monoco what is promised
       agents samples DIR [NAME…]  keeps what real agents print";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let known: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match known.as_slice() {
        ["stand-in", mood @ ..] => serve(&mood.join(" ")),
        ["scenarios", ..] => confined(|| scenarios::run(&words[1..])),
        ["samples", folder, ..] => confined(|| take_samples(Path::new(folder), &words[2..])),
        _ => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    done.unwrap_or_else(|error| {
        println!("agents: {error}");
        ExitCode::FAILURE
    })
}

fn confined(run: impl FnOnce() -> Result<(), String>) -> Result<ExitCode, String> {
    match confined::enter()? {
        Some(code) => Ok(code),
        None => run().map(|()| ExitCode::SUCCESS),
    }
}

fn serve(mood: &str) -> Result<ExitCode, String> {
    let mood = match mood {
        "" => Mood::Answers,
        word => word.parse().map_err(|_| format!("no mood: {word}"))?,
    };
    let stand_in = StandIn::start(mood).map_err(|error| error.to_string())?;
    println!("{}", stand_in.url());
    loop {
        std::thread::park();
    }
}

fn take_samples(folder: &Path, wanted: &[String]) -> Result<(), String> {
    for absent in samples::take(folder, wanted)? {
        println!("SKIPPED: {absent} is not in PATH");
    }
    Ok(())
}
