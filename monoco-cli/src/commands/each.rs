//! Doing one thing to several sessions at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use session_core::{SessionId, SessionManager};

use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

/// How many sessions are worked on at once.
const HANDS: usize = 16;

/// Calls `act` for every session that `names` mean. Prints the name of each it
/// was done to and says what failed, in the order in which they were given.
pub(super) fn each(
    manager: &SessionManager,
    names: &[String],
    act: impl Fn(&SessionId) -> Result<(), CliError> + Sync,
) -> Result<Exit, CliError> {
    let act_on = |name: &str| {
        let id = manager.resolve(name)?;
        act(&id)
    };
    if let [name] = names {
        return report(name, act_on(name));
    }
    let next = AtomicUsize::new(0);
    let (done, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..names.len().min(HANDS) {
            let (done, next, act_on) = (done.clone(), &next, &act_on);
            let work = move || {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(name) = names.get(i) else { return };
                    // Once the results cannot be written, nobody takes them.
                    let _ = done.send((i, act_on(name)));
                }
            };
            if std::thread::Builder::new()
                .spawn_scoped(scope, work.clone())
                .is_err()
            {
                // No threads to be had: one does it all.
                work();
                break;
            }
        }
        drop(done);
        report_in_order(names, &results)
    })
}

fn report_in_order(
    names: &[String],
    results: &mpsc::Receiver<(usize, Result<(), CliError>)>,
) -> Result<Exit, CliError> {
    let mut early = BTreeMap::new();
    let mut exit = Exit::SUCCESS;
    for (i, name) in names.iter().enumerate() {
        let result = loop {
            if let Some(result) = early.remove(&i) {
                break result;
            }
            let (done, result) = results.recv().expect("every name has a result");
            early.insert(done, result);
        };
        if report(name, result)? != Exit::SUCCESS {
            exit = Exit::FAILURE;
        }
    }
    Ok(exit)
}

fn report(name: &str, result: Result<(), CliError>) -> Result<Exit, CliError> {
    match result {
        Ok(()) => output::line(name).map(|()| Exit::SUCCESS),
        Err(error) => {
            output::failure(&error);
            Ok(Exit::of_error(&error))
        }
    }
}
