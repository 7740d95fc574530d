//! Adds traces to the table, each exactly once.

use std::collections::{BTreeMap, HashSet};

use attest::unreadable::Unreadable;
use futures_util::{StreamExt, stream};
use jiff::civil::Date;

use crate::{
    Entry, Error, Object, Result, Skipped, Snapshot, Table, columns::Columns, maintain::FILE, objects::Objects,
    parquet_file::ParquetWriter, race::win, table::Change,
};

const CONCURRENT_READS: usize = 64;

/// The largest number of traces that one commit adds. After a lost race, they are read again.
const COMMIT: usize = 20_000;

/// The size in bytes at which the collected JSON is compared with the table and encoded.
const BATCH: usize = 8 << 20;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Added {
    pub rows: u64,
    pub known: u64,
    pub absent: u64,
    pub invalid: Vec<String>,
    pub skipped: Skipped,
    /// The number of commits that lost their race and were retried.
    pub lost_races: u32,
}

impl Added {
    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.known += other.known;
        self.absent += other.absent;
        self.invalid.extend(other.invalid);
        self.skipped.extend(other.skipped);
        self.lost_races += other.lost_races;
    }

    /// Returns whether access to some objects was denied and no other object could be read.
    pub(crate) fn is_denied(&self) -> bool {
        self.skipped.count(Unreadable::Denied) > 0 && self.rows + self.known + self.invalid.len() as u64 == 0
    }

    /// Fails if access to all objects is denied, so that the caller requests them again later.
    pub(crate) fn require_access(&self) -> Result<()> {
        if self.is_denied() { Err(Error::NoAccess(self.skipped.count(Unreadable::Denied))) } else { Ok(()) }
    }
}

/// Reads the objects with these keys, and adds those that the table lacks.
///
/// On success, all of them are in the table, except those that cannot be read. After an error or a kill, some may be
/// missing, and a retry adds the rest.
pub async fn append(table: &Table, objects: &dyn Objects, keys: Vec<String>) -> Result<Added> {
    let mut all = Added::default();
    for keys in keys.chunks(COMMIT) {
        // The snapshot must be older than the reads. If another commit follows it, ours loses and the objects are read
        // again. So a row that a concurrent commit removes, because its object was deleted, cannot come back.
        let (added, lost_races) = win(table, async |snapshot| {
            let (added, change) = read(&snapshot, objects, keys).await?;
            let is_done = change.added.is_empty() || snapshot.commit_or_discard(change).await?;
            Ok(is_done.then_some(added))
        })
        .await?;
        all.add(added);
        all.lost_races += lost_races;
    }
    Ok(all)
}

#[derive(Default)]
struct PendingFile {
    columns: Columns,
    writer: Option<ParquetWriter>,
}

/// Reads objects, and writes those that are new into files.
async fn read(snapshot: &Snapshot, objects: &dyn Objects, keys: &[String]) -> Result<(Added, Change)> {
    let mut added = Added::default();
    let mut change = Change { changes_rows: true, ..Change::default() };
    let mut days: BTreeMap<Date, PendingFile> = BTreeMap::new();
    let mut seen: HashSet<&String> = HashSet::new();
    let unique: Vec<&String> = keys.iter().filter(|key| seen.insert(key)).collect();
    let reads = stream::iter(unique).map(|key| objects.read(key));
    let mut reads = std::pin::pin!(reads.buffer_unordered(CONCURRENT_READS));
    let mut batch: Vec<Object> = Vec::new();
    let mut bytes = 0;
    loop {
        let next = reads.next().await;
        let is_end = next.is_none();
        if let Some(read) = next {
            match added.skipped.take(read)? {
                Some(Some(object)) => {
                    bytes += object.json.len();
                    batch.push(object);
                }
                Some(None) => added.absent += 1,
                None => {}
            }
        }
        if bytes < BATCH && !is_end {
            continue;
        }
        let missing = snapshot.missing(batch.iter().map(|object| object.entry.clone())).await?;
        let missing: HashSet<Entry> = missing.into_iter().collect();
        for object in std::mem::take(&mut batch) {
            if !missing.contains(&object.entry) {
                added.known += 1;
            } else if days.entry(object.entry.day()).or_default().columns.push(&object) {
                added.rows += 1;
            } else {
                added.invalid.push(object.entry.key);
            }
        }
        bytes = 0;
        for (day, pending) in &mut days {
            pending.write(snapshot, *day, is_end, &mut change).await?;
        }
        if is_end {
            return Ok((added, change));
        }
    }
}

impl PendingFile {
    /// Encodes the collected rows, and completes the file if it is full or the last one.
    async fn write(&mut self, snapshot: &Snapshot, day: Date, is_end: bool, change: &mut Change) -> Result<()> {
        if self.columns.bytes() >= BATCH || (is_end && self.columns.bytes() > 0) {
            let writer = match &mut self.writer {
                Some(writer) => writer,
                none => none.insert(snapshot.writer(day)?),
            };
            writer.write(&self.columns.take()).await?;
        }
        if let Some(writer) = self.writer.take_if(|writer| is_end || writer.bytes() >= FILE) {
            change.added.push(writer.finish().await?);
        }
        Ok(())
    }
}
