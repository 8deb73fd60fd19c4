//! Chance that can be repeated: the same seed throws the same dice.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and good enough for moments.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The dice of one trial of one campaign.
    pub(crate) fn of(seed: u64, campaign: &str, trial: u64) -> Self {
        let mut chance = Self(seed ^ trial.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for byte in campaign.bytes() {
            chance.0 ^= u64::from(byte);
            chance.next();
        }
        chance
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let i = usize::try_from(self.below(of.len() as u64)).expect("an index");
        &of[i]
    }

    /// Whether one of `n` throws hits.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Puts `all` in an order of this dice's own (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        for i in (1..all.len()).rev() {
            let other = self.below(i as u64 + 1);
            all.swap(i, usize::try_from(other).expect("an index"));
        }
    }

    /// A moment up to `longest`; short ones come as often as long ones, by
    /// magnitude, since what matters happens at once or late.
    pub(crate) fn moment(&mut self, longest: Duration) -> Duration {
        let longest = longest.as_micros() as u64;
        let magnitudes = 64 - longest.leading_zeros() as u64;
        let up_to = 1 << (1 + self.below(magnitudes));
        Duration::from_micros(self.below(up_to).min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same_dice() {
        let throw = |seed, trial| {
            let mut chance = Chance::of(seed, "kill", trial);
            [chance.next(), chance.next()]
        };
        assert_eq!(throw(1, 2), throw(1, 2));
        assert_ne!(throw(1, 2), throw(1, 3));
        assert_ne!(throw(1, 2), throw(2, 2));
    }
}
