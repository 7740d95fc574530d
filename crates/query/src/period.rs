//! Times in a query: a year, month, day or second, in UTC.

use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};

/// A period from `start` to just before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Period {
    /// Parses a year, a month, a day, an RFC 3339 timestamp, or seconds since 1970. Four digits are always a year.
    pub fn parse(text: &str) -> Option<Self> {
        let dates = |first: &str, span: Span| {
            let first: Date = first.parse().ok()?;
            let midnight = |date: Date| Some(date.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp());
            Some(Self { start: midnight(first)?, end: midnight(first.checked_add(span).ok()?)? })
        };
        let is_shaped = |shape: &str| {
            text.len() == shape.len()
                && text
                    .bytes()
                    .zip(shape.bytes())
                    .all(|(byte, shape)| if shape == b'0' { byte.is_ascii_digit() } else { byte == shape })
        };
        if is_shaped("0000") {
            return dates(&format!("{text}-01-01"), Span::new().years(1));
        }
        if is_shaped("0000-00") {
            return dates(&format!("{text}-01"), Span::new().months(1));
        }
        if is_shaped("0000-00-00") {
            return dates(text, Span::new().days(1));
        }
        if let Ok(seconds) = text.parse::<i64>() {
            return Self::second(Timestamp::from_second(seconds).ok()?);
        }
        Self::second(text.parse().ok()?)
    }

    /// Returns the second that starts at `time`. No stored time equals a time within a second, which therefore becomes
    /// an empty period at the start of the next second.
    fn second(time: Timestamp) -> Option<Self> {
        let floor = Timestamp::from_second(time.as_nanosecond().div_euclid(1_000_000_000).try_into().ok()?).ok()?;
        let end = floor.checked_add(Span::new().seconds(1)).ok()?;
        Some(if time == floor { Self { start: floor, end } } else { Self { start: end, end } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_periods_in_utc() {
        for (text, start, end) in [
            ("2026", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2024-02-29", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z", "2026-11-22T10:00:01Z"),
            ("2026-11-22T10:00:00+02:00", "2026-11-22T08:00:00Z", "2026-11-22T08:00:01Z"),
            ("2026-11-22T10:00:00.25Z", "2026-11-22T10:00:01Z", "2026-11-22T10:00:01Z"),
            ("1764547200", "2025-12-01T00:00:00Z", "2025-12-01T00:00:01Z"),
            ("-1", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"),
        ] {
            let period = Period::parse(text).unwrap_or_else(|| panic!("{text} is a time"));
            assert_eq!((period.start.to_string().as_str(), period.end.to_string().as_str()), (start, end), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-13",
            "2026-02-30",
            "2026-11-",
            "22.11.2026",
            "2026-11-22T10:00",
            "1e9",
            "9999999999999",
        ] {
            assert_eq!(Period::parse(text), None, "{text:?}");
        }
    }
}
