//! Times in records: RFC 3339 with offset; read without offset as well.

use std::fmt;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, to the microsecond.
///
/// Written as RFC 3339 in UTC (`2026-11-22T11:10:24.600768+00:00`). Records of
/// the original format carry local time without an offset; it is read with the
/// time zone of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// The system clock's time, cut to whole microseconds.
    #[must_use]
    pub fn now() -> Self {
        Self::cut(jiff::Timestamp::now())
    }

    /// To the microsecond, so that what is written and read again is the same.
    fn cut(timestamp: jiff::Timestamp) -> Self {
        Self(jiff::Timestamp::from_microsecond(timestamp.as_microsecond()).unwrap_or(timestamp))
    }

    /// Reads RFC 3339, or local time without an offset.
    ///
    /// # Errors
    /// When `text` is neither; the error says what was expected.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        let invalid = |_| InvalidTimestamp {
            text: text.chars().take(80).collect(),
        };
        let timestamp = match text.parse::<jiff::Timestamp>() {
            Ok(timestamp) => timestamp,
            Err(_) => {
                let local: DateTime = text.parse().map_err(invalid)?;
                TimeZone::system().to_timestamp(local).map_err(invalid)?
            }
        };
        Ok(Self::cut(timestamp))
    }

    /// Seconds since 1970-01-01 UTC.
    #[must_use]
    pub fn as_second(self) -> i64 {
        self.0.as_second()
    }

    /// The time from `earlier` until `self`; zero when a clock was set back in between.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::try_from(self.0.duration_since(earlier.0)).unwrap_or(Duration::ZERO)
    }

    /// This time, `duration` earlier (or the earliest time there is).
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.checked_sub(duration).unwrap_or(jiff::Timestamp::MIN))
    }
}

/// The text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a time: expected RFC 3339, such as 2026-11-22T11:10:24+00:00", .text.escape_debug())]
pub struct InvalidTimestamp {
    text: String,
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Python before 3.11 reads "+00:00" but not "Z" (datetime.fromisoformat).
        let civil = TimeZone::UTC.to_datetime(self.0);
        if civil.subsec_nanosecond() == 0 {
            write!(f, "{civil:.0}+00:00")
        } else {
            write!(f, "{civil:.6}+00:00")
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(
            Timestamp::parse(text).map(|t| t.to_string()),
            Ok(expected.to_owned())
        );
    }

    #[test]
    fn reads_offsets_and_writes_utc() {
        check(
            "2026-11-22T11:10:24.600768Z",
            "2026-11-22T11:10:24.600768+00:00",
        );
        check(
            "2026-11-22T13:10:24.6+02:00",
            "2026-11-22T11:10:24.600000+00:00",
        );
        check("2026-11-22T11:10:24+00:00", "2026-11-22T11:10:24+00:00");
    }

    #[test]
    fn reads_local_time_without_an_offset() {
        let local = Timestamp::parse("2026-11-22T11:10:24.600768").expect("the original format");
        let civil = "2026-11-22T11:10:24.600768"
            .parse::<DateTime>()
            .expect("civil");
        assert_eq!(
            local.0,
            TimeZone::system()
                .to_timestamp(civil)
                .expect("representable")
        );
    }

    #[test]
    fn refuses_what_is_not_a_time() {
        for bad in ["", "yesterday", "2026-13-01T00:00:00Z", "\u{1b}[2J"] {
            assert!(Timestamp::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_clock_set_back_gives_no_negative_duration() {
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z");
        let (early, late) = (
            Timestamp::parse(early).expect("time"),
            Timestamp::parse(late).expect("time"),
        );
        assert_eq!(late.since(early), Duration::from_secs(5));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
