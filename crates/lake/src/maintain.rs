//! Maintains the files of the table: removes rows, merges small files, deletes unreferenced files.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::{Duration, SystemTime},
};

use arrow_array::{BooleanArray, RecordBatch};
use attest::unreadable::Unreadable;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{Timestamp, civil::Date};
use object_store::path::Path;

use crate::{
    DataFile, Entry, Error, Result, Skipped, Snapshot, Table,
    files::{Ownership, delete_current, delete_staged, referenced, stored},
    objects::Objects,
    parquet_file::{ParquetWriter, entries_of},
    race::win,
    table::Change,
};

/// The size at which a data file is full, in bytes.
pub const FILE: usize = 128 << 20;

/// Files smaller than this, in bytes, are merged with others from the same day.
const SMALL: u64 = (FILE / 2) as u64;

/// The number of files or objects that are requested concurrently.
const CONCURRENT: usize = 16;

/// The longest time between writing a file and committing it. A Lambda function runs for at most 15 minutes.
const UNCOMMITTED: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maintained {
    pub removed: Vec<Entry>,
    pub replaced: Vec<String>,
    pub version: u64,
}

/// The keys of removed objects. If an object was stored again, its key has the new entry.
pub type Gone = HashMap<String, Option<Entry>>;

/// Looks up the entries that are now stored under these keys, if any.
pub async fn gone(objects: &dyn Objects, keys: impl IntoIterator<Item = String>) -> Result<Gone> {
    let keys: BTreeSet<String> = keys.into_iter().collect();
    let stored = stream::iter(keys).map(|key| async move {
        let stored = objects.stored(&key).await?;
        Ok::<_, Error>((key, stored))
    });
    stored.buffer_unordered(CONCURRENT).try_collect().await
}

/// Looks up keys like [`gone`], but leaves out those whose object cannot be read. Fails if access to all of them is
/// denied.
pub async fn gone_or_skipped(objects: &dyn Objects, keys: Vec<String>) -> Result<(Gone, Skipped)> {
    let keys: BTreeSet<String> = keys.into_iter().collect();
    let lookups = stream::iter(keys).map(|key| async move { objects.stored(&key).await.map(|stored| (key, stored)) });
    let mut lookups = std::pin::pin!(lookups.buffer_unordered(CONCURRENT));
    let (mut gone, mut skipped) = (Gone::new(), Skipped::default());
    while let Some(lookup) = lookups.next().await {
        gone.extend(skipped.take(lookup)?);
    }
    match skipped.count(Unreadable::Denied) {
        denied if denied > 0 && gone.is_empty() => Err(Error::NoAccess(denied)),
        _ => Ok((gone, skipped)),
    }
}

/// Removes rows like [`remove`], and merges small files in the same commit.
pub async fn maintain(table: &Table, gone: &Gone) -> Result<Maintained> {
    change(table, gone, true).await
}

/// Removes the rows of `gone`, and rewrites only the files that contain them.
///
/// If `gone` has keys, there is always a commit, even if no row is removed. A writer that read one of these objects
/// before it was deleted, and has not committed yet, then loses its race and finds the object absent.
pub async fn remove(table: &Table, gone: &Gone) -> Result<Maintained> {
    change(table, gone, false).await
}

async fn change(table: &Table, gone: &Gone, merges: bool) -> Result<Maintained> {
    let mut work = Work::default();
    let (maintained, _) = win(table, async |snapshot| {
        let present: HashMap<&str, &DataFile> = snapshot.files().iter().map(|file| (&*file.path, file)).collect();
        // Files that other commits have added do no harm. But if a rewritten file was replaced meanwhile, this commit
        // would restore its rows.
        if !work.replaced.iter().all(|path| present.contains_key(path.as_str())) {
            snapshot.discard(&work.added).await;
            work = Work::default();
        }
        if let Err(error) = work.extend(&snapshot, gone, merges).await {
            snapshot.discard(&work.added).await;
            work = Work::default();
            return Err(error);
        }
        if work.replaced.is_empty() && gone.is_empty() {
            return Ok(Some(Maintained { version: snapshot.version(), ..Maintained::default() }));
        }
        let change = Change {
            removed: work.replaced.iter().filter_map(|path| present.get(path.as_str()).copied().cloned()).collect(),
            added: work.added.clone(),
            changes_rows: !work.removed.is_empty(),
        };
        if !snapshot.commit(change).await? {
            return Ok(None);
        }
        let Work { replaced, removed, .. } = std::mem::take(&mut work);
        let replaced = replaced.into_iter().collect();
        Ok(Some(Maintained { removed, replaced, version: snapshot.version() + 1 }))
    })
    .await?;
    Ok(maintained)
}

/// Rewritten files that are not committed yet.
#[derive(Default)]
struct Work {
    examined: HashSet<String>,
    replaced: BTreeSet<String>,
    added: Vec<RecordBatch>,
    removed: Vec<Entry>,
}

