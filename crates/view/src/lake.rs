//! Searches a lake, which contains the whole text of every trace, and counts its traces.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicUsize},
};

use anyhow::Result;
use attest_lake::{DataFile, scan::Rows};
use attest_storage::{LakeIndex, ListingEntry};
use futures_util::{StreamExt, stream};
use jiff::civil::Date;
use tokio::sync::mpsc::channel;

use super::{
    scan::{BATCHES, Batch, BatchBuilder, Scan},
    selection::Selection,
    workers::Workers,
};

/// Starts a search after the position `from`. Searches the newest day first.
pub async fn scan(
    lake: &LakeIndex,
    workers: &Workers,
    selection: &Arc<Selection>,
    from: &str,
    limit: Arc<AtomicUsize>,
) -> Result<Scan> {
    let mut scan = lake.scan(from).await?;
    let is_counted = from.is_empty() && !selection.traces.is_restricted();
    let days = scan.files().iter().filter(|file| selection.times.overlaps(file.day));
    let total = is_counted.then(|| usize::try_from(days.map(DataFile::rows).sum::<u64>()).unwrap_or(usize::MAX));
    let version = scan.version();
    // Decode the next rows while the workers search the previous ones.
    let (decoded, mut waiting) = channel(1);
    let times = selection.times;
    tokio::spawn(async move {
        while let Some(rows) = scan.next(|day| times.overlaps(day)).await.transpose() {
            let is_over = rows.is_err();
            if decoded.send(rows).await.is_err() || is_over {
                return; // nobody waits for more
            }
        }
    });
    let (workers, selection, hits) = (workers.clone(), Arc::clone(selection), Arc::clone(&limit));
    let batches = stream::poll_fn(move |context| waiting.poll_recv(context)).map(move |rows| {
        let (workers, batch) = (workers.clone(), BatchBuilder::new(&selection, &hits));
        async move {
            let rows = rows?;
            workers.run(move || search(&rows, batch)).await
        }
    });
    Ok(Scan::new(total, Some(version), batches.buffered(BATCHES).boxed(), limit))
}

fn search(rows: &Rows, mut batch: BatchBuilder) -> Batch {
    let selection = Arc::clone(&batch.selection);
    for (place, (entry, json)) in rows.traces.iter().enumerate() {
        if !selection.traces.contains(&entry.key) {
            continue;
        }
        batch.batch.looked_at += 1;
        let entry = listed(entry, json);
        if selection.decide(&entry) != Some(false) {
            batch.add_trace(entry, json.as_bytes(), || rows.position.after(place + 1).to_string());
        }
    }
    batch.batch.cursor = rows.position.after(rows.traces.len()).to_string();
    batch.batch
}

/// Counts the traces of every storage day according to the lake's log.
pub async fn days(lake: &LakeIndex) -> Result<BTreeMap<Date, u64>> {
    let mut days = BTreeMap::new();
    for file in lake.scan("").await?.files() {
        *days.entry(file.day).or_default() += file.rows();
    }
    Ok(days)
}

fn listed(entry: &attest_lake::Entry, json: &str) -> ListingEntry {
    ListingEntry { key: entry.key.clone(), stored: entry.stored, size: json.len() as u64 }
}
