//! Times and lengths of time as people say them.

use std::time::Duration;

use session_core::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How long ago `then` was, seen from `now`: `3 min ago`. A time that lies ahead
/// (a clock that was set back, a record from elsewhere) is shown as it is.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    if then.since(now) > Duration::from_secs(MINUTE) {
        return moment(then);
    }
    let seconds = now.since(then).as_secs();
    match seconds {
        0 => "just now".to_owned(),
        1..MINUTE => format!("{seconds} s ago"),
        MINUTE..HOUR => format!("{} min ago", seconds / MINUTE),
        HOUR..DAY => format!("{} h ago", seconds / HOUR),
        DAY.. if seconds < 2 * DAY => "1 day ago".to_owned(),
        _ if seconds < 100 * DAY => format!("{} days ago", seconds / DAY),
        _ => moment(then),
    }
}

/// The date and the time of day, in UTC.
fn moment(time: Timestamp) -> String {
    let text = time.to_string();
    let date_and_minute = text.get(..16).unwrap_or(&text);
    format!("{}Z", date_and_minute.replace('T', " "))
}

/// A length of time: `1 h 30 min`, `42 s`.
pub(crate) fn length(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / DAY, "d"),
        (seconds / HOUR % 24, "h"),
        (seconds / MINUTE % 60, "min"),
        (seconds % 60, "s"),
    ];
    let shown: Vec<_> = parts
        .into_iter()
        .skip_while(|(n, _)| *n == 0)
        .take(2)
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n} {unit}"))
        .collect();
    match (shown.is_empty(), duration.subsec_millis()) {
        (false, _) => shown.join(" "),
        (true, 0) => "0 s".to_owned(),
        (true, millis) => format!("{millis} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(then: &str, expected: &str) {
        let time = |text| Timestamp::parse(text).expect("a time");
        assert_eq!(
            ago(time(then), time("2026-06-15T12:00:00Z")),
            expected,
            "{then}"
        );
    }

    #[test]
    fn times_are_told_as_people_say_them() {
        check("2026-06-15T12:00:00Z", "just now");
        check("2026-06-15T11:59:59Z", "1 s ago");
        check("2026-06-15T11:59:01Z", "59 s ago");
        check("2026-06-15T11:59:00Z", "1 min ago");
        check("2026-06-15T11:56:30Z", "3 min ago");
        check("2026-06-15T11:00:01Z", "59 min ago");
        check("2026-06-15T10:30:00Z", "1 h ago");
        check("2026-06-14T12:00:01Z", "23 h ago");
        check("2026-06-14T12:00:00Z", "1 day ago");
        check("2026-06-12T12:00:00Z", "3 days ago");
        check("2025-11-22T11:10:24.600768Z", "2025-11-22 11:10Z");
    }

    #[test]
    fn a_time_ahead_is_not_made_past() {
        check("2026-06-15T12:00:30Z", "just now");
        check("2026-06-15T13:00:00Z", "2026-06-15 13:00Z");
    }

    #[test]
    fn lengths_have_two_parts_at_most() {
        for (seconds, expected) in [
            (0.0, "0 s"),
            (0.25, "250 ms"),
            (42.9, "42 s"),
            (60.0, "1 min"),
            (61.0, "1 min 1 s"),
            (5400.0, "1 h 30 min"),
            (3601.0, "1 h"),
            (90_000.0, "1 d 1 h"),
        ] {
            assert_eq!(length(Duration::from_secs_f64(seconds)), expected);
        }
    }
}