impl Work {
    /// Rewrites the files that this work has not seen yet.
    async fn extend(&mut self, snapshot: &Snapshot, gone: &Gone, merges: bool) -> Result<()> {
        let merges = merges && self.examined.is_empty();
        let new: Vec<&DataFile> = snapshot.files().iter().filter(|file| !self.examined.contains(&file.path)).collect();
        let mut days: BTreeMap<Date, Vec<&DataFile>> = BTreeMap::new();
        let affected = affected(snapshot, &new, gone).await?;
        for file in new.iter().copied() {
            // Small files that other commits have added meanwhile are left to the next run.
            if affected.contains(&*file.path) || (merges && file.size < SMALL) {
                days.entry(file.day).or_default().push(file);
            }
        }
        for (day, files) in days {
            if files.len() > 1 || affected.contains(&*files[0].path) {
                self.rewrite(snapshot, day, &files, gone).await?;
            }
        }
        self.examined.extend(new.into_iter().map(|file| file.path.clone()));
        Ok(())
    }

    /// Rewrites a day's files into new ones, without the rows whose objects are gone.
    async fn rewrite(&mut self, snapshot: &Snapshot, day: Date, files: &[&DataFile], gone: &Gone) -> Result<()> {
        let mut writer: Option<ParquetWriter> = None;
        for file in files {
            let mut batches = snapshot.open(file)?.rows().await?;
            while let Some(rows) = batches.next().await {
                let rows = self.without(&rows?, gone, &file.path)?;
                if rows.num_rows() > 0 {
                    let output = match &mut writer {
                        Some(output) => output,
                        none => none.insert(snapshot.writer(day)?),
                    };
                    output.write(&rows).await?;
                }
                if let Some(full) = writer.take_if(|output| output.bytes() >= FILE) {
                    self.added.push(full.finish().await?);
                }
            }
            self.replaced.insert(file.path.clone());
        }
        if let Some(last) = writer {
            self.added.push(last.finish().await?);
        }
        Ok(())
    }

    fn without(&mut self, rows: &RecordBatch, gone: &Gone, path: &str) -> Result<RecordBatch> {
        let entries = entries_of(rows).ok_or_else(|| Error::NoValue(path.to_owned()))?;
        let mut stays = Vec::with_capacity(rows.num_rows());
        for entry in entries {
            let is_gone = is_gone(gone, &entry);
            stays.push(!is_gone);
            self.removed.extend(is_gone.then_some(entry));
        }
        let failed = |error| Error::Parquet(path.to_owned(), parquet::errors::ParquetError::from(error));
        arrow_select::filter::filter_record_batch(rows, &BooleanArray::from(stays)).map_err(failed)
    }
}

/// Returns whether the row's object was deleted or replaced.
fn is_gone(gone: &Gone, row: &Entry) -> bool {
    gone.get(&row.key).is_some_and(|stored| !stored.as_ref().is_some_and(|stored| stored.is_same(row)))
}

/// Returns the paths of the files that contain rows to remove.
async fn affected(snapshot: &Snapshot, files: &[&DataFile], gone: &Gone) -> Result<HashSet<String>> {
    let candidates = files.iter().map(|file| async move {
        let keys: Vec<&str> = gone.keys().map(String::as_str).filter(|key| file.may_contain_key(key)).collect();
        if keys.is_empty() || !snapshot.open(file)?.may_contain(&keys).await? {
            return Ok::<_, Error>(None);
        }
        let rows = snapshot.keys(vec![(*file).clone()]).await?;
        Ok(rows.iter().any(|row| is_gone(gone, row)).then(|| file.path.clone()))
    });
    let affected = stream::iter(candidates).buffer_unordered(CONCURRENT);
    affected.try_filter_map(|path| async move { Ok(path) }).try_collect().await
}

/// Deletes the lake's files to which no version within the last `retention` refers. Returns their number.
///
/// With a retention of 0, the `replaced` files are deleted at once. A query that is still running may then fail and
/// must be repeated. Files that never belonged to a version are deleted after an hour, because their commit may still
/// follow.
pub async fn vacuum(table: &Table, retention: Duration, replaced: &[String]) -> Result<u64> {
    let (now, clock) = (Timestamp::now(), SystemTime::now());
    let newest = table.load().await?;
    let mut kept: HashSet<Path> = referenced(&newest)?;
    if !retention.is_zero() {
        kept.extend(referenced(&table.load_as_of(now - retention).await?)?);
    }
    let replaced: HashSet<Path> = if retention.is_zero() { newest.paths(replaced)? } else { HashSet::new() };
    let before = clock - retention.max(UNCOMMITTED);
    let mut deleted = delete_staged(table.location(), clock - UNCOMMITTED).await?;
    let mut owned = Ownership::default();
    for file in stored(table.location()).await?.files {
        let is_due = file.modified < before || replaced.contains(&file.path);
        if !kept.contains(&file.path) && is_due && owned.contains(&newest, &file.path).await? {
            delete_current(table.location(), &file.path).await?;
            deleted += 1;
        }
    }
    Ok(deleted)
}
