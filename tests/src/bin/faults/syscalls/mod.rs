//! Every system call of the paths on which records are written, made to fail or to
//! be the last, one after the other (`strace --inject`). Which calls there are is
//! found by running each path once without faults; a trial's number says which call
//! is meant, and how it fails.

mod exempt;
mod path;
mod strace;

use crate::campaign::Campaign;
use crate::chance::Chance;
use monoco_tests::works;
use path::Path;
use strace::Call;

/// How many occurrences of a call are all tried.
const ALL_OF: u64 = 16;
/// From how many of those after them one is drawn: some search all of `/proc`, and the
/// thousandth read is as the hundredth.
const THEN_ONE_OF: u64 = 4;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    Io,
    NoSpace,
    TooManyFiles,
    Interrupted,
}

const FAULTS: [Fault; 5] = [
    Fault::Kill,
    Fault::Io,
    Fault::NoSpace,
    Fault::TooManyFiles,
    Fault::Interrupted,
];

impl Fault {
    fn as_strace_has_it(self) -> &'static str {
        match self {
            Self::Kill => "signal=KILL",
            Self::Io => "error=EIO",
            Self::NoSpace => "error=ENOSPC",
            Self::TooManyFiles => "error=EMFILE",
            Self::Interrupted => "error=EINTR",
        }
    }
}

/// One call that is to fail, in one process of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Injection {
    path: Path,
    /// The system call's number.
    call: u64,
    fault: Fault,
    /// Its how manieth occurrence in that process, from 1 on.
    when: u64,
}

impl Injection {
    /// In decimal: the path, three digits of the call, one of the fault, four of the
    /// occurrence.
    fn number(self) -> u64 {
        let (path, fault) = (self.path as u64, self.fault as u64);
        ((path * 1000 + self.call) * 10 + fault) * 10_000 + self.when
    }

    fn of_number(number: u64) -> Option<Self> {
        let path = number / 100_000_000;
        let fault = usize::try_from(number / 10_000 % 10).ok()?;
        Some(Self {
            path: path::PATHS
                .into_iter()
                .find(|known| *known as u64 == path)?,
            call: number / 100_000 % 1000,
            fault: *FAULTS.get(fault)?,
            when: number % 10_000,
        })
    }
}

pub(crate) fn run(campaign: &mut Campaign) {
    if !works(&["strace", "-qq", "-n", "-o", "/dev/null", "true"]) {
        return campaign.skip("strace is not there, or may not trace");
    }
    let numbers = match campaign.repeated() {
        Some(_) => Vec::new(),
        None => match campaign.attempt(numbers) {
            Ok(numbers) => numbers,
            Err(why) => return campaign.fail_whole(&format!("without a fault: {why}")),
        },
    };
    campaign.each_of(numbers, |campaign, number, _| {
        let injection = Injection::of_number(number).ok_or("there is no such trial")?;
        path::attempt(injection, campaign).map_err(|broken| format!("{injection:?}: {broken}"))
    });
    campaign.demand(&["calls made to fail", "killed in a call"]);
}

/// All that there is to try.
fn numbers(campaign: &mut Campaign) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    for path in path::PATHS {
        let calls = path::discover(path).map_err(|why| format!("{path:?}: {why}"))?;
        let mut chance = campaign.chance(path as u64);
        for call in &calls {
            campaign.count("calls found");
            for fault in FAULTS {
                add(campaign, &mut chance, (path, call, fault), &mut numbers);
            }
        }
    }
    campaign.add("combinations", numbers.len() as u64);
    Ok(numbers)
}

fn add(
    campaign: &mut Campaign,
    chance: &mut Chance,
    (path, call, fault): (Path, &Call, Fault),
    numbers: &mut Vec<u64>,
) {
    if exempt::why(path, call, fault).is_some() {
        return campaign.count("errors that cannot be");
    }
    if call.when > ALL_OF && !chance.one_in(call.when / THEN_ONE_OF) {
        return campaign.count("left out by lot");
    }
    let injection = Injection {
        path,
        call: call.number,
        fault,
        when: call.when,
    };
    numbers.push(injection.number());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_what_is_tried() {
        for path in path::PATHS {
            for fault in FAULTS {
                let injection = Injection {
                    path,
                    call: 257,
                    fault,
                    when: 31,
                };
                let number = injection.number();
                assert_eq!(Injection::of_number(number), Some(injection), "{number}");
            }
        }
    }
}
