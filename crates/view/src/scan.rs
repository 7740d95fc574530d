//! Searches all traces, batch by batch, in listing order.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use attest::{trace::is_trace, unreadable::Unreadable};
use attest_mapping::json::one_line;
use attest_storage::{ListingEntry, PlaceKind};
use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};

#[cfg(feature = "lake")]
use super::lake;
use super::{
    search::{Row, content},
    selection::Selection,
    workers::{PAGES, Workers},
};

/// The maximum number of traces in a batch. Other pages wait for at most two batches.
const BATCH: usize = 256;

/// The number of batches in flight: one per worker. For a bucket, this hides the latency of S3.
pub const BATCHES: usize = PAGES;

/// The number of concurrent object reads per batch.
const READS: usize = 16;

/// The maximum total size of a batch's objects, which are in memory together.
const BATCH_BYTES: u64 = 16 * 1024 * 1024;

/// A matching trace, and the cursor after it.
#[derive(Debug)]
pub struct Hit {
    pub row: Row,
    pub cursor: String,
}

#[derive(Debug, Default)]
pub struct Batch {
    /// The matching traces. Empty if they are only counted.
    pub hits: Vec<Hit>,
    /// The matching traces as JSON Lines, if the selection needs lines instead of hits.
    pub lines: Vec<u8>,
    pub found: usize,
    pub looked_at: usize,
    /// The number of objects that a content search left out because they cannot be read.
    pub unreadable: usize,
    /// Where the next batch starts: after the last trace that was read, whether it matched or not.
    pub cursor: String,
}

/// A search that reads only while it is polled.
pub struct Scan {
    /// The number of traces to search, if it is known.
    pub total: Option<usize>,
    /// A number that changes with the traces. `None` if only another search could detect a change.
    pub version: Option<u64>,
    batches: BoxStream<'static, Result<Batch>>,
    /// The maximum number of hits in a batch.
    limit: Arc<AtomicUsize>,
}

impl Scan {
    /// Starts a search after the cursor `from`, or from the start if it is empty. A batch has at most `rows` hits.
    pub async fn begin(workers: &Workers, selection: Selection, from: &str, rows: usize) -> Result<Self> {
        let (selection, limit) = (Arc::new(selection), Arc::new(AtomicUsize::new(rows)));
        let traces = &selection.traces;
        #[cfg(feature = "lake")]
        if let Some(lake) = traces.lake() {
            return lake::scan(lake, workers, &selection, from, limit).await;
        }
        let walk = traces.walk(&selection.prefix, Some(from).filter(|from| !from.is_empty())).await?;
        let is_bucket = traces.kind() == PlaceKind::Bucket;
        let is_read = selection.query.needs_content() || rows == usize::MAX;
        let size = if is_read || !is_bucket { BATCH } else { rows.min(BATCH) + 1 };
        let (workers, hits) = (workers.clone(), Arc::clone(&limit));
        let batches = chunks(walk.entries, size).map(move |entries| {
            let (workers, batch) = (workers.clone(), BatchBuilder::new(&selection, &hits));
            async move {
                if is_bucket {
                    of_bucket(entries?, &workers, batch).await
                } else {
                    of_files(entries?, &workers, batch).await
                }
            }
        });
        let in_flight = if is_read { BATCHES } else { 1 };
        Ok(Self { total: walk.total, version: walk.version, batches: batches.buffered(in_flight).boxed(), limit })
    }

    #[cfg(feature = "lake")]
    pub fn new(
        total: Option<usize>,
        version: Option<u64>,
        batches: BoxStream<'static, Result<Batch>>,
        limit: Arc<AtomicUsize>,
    ) -> Self {
        Self { total, version, batches, limit }
    }

    /// Searches the next traces. Returns `None` after the last one.
    pub async fn next(&mut self) -> Result<Option<Batch>> {
        self.batches.try_next().await
    }

    /// From now on, only counts the matching traces.
    pub fn count_only(&self) {
        self.limit.store(0, Ordering::Relaxed);
    }
}

