//! Statistics of many traces, within a bound that the page shows.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::Result;
use attest_query::Query;
use attest_storage::{ListingEntry, TraceReader};
use futures_util::TryStreamExt;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::{scan::Scan, search::Row, selection::Selection, workers::Workers};

/// The largest number of traces of a bucket that are listed. A folder is listed whole.
const LISTED: usize = 5_000;

/// The largest number of traces that are read: the newest ones of a folder, or the first ones of a bucket.
const READ: usize = 1_000;

/// The largest number of traces of a lake that are read, because a lake is read faster.
const READ_OF_A_LAKE: usize = 10_000;

/// The largest number of bytes of traces that are read.
const READ_BYTES: u64 = 32 * 1024 * 1024;

/// The time after which no more traces are read.
const READING: Duration = Duration::from_secs(2);

const NEWEST: usize = 10;

/// The time between the call and its storage that no application needs, unlike an import.
const IMPORTED: SignedDuration = SignedDuration::from_hours(24);

/// The largest number of models with figures of their own, because each model of a trace is a text of its writer.
const MODELS: usize = 1_000;

/// Upper bounds of the size classes, in bytes.
pub const SIZES: [u64; 6] = [1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20, u64::MAX];

/// The model name for traces that were listed but not read.
pub const UNREAD: &str = "not read";

/// The model name for traces beyond the largest number of models.
pub const OTHERS: &str = "others";

/// The time that decides the day of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeBasis {
    /// The time in the trace.
    Created,
    Stored,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub traces: u64,
    pub bytes: u64,
    pub tokens: u64,
    pub errors: u64,
    pub refusals: u64,
}

pub type Days = BTreeMap<Date, BTreeMap<String, Figures>>;

#[derive(Debug, Default)]
pub struct Stats {
    /// The traces that were read, by storage day, in UTC, and by model.
    stored: Days,
    /// The traces that were read, by the day in the trace, in UTC, and by model.
    created: Days,
    /// The traces that were listed, by storage day.
    listed: BTreeMap<Date, u64>,
    /// Traces in each class of [`SIZES`].
    pub sizes: [u64; SIZES.len()],
    /// The number of traces that were listed.
    pub traces: usize,
    /// The figures of the traces that were read.
    pub read: Figures,
    /// The objects that cannot be read.
    pub unreadable: usize,
    /// The traces that were read and have no time.
    pub timeless: u64,
    /// The traces that were stored more than a day after their call, or before it.
    imported: u64,
    /// Whether more traces are stored than were listed.
    pub has_more: bool,
    models: BTreeSet<String>,
    /// Whether the log of a lake counted the traces. Sizes are then those of the traces that were read.
    pub is_lake: bool,
    pub newest: Vec<Row>,
}

impl Stats {
    /// Lists traces, and reads as many of them as the limits allow, or all.
    pub async fn gather(traces: &TraceReader, workers: &Workers, reads_all: bool) -> Result<Self> {
        let mut stats = Self::list(traces, reads_all).await?;
        let limit = if stats.is_lake { READ_OF_A_LAKE } else { READ };
        let deadline = Instant::now() + READING;
        let mut scan = Scan::begin(workers, Selection::new(traces, &Query::default()), "", usize::MAX).await?;
        let mut rows = 0;
        loop {
            let Some(batch) = scan.next().await? else {
                stats.has_more = false;
                break;
            };
            for hit in batch.hits {
                if reads_all || rows < limit && stats.read.bytes <= READ_BYTES {
                    rows += 1;
                    stats.add(hit.row);
                }
            }
            if !reads_all && (rows == limit || stats.read.bytes > READ_BYTES || Instant::now() > deadline) {
                break;
            }
        }
        stats.traces = stats.traces.max(usize::try_from(stats.read.traces).unwrap_or(usize::MAX) + stats.unreadable);
        Ok(stats)
    }

