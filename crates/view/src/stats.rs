//! Computes statistics over many traces, within limits that the page shows.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::Result;
use attest_query::Query;
use attest_storage::{ListingEntry, PlaceKind, TraceReader};
use futures_util::TryStreamExt;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::{
    scan::{Batch, Hit, Scan},
    search::Row,
    selection::Selection,
    workers::Workers,
};

/// The maximum number of traces that are listed in a bucket. A folder or files are listed completely.
const LISTED: usize = 5_000;

/// The maximum number of traces that are read: the newest ones in a folder, or the first ones in a bucket.
const READ: usize = 1_000;

/// The maximum number of traces that are read from a lake, which is faster.
const READ_OF_A_LAKE: usize = 10_000;

/// The maximum total size of the traces that are read, in bytes.
const READ_BYTES: u64 = 32 * 1024 * 1024;

/// The time after which no more traces are read.
const READING: Duration = Duration::from_secs(2);

const NEWEST: usize = 10;

/// The delay between call and storage above which the trace must have been imported.
const IMPORTED: SignedDuration = SignedDuration::from_hours(24);

/// The maximum number of models with their own totals, because a writer may use any text as a model.
const MODELS: usize = 1_000;

/// Upper bounds of the size classes, in bytes.
pub const SIZES: [u64; 6] = [1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20, u64::MAX];

/// The model name for traces that were listed but not read.
pub const UNREAD: &str = "not read";

/// The model name for traces beyond [`MODELS`].
pub const OTHERS: &str = "others";

/// The time that determines a trace's day.
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
    /// The traces that were read, by storage day in UTC and by model.
    stored: Days,
    /// The traces that were read, by the UTC day of `created` and by model.
    created: Days,
    /// The traces that were listed, by storage day.
    listed: BTreeMap<Date, u64>,
    /// Traces in each class of [`SIZES`].
    pub sizes: [u64; SIZES.len()],
    /// The number of traces that were listed.
    pub traces: usize,
    /// The totals over the traces that were read.
    pub read: Figures,
    /// The number of objects that cannot be read.
    pub unreadable: usize,
    /// The number of traces that were read and have no time.
    pub timeless: u64,
    /// The number of traces that were stored more than a day after their call, or before it.
    imported: u64,
    /// Whether more traces are stored than were listed.
    pub has_more: bool,
    models: BTreeSet<String>,
    reads_all: bool,
    /// Whether a lake's log counted the traces.
    pub is_lake: bool,
    pub newest: Vec<Row>,
}

impl Stats {
    /// Reads as many traces as the limits allow.
    pub async fn gather(traces: &TraceReader, workers: &Workers) -> Result<Self> {
        let (mut stats, mut scan) = Self::begin(traces, workers, false).await?;
        let deadline = Instant::now() + READING;
        while !stats.is_full() && Instant::now() < deadline {
            let Some(batch) = scan.next().await? else {
                stats.complete();
                break;
            };
            stats.add(batch);
        }
        Ok(stats)
    }

    /// Counts the listed traces, and starts to read them.
    pub async fn begin(traces: &TraceReader, workers: &Workers, reads_all: bool) -> Result<(Self, Scan)> {
        let mut stats = Self { reads_all, ..Self::default() };
        stats.list(traces).await?;
        let scan = Scan::begin(workers, Selection::new(traces, &Query::default()), "", usize::MAX).await?;
        Ok((stats, scan))
    }

    async fn list(&mut self, traces: &TraceReader) -> Result<()> {
        #[cfg(feature = "lake")]
        if let Some(lake) = traces.lake() {
            self.is_lake = true;
            self.has_more = traces.is_restricted(); // the log counts the traces of all fingerprints
            if !self.has_more {
                self.listed = super::lake::days(lake).await?;
                self.traces = usize::try_from(self.listed.values().sum::<u64>()).unwrap_or(usize::MAX);
            }
            return Ok(());
        }
        let limit = if traces.kind() != PlaceKind::Bucket {
            usize::MAX
        } else if self.reads_all {
            0 // reading lists them anyway
        } else {
            LISTED
        };
        let mut entries = traces.walk("", None).await?.entries;
        while let Some(entry) = entries.try_next().await? {
            if self.traces == limit {
                self.has_more = true;
                break;
            }
            self.traces += 1;
            *self.listed.entry(day_of(entry.stored)).or_default() += 1;
            if !self.has_sizes_of_read() {
                self.add_size(&entry);
            }
        }
        Ok(())
    }

    /// Returns whether the sizes cover the traces that were read rather than those that were listed.
    pub fn has_sizes_of_read(&self) -> bool {
        self.is_lake || self.reads_all
    }

    /// Returns whether a limit is reached.
    fn is_full(&self) -> bool {
        let limit = if self.is_lake { READ_OF_A_LAKE } else { READ };
        !self.reads_all && (self.rows() >= limit || self.read.bytes > READ_BYTES)
    }

    /// Returns the number of traces that were read or cannot be read.
    fn rows(&self) -> usize {
        usize::try_from(self.read.traces).unwrap_or(usize::MAX).saturating_add(self.unreadable)
    }

    /// Records that no more traces follow.
    pub fn complete(&mut self) {
        self.has_more = false;
    }

    /// Adds traces until the limits are reached.
    pub fn add(&mut self, batch: Batch) {
        for Hit { row, .. } in batch.hits {
            if !self.is_full() {
                self.add_row(row);
            }
        }
        self.traces = self.traces.max(self.rows());
    }

    fn add_size(&mut self, entry: &ListingEntry) {
        let class = SIZES.iter().position(|bound| entry.size <= *bound).unwrap_or(SIZES.len() - 1);
        self.sizes[class] += 1;
    }

    fn add_row(&mut self, row: Row) {
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
        if self.has_sizes_of_read() {
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

    /// Returns the default time for the overview's days: `created` if most traces were stored more than a day after it,
    /// or before it.
    pub fn basis(&self) -> TimeBasis {
        if self.imported * 2 > self.read.traces { TimeBasis::Created } else { TimeBasis::Stored }
    }

    /// Returns the totals over the traces that were read, by model.
    pub fn models(&self) -> Vec<(&str, Figures)> {
        by_model(&self.stored)
    }

    /// Returns the totals by day and model. Totals by storage day include the traces that were not read.
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
        !self.has_more && self.rows() == self.traces
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

/// Sums the totals by model. The model with the most traces comes first, and unread traces come last.
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
