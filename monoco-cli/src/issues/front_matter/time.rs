//! Times as issues have them, most often without saying where on earth they are meant.

use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::civil::DateTime;

/// A time, or what a clock on a wall showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// With an offset.
    Anywhere(Timestamp),
    /// Without one, as the original program writes them.
    Local(DateTime),
}

impl Time {
    /// A date, or a date with a time.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let anywhere = text.parse().map(Self::Anywhere);
        anywhere.or_else(|_| text.parse().map(Self::Local)).ok()
    }
}

impl PartialOrd for Time {
    /// `None` for two of which only one says where it is meant.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Anywhere(a), Self::Anywhere(b)) => Some(a.cmp(b)),
            (Self::Local(a), Self::Local(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Time {
        Time::parse(text).expect(text)
    }

    #[test]
    fn times_in_all_their_forms() {
        assert!(of("2026-02-01T20:44:08") < of("2026-02-02 11:27:50.123"));
        assert!(of("2026-02-01") < of("2026-02-01T00:00:01"));
        assert!(of("2026-02-01T20:00:00+08:00") < of("2026-02-01T13:00:00Z"));
        let unlike = of("2026-02-01").partial_cmp(&of("2026-02-01T13:00:00Z"));
        assert_eq!(unlike, None);
        for no in ["", "yesterday", "2026-13-01", "2026-02-30T00:00:00"] {
            assert_eq!(Time::parse(no), None, "{no}");
        }
    }
}
