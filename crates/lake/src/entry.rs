//! The objects of a bucket, as listings, responses and table rows describe them.

use std::collections::HashMap;

use attest::writer::Writer;
use bytes::Bytes;
use jiff::{Timestamp, civil::Date, tz::TimeZone};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    pub key: String,
    /// The time at which S3 stored the object, in whole seconds.
    pub stored: Timestamp,
    /// The entity tag, without quotes. It distinguishes objects that S3 stored under one key within the same second.
    /// Rows of earlier versions have none.
    pub etag: Option<String>,
}

impl Entry {
    /// Creates an entry. Truncates the time, because S3 dates objects in whole seconds.
    #[must_use]
    pub fn new(key: String, stored: Timestamp, etag: Option<&str>) -> Self {
        let seconds = stored.as_nanosecond().div_euclid(1_000_000_000);
        let seconds = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let etag = etag.map(|etag| etag.trim_matches('"').to_owned());
        Self { key, stored: seconds.unwrap_or(stored), etag }
    }

    #[must_use]
    pub fn day(&self) -> Date {
        self.stored.to_zoned_datetime(TimeZone::UTC).date()
    }

    /// Returns whether both describe the same object. An unknown tag equals every other.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.key == other.key && self.stored == other.stored && fit(self.etag.as_ref(), other.etag.as_ref())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub entry: Entry,
    pub json: Bytes,
    pub writer: Writer,
}

fn fit(one: Option<&String>, other: Option<&String>) -> bool {
    one.zip(other).is_none_or(|(one, other)| one == other)
}

/// Entries by key. A key has several entries if its object was stored again.
#[derive(Debug, Default)]
pub(crate) struct Entries(HashMap<String, Vec<(Timestamp, Option<String>)>>);

impl Entries {
    pub(crate) fn contains(&self, entry: &Entry) -> bool {
        let same = |(stored, etag): &(Timestamp, Option<String>)| {
            *stored == entry.stored && fit(etag.as_ref(), entry.etag.as_ref())
        };
        self.0.get(&entry.key).is_some_and(|found| found.iter().any(same))
    }

    pub(crate) fn missing_in(&self, others: &Self) -> impl Iterator<Item = &String> {
        self.0.iter().filter_map(|(key, entries)| {
            let is_missing = |(stored, etag): &(Timestamp, Option<String>)| {
                !others.contains(&Entry { key: key.clone(), stored: *stored, etag: etag.clone() })
            };
            entries.iter().any(is_missing).then_some(key)
        })
    }

    /// Returns the key of an entry that `others` also contains.
    pub(crate) fn shared_with(&self, others: &Self) -> Option<&String> {
        let is_shared = |(key, entries): &(&String, &Vec<(Timestamp, Option<String>)>)| {
            let mut entries = entries.iter();
            entries.any(|(stored, etag)| {
                others.contains(&Entry { key: (*key).clone(), stored: *stored, etag: etag.clone() })
            })
        };
        self.0.iter().find(is_shared).map(|(key, _)| key)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut set = Self::default();
        for Entry { key, stored, etag } in entries {
            set.0.entry(key).or_default().push((stored, etag));
        }
        set
    }
}
