//! Times in records: RFC 3339 with offset; read without offset as well.

use std::fmt;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::record::Text;

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
        if let Some(ours) = Self::parse_ours(text.as_bytes()) {
            return Ok(ours);
        }
        let timestamp = match text.parse::<jiff::Timestamp>() {
            Ok(timestamp) => timestamp,
            Err(_) => {
                let local: DateTime = text.parse().map_err(invalid)?;
                TimeZone::system().to_timestamp(local).map_err(invalid)?
            }
        };
        Ok(Self::cut(timestamp))
    }

    /// Reads what [`text`](Self::text) writes, and nothing else.
    fn parse_ours(text: &[u8]) -> Option<Self> {
        let number = |digits: &[u8]| {
            digits.iter().try_fold(0_i32, |n, digit| {
                let digit = i32::from(digit.wrapping_sub(b'0'));
                (digit < 10).then_some(n * 10 + digit)
            })
        };
        let small = |digits| number(digits).and_then(|n| i8::try_from(n).ok());
        let micros = match text.len() {
            MAX_LEN if text[19] == b'.' => number(&text[20..26])?,
            len if len == MAX_LEN - MICROS_LEN => 0,
            _ => return None,
        };
        if !text.ends_with(b"+00:00") {
            return None;
        }
        let between = [text[4], text[7], text[10], text[13], text[16]];
        if between != *b"--T::" {
            return None;
        }
        let year = number(&text[..4])?.try_into().ok()?;
        let civil = DateTime::new(
            year,
            small(&text[5..7])?,
            small(&text[8..10])?,
            small(&text[11..13])?,
            small(&text[14..16])?,
            small(&text[17..19])?,
            micros * 1_000,
        );
        TimeZone::UTC.to_timestamp(civil.ok()?).ok().map(Self)
    }

    /// The time that is `seconds` after 1970-01-01 UTC; `None` where a record could
    /// not tell it.
    #[must_use]
    pub fn from_second(seconds: i64) -> Option<Self> {
        jiff::Timestamp::from_second(seconds).ok().map(Self)
    }

    /// The time of day where this machine is, to the minute (`14:05`); with its date
    /// where that is not the same as that of `now`.
    #[must_use]
    pub fn on_the_clock(self, now: Self) -> String {
        let zone = TimeZone::system();
        let (then, now) = (zone.to_datetime(self.0), zone.to_datetime(now.0));
        let time = format!("{:02}:{:02}", then.hour(), then.minute());
        match then.date() == now.date() {
            true => time,
            false => format!("{} {time}", then.date()),
        }
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

/// The longest text of a time, in bytes.
const MAX_LEN: usize = "2026-11-22T11:10:24.600768+00:00".len();
const MICROS_LEN: usize = ".600768".len();

/// Writes `n` with as many digits as there is room for.
fn digits(out: &mut [u8], mut n: u32) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

impl Timestamp {
    /// The text, at the beginning of `out`; `None` for years that take a sign. A
    /// listing writes four for each of its sessions, so no formatter is asked.
    fn text(self, out: &mut [u8; MAX_LEN]) -> Option<&str> {
        let civil = TimeZone::UTC.to_datetime(self.0);
        let small = |n: i8| u32::from(n.unsigned_abs());
        out.copy_from_slice(b"0000-00-00T00:00:00.000000+00:00");
        digits(&mut out[..4], u16::try_from(civil.year()).ok()?.into());
        digits(&mut out[5..7], small(civil.month()));
        digits(&mut out[8..10], small(civil.day()));
        digits(&mut out[11..13], small(civil.hour()));
        digits(&mut out[14..16], small(civil.minute()));
        digits(&mut out[17..19], small(civil.second()));
        let micros = civil.subsec_nanosecond().unsigned_abs() / 1_000;
        digits(&mut out[20..26], micros);
        let len = match micros {
            0 => {
                out.copy_within(26.., 19);
                MAX_LEN - MICROS_LEN
            }
            _ => MAX_LEN,
        };
        std::str::from_utf8(&out[..len]).ok()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Python before 3.11 reads "+00:00" but not "Z" (datetime.fromisoformat).
        match self.text(&mut [0; MAX_LEN]) {
            Some(text) => f.write_str(text),
            None if self.0.subsec_nanosecond() == 0 => {
                write!(f, "{:.0}+00:00", TimeZone::UTC.to_datetime(self.0))
            }
            None => write!(f, "{:.6}+00:00", TimeZone::UTC.to_datetime(self.0)),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.text(&mut [0; MAX_LEN]) {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
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
        check(
            "0007-01-02T03:04:05.000006Z",
            "0007-01-02T03:04:05.000006+00:00",
        );
        check("-000007-01-02T03:04:05Z", "-000007-01-02T03:04:05+00:00");
    }

    #[test]
    fn what_is_ours_is_read_as_anybody_reads_it() {
        for ours in [
            "2026-11-22T11:10:24.600768+00:00",
            "2026-11-22T11:10:24+00:00",
            "0000-02-29T23:59:59.999999+00:00",
            "9999-12-30T00:00:00.000001+00:00",
        ] {
            let read = Timestamp::parse_ours(ours.as_bytes()).map(|read| read.0);
            assert_eq!(read, ours.parse().ok(), "{ours}");
            assert_eq!(
                read.map(|read| Timestamp(read).to_string()),
                Some(ours.to_owned())
            );
        }
        for other in [
            "2026-11-22T11:10:24.600768+01:00",
            "2026-02-30T11:10:24+00:00",
            "2026-11-22T24:10:24+00:00",
            "2026-11-22T11:10:60+00:00",
            "2026-11-22T11:10:24.6007é+00:00",
            "2026/11-22T11:10:24+00:00",
            "+026-11-22T11:10:24+00:00",
            "",
        ] {
            assert_eq!(Timestamp::parse_ours(other.as_bytes()), None, "{other}");
        }
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
