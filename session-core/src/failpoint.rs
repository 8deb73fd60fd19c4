//! Failpoints: places at which a fault campaign has a process killed, an error
//! returned, or time pass.
//!
//! They are compiled in by the feature `failpoints`, which is for Monoco's own
//! campaigns; without it a place is nothing, and no text of it is in the program.
//!
//! `MONOCO_FAILPOINTS` holds rules `[ROLE/]PLACE[@N]=kill|err|sleep:MS`, separated by
//! commas: at the Nth time (the first) that a process of this role (any; a supervisor's
//! is `supervisor`, everybody else's `monoco`) comes by. `MONOCO_FAILPOINTS_PASSED`
//! names a file to which each process adds a line `ROLE PLACE` for every place that
//! it passes.

#[cfg(feature = "failpoints")]
pub use compiled_in::{pass, supervises, try_pass};

/// A place at which nothing can be refused: a process can only die there, or be late.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn pass(_place: &'static str) {}

/// From now on this process is a supervisor.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn supervises() {}

/// A place at which the system could refuse something.
///
/// # Errors
/// EIO, where a rule says so; never without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn try_pass(_place: &'static str) -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
mod compiled_in {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::{self, Write};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::process::{Signal, getpid, kill_process};

    #[derive(Debug, Clone, Copy)]
    enum Action {
        Kill,
        Err,
        Sleep(Duration),
    }

    struct Rule {
        role: Option<String>,
        place: String,
        nth: u64,
        action: Action,
    }

    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        let text = std::env::var("MONOCO_FAILPOINTS").unwrap_or_default();
        let rules = text.split(',').filter(|rule| !rule.is_empty());
        rules
            .map(|rule| Rule::parse(rule).unwrap_or_else(|| panic!("no failpoint rule: {rule}")))
            .collect()
    });

    static PASSED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

    impl Rule {
        fn parse(text: &str) -> Option<Self> {
            let (place, action) = text.split_once('=')?;
            let (role, place) = match place.split_once('/') {
                Some((role, place)) => (Some(role.to_owned()), place),
                None => (None, place),
            };
            let (place, nth) = match place.split_once('@') {
                Some((place, nth)) => (place, nth.parse().ok()?),
                None => (place, 1),
            };
            let action = match action.split_once(':') {
                None if action == "kill" => Action::Kill,
                None if action == "err" => Action::Err,
                Some(("sleep", ms)) => Action::Sleep(Duration::from_millis(ms.parse().ok()?)),
                _ => return None,
            };
            Some(Self {
                role,
                place: place.to_owned(),
                nth,
                action,
            })
        }
    }

    static IS_SUPERVISOR: AtomicBool = AtomicBool::new(false);

    fn role() -> &'static str {
        match IS_SUPERVISOR.load(Ordering::Relaxed) {
            true => "supervisor",
            false => "monoco",
        }
    }

    /// From now on this process is a supervisor.
    pub fn supervises() {
        IS_SUPERVISOR.store(true, Ordering::Relaxed);
    }

    /// A place at which nothing can be refused: a process can only die there, or be late.
    pub fn pass(place: &'static str) {
        // What is refused here is not refused.
        let _ = try_pass(place);
    }

    /// A place at which the system could refuse something.
    ///
    /// # Errors
    /// EIO, where a rule says so.
    pub fn try_pass(place: &'static str) -> io::Result<()> {
        let n = {
            let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
            let n = passed.entry(place).or_default();
            *n += 1;
            *n
        };
        tell(place);
        let meant = RULES.iter().filter(|rule| {
            rule.place == place
                && rule.nth == n
                && rule.role.as_deref().is_none_or(|meant| meant == role())
        });
        for rule in meant {
            match rule.action {
                Action::Kill => {
                    let _ = kill_process(getpid(), Signal::KILL);
                }
                Action::Err => return Err(Errno::IO.into()),
                Action::Sleep(time) => std::thread::sleep(time),
            }
        }
        Ok(())
    }

    fn tell(place: &str) {
        // Closed again: some processes are handed descriptors at the lowest free numbers.
        let file = std::env::var_os("MONOCO_FAILPOINTS_PASSED")
            .and_then(|path| File::options().append(true).create(true).open(path).ok());
        if let Some(mut file) = file {
            // One write, so that the lines of several processes do not mix.
            let _ = file.write_all(format!("{} {place}\n", role()).as_bytes());
        }
    }
}
