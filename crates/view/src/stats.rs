//! Statistics of many traces, within a bound that the page shows.

use std::{cmp::Reverse, collections::BTreeMap};

use attest_mapping::conversation::StoredTrace;
use attest_storage::{ListingEntry, PlaceKind, TraceReader};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{civil::Date, tz::TimeZone};

use super::{
    search::{Row, content, read_bytes, read_row},
    workers::Workers,
};

/// The largest number of traces of a bucket that are listed. A folder or files are listed whole.
const LISTED: usize = 5_000;

/// The largest number of traces that are read: the newest ones of a folder, or the first ones of a bucket.
const READ: usize = 1_000;

/// The largest number of bytes of traces that are read.
const READ_BYTES: u64 = 32 * 1024 * 1024;

const CONCURRENCY: usize = 16;

const NEWEST: usize = 10;

/// Upper bounds of the size classes, in bytes.
pub const SIZES: [u64; 6] = [1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20, u64::MAX];

/// The model name for traces that were listed but not read.
pub const UNREAD: &str = "not read";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub traces: u64,
    pub tokens: u64,
    pub errors: u64,
    pub refusals: u64,
}

#[derive(Debug, Default)]
pub struct Stats {
    /// By storage day, in UTC, and by model.
    pub days: BTreeMap<Date, BTreeMap<String, Figures>>,
    /// Traces in each class of [`SIZES`].
    pub sizes: [u64; SIZES.len()],
    pub traces: usize,
    pub bytes: u64,
    pub read: usize,
    /// The objects that cannot be read. Their models count as not read.
    pub unreadable: usize,
    /// Whether more traces are stored than were listed.
    pub has_more: bool,
    /// Whether the log of a lake counted the traces. Sizes are then those of the traces that were read.
    pub is_lake: bool,
    pub newest: Vec<Row>,
}

impl Stats {
    /// Lists traces, and reads as many of them as the limits allow.
    pub async fn gather(traces: &TraceReader, workers: &Workers) -> anyhow::Result<Self> {
        let (entries, has_more) = list(traces).await?;
        let mut bytes = 0;
        let fits = |entry: &&ListingEntry| {
            bytes += read_bytes(entry);
            bytes <= READ_BYTES
        };
        let chosen: Vec<ListingEntry> = entries.iter().take(READ).take_while(fits).cloned().collect();
        let count = chosen.len();
        let rows = stream::iter(chosen).map(async |entry| match content(traces, &entry).await? {
            Some(Ok(json)) => workers.run(move || Some(read_row(entry, &StoredTrace::read(&json)))).await,
            Some(Err(reason)) => Ok(Some(Row::unreadable(entry, reason))),
            None => anyhow::Ok(None),
        });
        let rows: Vec<Row> = rows.buffered(CONCURRENCY).try_filter_map(async |row| Ok(row)).try_collect().await?;
        workers.run(move || Self::of(&entries, count, rows, has_more)).await
    }

    /// Computes the figures from the rows that were read. Entries after the first `chosen` count as not read.
    fn of(entries: &[ListingEntry], chosen: usize, rows: Vec<Row>, has_more: bool) -> Self {
        let unreadable = rows.iter().filter(|row| row.unreadable.is_some()).count();
        let read = rows.len() - unreadable;
        let mut stats = Self { traces: entries.len(), read, unreadable, has_more, ..Self::default() };
        for entry in entries {
            stats.add_size(entry);
        }
        for entry in &entries[chosen..] {
            stats.figures(day_of(entry), UNREAD).traces += 1;
        }
        stats.add_rows(rows);
        stats
    }

    #[cfg(feature = "lake")]
    pub fn of_lake(days: &BTreeMap<Date, u64>, rows: Vec<Row>, has_more: bool) -> Self {
        let mut read: BTreeMap<Date, u64> = BTreeMap::new();
        for row in &rows {
            *read.entry(day_of(&row.entry)).or_default() += 1;
        }
        let mut stats = Self { read: rows.len(), has_more, is_lake: true, ..Self::default() };
        for (day, traces) in days {
            let unread = traces.saturating_sub(read.get(day).copied().unwrap_or_default());
            if unread > 0 {
                stats.figures(*day, UNREAD).traces = unread;
            }
        }
        for row in &rows {
            stats.add_size(&row.entry);
        }
        stats.add_rows(rows);
        let counted: u64 = stats.days.values().flat_map(BTreeMap::values).map(|figures| figures.traces).sum();
        stats.traces = usize::try_from(counted).unwrap_or(usize::MAX);
        stats
    }

    fn add_size(&mut self, entry: &ListingEntry) {
        self.bytes += entry.size;
        let class = SIZES.iter().position(|bound| entry.size <= *bound).unwrap_or(SIZES.len() - 1);
        self.sizes[class] += 1;
    }

    fn add_rows(&mut self, rows: Vec<Row>) {
        for row in &rows {
            let model = if row.unreadable.is_some() { UNREAD } else { &row.header.model };
            let figures = self.figures(day_of(&row.entry), model);
            figures.traces += 1;
            figures.tokens = figures.tokens.saturating_add(row.header.tokens.total.unwrap_or_default());
            figures.errors += u64::from(row.header.error.is_some());
            figures.refusals += u64::from(row.header.is_refused);
        }
        self.newest = rows;
        self.newest.sort_by_key(|row| Reverse(row.entry.stored));
        self.newest.truncate(NEWEST);
    }

    fn figures(&mut self, day: Date, model: &str) -> &mut Figures {
        let day = self.days.entry(day).or_default();
        if !day.contains_key(model) {
            day.insert(model.to_owned(), Figures::default());
        }
        day.get_mut(model).expect("it was inserted")
    }

    /// Sums the figures by model. The model with the most traces comes first, and unread traces come last.
    pub fn models(&self) -> Vec<(&str, Figures)> {
        let mut models: BTreeMap<&str, Figures> = BTreeMap::new();
        for (model, figures) in self.days.values().flatten() {
            let sum = models.entry(model).or_default();
            sum.traces += figures.traces;
            sum.tokens = sum.tokens.saturating_add(figures.tokens);
            sum.errors += figures.errors;
            sum.refusals += figures.refusals;
        }
        let mut models: Vec<_> = models.into_iter().collect();
        models.sort_by_key(|(model, figures)| (*model == UNREAD, Reverse(figures.traces)));
        models
    }
}

fn day_of(entry: &ListingEntry) -> Date {
    entry.stored.to_zoned_datetime(TimeZone::UTC).date()
}

async fn list(traces: &TraceReader) -> anyhow::Result<(Vec<ListingEntry>, bool)> {
    if traces.kind() != PlaceKind::Bucket {
        return Ok((traces.page("", None, usize::MAX).await?.entries, false));
    }
    let mut entries = Vec::new();
    let mut from = None;
    while entries.len() < LISTED {
        let page = traces.page("", from.as_deref(), 1_000).await?;
        entries.extend(page.entries);
        from = page.next;
        if from.is_none() {
            return Ok((entries, false));
        }
    }
    Ok((entries, true))
}