    /// Counts the traces by what the listing knows.
    async fn list(traces: &TraceReader, lists_all: bool) -> Result<Self> {
        let mut stats = Self::default();
        #[cfg(feature = "lake")]
        if let Some(lake) = traces.lake() {
            stats.is_lake = true;
            stats.has_more = traces.is_restricted(); // the log counts the traces of all fingerprints
            if !stats.has_more {
                stats.listed = super::lake::days(lake).await?;
                stats.traces = usize::try_from(stats.listed.values().sum::<u64>()).unwrap_or(usize::MAX);
            }
            return Ok(stats);
        }
        let limit = if lists_all || traces.folder().is_some() { usize::MAX } else { LISTED };
        let mut entries = traces.walk("", None).await?.entries;
        while let Some(entry) = entries.try_next().await? {
            if stats.traces == limit {
                stats.has_more = true;
                break;
            }
            stats.traces += 1;
            *stats.listed.entry(day_of(entry.stored)).or_default() += 1;
            stats.add_size(&entry);
        }
        Ok(stats)
    }

    fn add_size(&mut self, entry: &ListingEntry) {
        let class = SIZES.iter().position(|bound| entry.size <= *bound).unwrap_or(SIZES.len() - 1);
        self.sizes[class] += 1;
    }

    fn add(&mut self, row: Row) {
        if row.unreadable.is_some() {
            self.unreadable += 1;
        } else {
            self.add_read(&row);
        }
        self.newest.push(row);
        self.newest.sort_by_key(|row| Reverse(row.entry.stored));
        self.newest.truncate(NEWEST);
    }

    fn add_read(&mut self, row: &Row) {
        if self.is_lake {
            self.add_size(&row.entry);
        }
        let figures = Figures {
            traces: 1,
            bytes: row.entry.size,
            tokens: row.header.tokens.total.unwrap_or_default(),
            errors: u64::from(row.header.error.is_some()),
            refusals: u64::from(row.header.is_refused),
        };
        let (stored, model) = (row.entry.stored, &row.header.model);
        if self.models.len() < MODELS && !self.models.contains(model) {
            self.models.insert(model.clone());
        }
        let model = self.models.get(model).map_or(OTHERS, String::as_str);
        self.read.add(&figures);
        figures_of(&mut self.stored, day_of(stored), model).add(&figures);
        match row.header.created.parse::<Timestamp>() {
            Ok(created) => {
                figures_of(&mut self.created, day_of(created), model).add(&figures);
                self.imported += u64::from(stored.duration_since(created).abs() > IMPORTED);
            }
            Err(_) => self.timeless += 1,
        }
    }

    /// Returns the time by which the overview shows days if nobody chooses: `created` if most traces were stored more than
    /// a day after it, or before it.
    pub fn basis(&self) -> TimeBasis {
        if self.imported * 2 > self.read.traces { TimeBasis::Created } else { TimeBasis::Stored }
    }

    /// Returns the figures of the traces that were read, by model.
    pub fn models(&self) -> Vec<(&str, Figures)> {
        by_model(&self.stored)
    }

    /// Returns the figures by day and model. By the time of storage, they include the traces that were not read.
    pub fn days(&self, basis: TimeBasis) -> Days {
        if basis == TimeBasis::Created {
            return self.created.clone();
        }
        let mut days = self.stored.clone();
        for (day, listed) in &self.listed {
            let read = self.stored.get(day).map_or(0, |models| models.values().map(|figures| figures.traces).sum());
            let unread = listed.saturating_sub(read);
            if unread > 0 {
                figures_of(&mut days, *day, UNREAD).traces = unread;
            }
        }
        days
    }

    /// Returns whether every trace was read.
    pub fn is_whole(&self) -> bool {
        !self.has_more && self.read.traces + self.unreadable as u64 == self.traces as u64
    }
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.traces += other.traces;
        self.bytes += other.bytes;
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.errors += other.errors;
        self.refusals += other.refusals;
    }
}

fn figures_of<'a>(days: &'a mut Days, day: Date, model: &str) -> &'a mut Figures {
    let models = days.entry(day).or_default();
    if !models.contains_key(model) {
        models.insert(model.to_owned(), Figures::default());
    }
    models.get_mut(model).expect("it was inserted")
}

/// Sums the figures by model. The model with the most traces comes first, and unread traces come last.
pub fn by_model(days: &Days) -> Vec<(&str, Figures)> {
    let mut models: BTreeMap<&str, Figures> = BTreeMap::new();
    for (model, figures) in days.values().flatten() {
        models.entry(model).or_default().add(figures);
    }
    let mut models: Vec<_> = models.into_iter().collect();
    models.sort_by_key(|(model, figures)| (*model == UNREAD, Reverse(figures.traces)));
    models
}

fn day_of(time: Timestamp) -> Date {
    time.to_zoned_datetime(TimeZone::UTC).date()
}