/// Divides a listing into batches whose objects fit into memory.
fn chunks(
    entries: BoxStream<'static, Result<ListingEntry>>,
    size: usize,
) -> BoxStream<'static, Result<Vec<ListingEntry>>> {
    let chunks = stream::try_unfold((entries, None), move |(mut entries, first)| async move {
        let mut chunk: Vec<ListingEntry> = Vec::from_iter(first);
        let mut bytes: u64 = chunk.iter().map(read_bytes).sum();
        while chunk.len() < size {
            let Some(entry) = entries.try_next().await? else { break };
            bytes += read_bytes(&entry);
            if bytes > BATCH_BYTES && !chunk.is_empty() {
                return Ok(Some((chunk, (entries, Some(entry)))));
            }
            chunk.push(entry);
        }
        anyhow::Ok((!chunk.is_empty()).then_some((chunk, (entries, None))))
    });
    chunks.boxed()
}

/// Returns how many bytes of an object are read.
pub fn read_bytes(entry: &ListingEntry) -> u64 {
    if Unreadable::of_size(entry.size).is_some() { 0 } else { entry.size }
}

/// Reads and searches files in one task, because a task per file would cost more than reading the file.
async fn of_files(entries: Vec<ListingEntry>, workers: &Workers, mut batch: BatchBuilder) -> Result<Batch> {
    let search = move || {
        for entry in entries {
            if batch.wants(&entry)
                && let Some(object) = batch.selection.traces.read_local(&entry)?
            {
                batch.add(entry, object);
            }
        }
        Ok(batch.batch)
    };
    workers.run(search).await?
}

async fn of_bucket(entries: Vec<ListingEntry>, workers: &Workers, mut batch: BatchBuilder) -> Result<Batch> {
    let wanted: Vec<ListingEntry> = entries.into_iter().filter(|entry| batch.wants(entry)).collect();
    let traces = batch.selection.traces.clone();
    let objects = stream::iter(wanted).map(async |entry| {
        let object = content(&traces, &entry).await?;
        anyhow::Ok(object.map(|object| (entry, object)))
    });
    let objects = objects.buffered(READS).try_filter_map(|object| ready(Ok(object)));
    let objects: Vec<(ListingEntry, Result<Bytes, Unreadable>)> = objects.try_collect().await?;
    let search = move || {
        for (entry, object) in objects {
            batch.add(entry, object);
        }
        batch.batch
    };
    workers.run(search).await
}

pub struct BatchBuilder {
    pub batch: Batch,
    pub selection: Arc<Selection>,
    /// The maximum number of hits.
    limit: usize,
    /// The number of entries that were chosen as hits, even if they have not been read yet.
    chosen: usize,
}

impl BatchBuilder {
    pub fn new(selection: &Arc<Selection>, limit: &AtomicUsize) -> Self {
        let limit = limit.load(Ordering::Relaxed);
        Self { batch: Batch::default(), selection: Arc::clone(selection), limit, chosen: 0 }
    }

    /// Counts an entry, and decides from the listing if possible. Returns whether the trace must be read.
    fn wants(&mut self, entry: &ListingEntry) -> bool {
        self.batch.looked_at += 1;
        self.batch.cursor = self.selection.traces.cursor_after(entry);
        let Some(is_selected) = self.selection.decide(entry) else { return true };
        let is_shown = is_selected && self.chosen < self.limit;
        self.chosen += usize::from(is_shown);
        self.batch.found += usize::from(is_selected && !is_shown);
        is_shown
    }

    fn add(&mut self, entry: ListingEntry, object: Result<Bytes, Unreadable>) {
        let cursor = self.selection.traces.cursor_after(&entry);
        match object {
            Ok(json) => self.add_trace(entry, &json, || cursor),
            Err(_) if self.selection.has_lines || self.selection.decide(&entry).is_none() => self.batch.unreadable += 1,
            Err(reason) => {
                self.batch.found += 1;
                self.batch.hits.push(Hit { row: Row::unreadable(entry, reason), cursor });
            }
        }
    }

    pub fn add_trace(&mut self, entry: ListingEntry, json: &[u8], cursor: impl FnOnce() -> String) {
        if self.selection.has_lines {
            if is_trace(json) && self.selection.is_selected(&entry, json) {
                self.batch.found += 1;
                self.batch.lines.append(&mut one_line(json));
                self.batch.lines.push(b'\n');
            }
        } else if self.batch.hits.len() == self.limit {
            self.batch.found += usize::from(self.selection.is_selected(&entry, json));
        } else if let Some(row) = self.selection.row(entry, json) {
            self.batch.found += 1;
            self.batch.hits.push(Hit { row, cursor: cursor() });
        }
    }
}
