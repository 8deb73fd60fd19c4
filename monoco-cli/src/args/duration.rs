//! Times as people type them: `90`, `15m`, `2h 30m`, `7d`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// A time; a plain number means seconds, a day has 24 hours.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    seconds(text)
        .or_else(|| span(text))
        .ok_or_else(|| "expected a time, such as 90 (seconds), 15m, 2h30m or 7d".to_owned())
}

/// A session's timeout, which records keep in whole seconds.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    let duration = parse(text)?;
    if duration.is_zero() {
        return Err("a session's timeout is at least one second".to_owned());
    }
    let part = u64::from(duration.subsec_nanos() > 0);
    Ok(Duration::from_secs(duration.as_secs().saturating_add(part)))
}

fn seconds(text: &str) -> Option<Duration> {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    digits
        .then(|| text.parse().ok())
        .flatten()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

fn span(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(duration).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, seconds: f64) {
        let duration = parse(text).map(|duration| duration.as_secs_f64());
        assert_eq!(duration, Ok(seconds), "{text}");
    }

    #[test]
    fn reads_what_people_type() {
        check("0", 0.0);
        check("90", 90.0);
        check("1.5", 1.5);
        check("500ms", 0.5);
        check("90s", 90.0);
        check("15m", 900.0);
        check("15 min", 900.0);
        check("2h30m", 9000.0);
        check("1h 30m", 5400.0);
        check("7d", 604_800.0);
        check("1w", 604_800.0);
        check("PT1H", 3600.0);
    }

    #[test]
    fn refuses_what_is_not_a_length_of_time() {
        for bad in [
            "", ".", "soon", "-5", "-5m", "5m ago", "1mo", "1y", "1.2.3", "inf", "NaN", "1e9",
        ] {
            let error = parse(bad).expect_err(bad);
            assert!(error.contains("15m"), "{error}");
        }
        assert!(parse(&"9".repeat(40)).is_err());
    }

    #[test]
    fn a_timeout_is_whole_seconds_and_not_none() {
        assert_eq!(timeout("1500ms"), Ok(Duration::from_secs(2)));
        assert!(timeout("0").is_err());
    }
}
