//! Conditions that select traces: a fingerprint, and a range of storage times.

use attest::key::{Key, KeyError};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// A fingerprint that selects its own traces and no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    key_prefix: String,
}

impl Fingerprint {
    /// Takes the fingerprint as written in a trace, not as encoded in a key.
    pub fn new(fingerprint: &str) -> Result<Self, KeyError> {
        let key = Key::new(fingerprint, "-")?;
        let key_prefix = key.as_str().strip_suffix('-').expect("the id is `-`").to_owned();
        Ok(Self { key_prefix })
    }

    /// Returns the prefix of this fingerprint's keys, which ends with a slash.
    #[must_use]
    pub fn key_prefix(&self) -> &str {
        &self.key_prefix
    }

    /// Returns whether a key belongs to this fingerprint. An id in a key contains no slash.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        key.strip_prefix(&self.key_prefix).is_some_and(|id| !id.contains('/'))
    }
}

/// A range of storage times, by S3's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The first time that is included.
    pub since: Option<Timestamp>,
    /// The first time after the range.
    pub until: Option<Timestamp>,
}

impl TimeRange {
    #[must_use]
    pub fn contains(self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }

    /// Returns the intersection of both ranges.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        let until = [self.until, other.until].into_iter().flatten().min();
        Self { since: self.since.max(other.since), until }
    }

    /// Returns whether the range may contain a time on this UTC day.
    #[cfg(feature = "lake")]
    #[must_use]
    pub fn overlaps(self, day: Date) -> bool {
        let day_of = |time: Timestamp| time.to_zoned_datetime(TimeZone::UTC).date();
        self.since.is_none_or(|since| day >= day_of(since)) && self.until.is_none_or(|until| day <= day_of(until))
    }
}

/// Parses a time from the command line: an RFC 3339 timestamp, or a date, which starts at midnight UTC.
pub fn parse_time(text: &str) -> Result<Timestamp, jiff::Error> {
    let date = || text.parse::<Date>()?.to_zoned_datetime(TimeZone::UTC).map(|zoned| zoned.timestamp());
    text.parse().or_else(|_| date())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_selects_its_own_keys_only() {
        let allenai = Fingerprint::new("allenai").expect("a fingerprint");
        assert!(allenai.contains("allenai/1"));
        for other in ["allenai/OLMoE/1", "allenai2/1", "all/1", "allenai", "x/allenai/1"] {
            assert!(!allenai.contains(other), "{other}");
        }
        let nested = Fingerprint::new("allenai/OLMoE").expect("a fingerprint");
        assert!(nested.contains("allenai/OLMoE/1") && !nested.contains("allenai/1"));
        let encoded = Fingerprint::new("my model").expect("a fingerprint");
        assert!(encoded.contains("my%20model/order%2F17"));
    }
}
