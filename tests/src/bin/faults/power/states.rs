//! Every way to lose the power at one moment, or so many of them as there is time for.

use super::disk::{Certain, Choose, Disk, Part, Tree};
use crate::chance::Chance;

/// Up to how many ways are tried out one by one.
const MOST: f64 = 1024.0;
/// How many are thrown where there are more.
const SAMPLE: u32 = 256;

/// How a moment was looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coverage {
    /// Every way.
    Whole,
    /// Every way for the records, some of what becomes of the rest.
    RecordsWhole,
    Sampled,
}

/// Calls `look` with what may be left of `.monoco` when the power goes now.
pub(super) fn each_state(
    disk: &Disk,
    chance: &mut Chance,
    mut look: impl FnMut(Option<Tree>) -> Result<(), String>,
) -> Result<Coverage, String> {
    let (all, records) = disk.n_states();
    if all <= MOST {
        let mut fate = Certain(Odometer::default());
        loop {
            look(disk.lose_power(&mut fate))?;
            if !fate.0.turn() {
                return Ok(Coverage::Whole);
            }
        }
    }
    if records <= f64::from(SAMPLE) {
        let mut odometer = Odometer::default();
        // As many throws for each as make the sample up.
        let throws = SAMPLE / (records as u32).max(1);
        loop {
            for n in 0..throws.max(1) {
                odometer.at = 0;
                let rest = Dice::nth(n, chance);
                let records = &mut odometer;
                look(disk.lose_power(&mut Certain(Both { records, rest })))?;
            }
            if !odometer.turn() {
                return Ok(Coverage::RecordsWhole);
            }
        }
    }
    for n in 0..SAMPLE {
        look(disk.lose_power(&mut Certain(Dice::nth(n, chance))))?;
    }
    Ok(Coverage::Sampled)
}

/// Goes through all choices, the last one fastest. What there is to choose later
/// may depend on what was chosen before.
#[derive(Default)]
struct Odometer {
    chosen: Vec<(usize, usize)>,
    at: usize,
}

impl Odometer {
    /// On to the next; false when all have been.
    fn turn(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, n)) = self.chosen.pop() {
            if chosen + 1 < n {
                self.chosen.push((chosen + 1, n));
                return true;
            }
        }
        false
    }
}

impl Choose for Odometer {
    fn choose(&mut self, _: Part, n: usize) -> usize {
        if self.at == self.chosen.len() {
            self.chosen.push((0, n));
        }
        self.at += 1;
        self.chosen[self.at - 1].0
    }
}

/// Throws for everything.
enum Dice<'a> {
    Newest,
    Oldest,
    Thrown(&'a mut Chance),
}

impl<'a> Dice<'a> {
    /// The extremes come first: nothing of the rest is lost, or all of it.
    fn nth(n: u32, chance: &'a mut Chance) -> Self {
        match n {
            0 => Self::Newest,
            1 => Self::Oldest,
            _ => Self::Thrown(chance),
        }
    }
}

impl Choose for Dice<'_> {
    fn choose(&mut self, _: Part, n: usize) -> usize {
        match self {
            Self::Newest => n - 1,
            Self::Oldest => 0,
            Self::Thrown(chance) => usize::try_from(chance.below(n as u64)).expect("an index"),
        }
    }
}

struct Both<'a> {
    records: &'a mut Odometer,
    rest: Dice<'a>,
}

impl Choose for Both<'_> {
    fn choose(&mut self, part: Part, n: usize) -> usize {
        match part {
            Part::Records => self.records.choose(part, n),
            Part::Rest => self.rest.choose(part, n),
        }
    }
}
