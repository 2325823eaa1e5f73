//! Durations as people write and read them.

use std::time::Duration;

use jiff::SignedDuration;

/// A duration that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "\"{0}\" is not a duration: write it like 500ms, 10s, 5m or 1h30m; a number alone counts seconds"
)]
pub(crate) struct DurationError(String);

/// Reads `500ms`, `10s`, `5m`, `1h 30m`; a number alone counts seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError(text.to_owned());
    let trimmed = text.trim();
    let is_number = trimmed.starts_with(|c: char| c.is_ascii_digit())
        && trimmed.ends_with(|c: char| c.is_ascii_digit());
    let with_unit = if is_number { format!("{trimmed}s") } else { trimmed.to_owned() };
    let duration: SignedDuration = with_unit.parse().map_err(|_| error())?;
    Duration::try_from(duration).map_err(|_| error())
}

/// Writes a duration as [`parse`] reads it: `500ms`, `10s`, `1h 30m`.
pub(crate) fn typed(duration: Duration) -> String {
    SignedDuration::try_from(duration).map_or_else(|_| exact(duration), |d| format!("{d:#}"))
}

/// Writes an age with the one or two units that matter: `12 s`, `3 min`, `2 h 5 min`, `4 d 3 h`.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |many: u64, unit: &str, rest: u64, rest_unit: &str| match rest {
        0 => format!("{many} {unit}"),
        _ => format!("{many} {unit} {rest} {rest_unit}"),
    };
    match () {
        () if days > 0 => two(days, "d", hours % 24, "h"),
        () if hours > 0 => two(hours, "h", minutes % 60, "min"),
        () if minutes > 0 => format!("{minutes} min"),
        () => format!("{seconds} s"),
    }
}

/// Writes a duration as exactly as it is of use: `8 ms`, `3.2 s`, `47 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn exact(duration: Duration) -> String {
    match duration.as_secs() {
        0 if duration.as_millis() < 1000 => format!("{} ms", duration.as_millis()),
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        seconds @ 60..3600 if seconds % 60 > 0 => {
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
        _ => age(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            (" 2s ", 2_000),
            ("0", 0),
            ("90", 90_000),
            ("0.5", 500),
            ("1.5s", 1_500),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for text in
            ["", " ", "soon", "-1s", "-1", "s", "1x", "1h-3", "10s ago", "9".repeat(30).as_str()]
        {
            assert_eq!(parse(text), Err(DurationError(text.to_owned())));
        }
    }

    #[test]
    fn exact_ones_tell_what_is_of_use() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (3_240, "3.2 s"),
            (47_900, "47 s"),
            (60_000, "1 min"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(exact(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn ages_have_at_most_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (12, "12 s"),
            (59, "59 s"),
            (60, "1 min"),
            (190, "3 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (86_400, "1 d"),
            (4 * 86_400 + 3 * 3600 + 59, "4 d 3 h"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
