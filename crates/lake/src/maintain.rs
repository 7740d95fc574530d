//! Keeps the files of the table in order: removes rows, merges small files, deletes files that nothing refers to.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::{Duration, SystemTime},
};

use arrow_array::{BooleanArray, RecordBatch};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{Timestamp, civil::Date};
use object_store::{ObjectStoreExt, path::Path};
use parquet::arrow::async_reader::ParquetRecordBatchStream;

use crate::{
    DataFile, Error, Result, Snapshot, Table,
    columns::Entry,
    data_file::{Object, Writer, entry, keys_of, may_contain, read_keys, read_rows},
    objects::Objects,
    table::{Change, MAX_LOST_RACES},
};

/// The size at which a data file is full, in bytes.
pub const FILE: usize = 128 << 20;

/// A file below this size is merged with others of its day.
const SMALL: u64 = (FILE / 2) as u64;

/// The number of files or objects that are asked for at once.
const CONCURRENT: usize = 16;

/// The longest time between writing a file and the commit that refers to it. A function of Lambda ends after 15 minutes.
const UNCOMMITTED: Duration = Duration::from_hours(1);

/// The outcome of maintenance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maintained {
    /// The rows that were removed.
    pub removed: Vec<Entry>,
    /// The paths of the files that were replaced, relative to the table.
    pub replaced: Vec<String>,
    /// The version of the table afterwards.
    pub version: u64,
}

/// The keys of removed objects. A key whose object was stored again has the new object's time.
pub type Gone = HashMap<String, Option<Entry>>;

/// Looks up which of these keys have no object, or another one.
pub async fn gone(objects: &dyn Objects, keys: impl IntoIterator<Item = String>) -> Result<Gone> {
    let keys: BTreeSet<String> = keys.into_iter().collect();
    let stored = stream::iter(keys).map(|key| async move {
        let stored = objects.stored(&key).await?;
        Ok::<_, Error>((key, stored))
    });
    stored.buffer_unordered(CONCURRENT).try_collect().await
}

/// Removes the rows of `gone` and merges small files, in one commit, as [`remove`] does.
pub async fn maintain(table: &Table, gone: &Gone) -> Result<Maintained> {
    change(table, gone, true).await
}

/// Removes the rows of `gone`, and rewrites only the files that contain them.
///
/// With keys in `gone` there is always a commit, even if no row is removed. A writer that read one of these objects before it
/// was deleted, and has not committed yet, then loses its race and finds the object absent.
pub async fn remove(table: &Table, gone: &Gone) -> Result<Maintained> {
    change(table, gone, false).await
}

async fn change(table: &Table, gone: &Gone, merges: bool) -> Result<Maintained> {
    let mut work = Work::default();
    for _ in 0..MAX_LOST_RACES {
        let snapshot = table.load().await?;
        let present: HashMap<&str, &DataFile> = snapshot.files().iter().map(|file| (&*file.path, file)).collect();
        // Files that other commits added do no harm, but a file that was replaced meanwhile would come back.
        if !work.replaced.iter().all(|path| present.contains_key(path.as_str())) {
            snapshot.discard(&work.added).await;
            work = Work::default();
        }
        match work.extend(&snapshot, gone, merges).await {
            Err(error) if error.is_deleted_file() => {
                snapshot.discard(&work.added).await;
                work = Work::default();
                continue;
            }
            extended => extended?,
        }
        if work.replaced.is_empty() && gone.is_empty() {
            return Ok(Maintained { version: snapshot.version(), ..Maintained::default() });
        }
        let change = Change {
            removed: work.replaced.iter().filter_map(|path| present.get(path.as_str()).copied().cloned()).collect(),
            added: work.added.clone(),
            changes_rows: !work.removed.is_empty(),
        };
        if snapshot.commit(change).await? {
            let Work { replaced, removed, .. } = work;
            return Ok(Maintained {
                removed,
                replaced: replaced.into_iter().collect(),
                version: snapshot.version() + 1,
            });
        }
    }
    Err(Error::Contention(MAX_LOST_RACES))
}

/// The files that were rewritten, but not committed.
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
            // A file that another commit added meanwhile is merged by the next run.
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

    /// Writes the rows of a day's files into new files, without those that are gone.
    async fn rewrite(&mut self, snapshot: &Snapshot, day: Date, files: &[&DataFile], gone: &Gone) -> Result<()> {
        let store = &snapshot.table().location().store;
        let mut writer: Option<Writer> = None;
        for file in files {
            let path = snapshot.path(file)?;
            let failed = |error| Error::Parquet(path.to_string(), error);
            let mut batches: ParquetRecordBatchStream<Object> = read_rows(store, &path, file.size).await?;
            while let Some(rows) = batches.next().await {
                let rows = self.without(&rows.map_err(failed)?, gone, &path)?;
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

    fn without(&mut self, rows: &RecordBatch, gone: &Gone, path: &Path) -> Result<RecordBatch> {
        let (keys, times) = keys_of(rows).ok_or_else(|| Error::OtherTable(path.to_string()))?;
        let mut stays = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            let is_gone = gone.get(keys.value(row)).and_then(|stored| {
                let entry = entry(keys, times, row);
                (stored.as_ref() != Some(&entry)).then_some(entry)
            });
            stays.push(is_gone.is_none());
            self.removed.extend(is_gone);
        }
        let failed = |error| Error::Parquet(path.to_string(), parquet::errors::ParquetError::from(error));
        arrow_select::filter::filter_record_batch(rows, &BooleanArray::from(stays)).map_err(failed)
    }
}

/// Returns the paths of the files that contain a row that is gone.
async fn affected(snapshot: &Snapshot, files: &[&DataFile], gone: &Gone) -> Result<HashSet<String>> {
    let store = &snapshot.table().location().store;
    let candidates = files.iter().map(|file| async move {
        let keys: Vec<&str> = gone.keys().map(String::as_str).filter(|key| file.may_contain_key(key)).collect();
        if keys.is_empty() || !may_contain(store, &snapshot.path(file)?, file.size, &keys).await? {
            return Ok::<_, Error>(None);
        }
        let is_gone = |entry: &Entry| gone.get(&entry.key).is_some_and(|stored| stored.as_ref() != Some(entry));
        let rows = snapshot.keys(vec![(*file).clone()]).await?;
        Ok(rows.iter().any(is_gone).then(|| file.path.clone()))
    });
    let affected = stream::iter(candidates).buffer_unordered(CONCURRENT);
    affected.try_filter_map(|path| async move { Ok(path) }).try_collect().await
}

/// Deletes files that no version of the last `retention` refers to, and returns how many.
///
/// With a retention of 0, the files of `replaced` are deleted at once. A query that began before may then fail and has to be
/// repeated. Files that never belonged to a version are deleted after an hour, because their commit may still come.
pub async fn vacuum(table: &Table, retention: Duration, replaced: &[String]) -> Result<u64> {
    let now = Timestamp::now();
    let newest = table.load().await?;
    let mut kept: HashSet<Path> = HashSet::new();
    let mut versions = vec![newest.clone()];
    if !retention.is_zero() {
        versions.extend(table.load_as_of(now - retention).await?);
    }
    for version in &versions {
        for file in version.files() {
            kept.insert(version.path(file)?);
        }
    }
    let replaced: HashSet<Path> = if retention.is_zero() { newest.paths(replaced)? } else { HashSet::new() };
    let before = now - retention.max(UNCOMMITTED);
    let mut deleted = table.location().delete_staged(SystemTime::now() - UNCOMMITTED).await?;
    for file in table.location().data_files().await? {
        let is_old = file.last_modified.timestamp_millis() < before.as_millisecond();
        if !kept.contains(&file.location) && (is_old || replaced.contains(&file.location)) {
            delete(table, &file.location).await?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// Deletes the files without a reference that contain one of these keys, whatever their age, and returns how many.
///
/// The rows of the keys have to be removed first: a commit that is being prepared with one of these files then loses its race.
pub async fn purge(table: &Table, keys: &BTreeSet<String>) -> Result<u64> {
    let newest = table.load().await?;
    let kept: HashSet<Path> = newest.files().iter().map(|file| newest.path(file)).collect::<Result<_>>()?;
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let store = &table.location().store;
    // A file that is being written cannot be read, so its text cannot be excluded. Its writer fails, and must run again.
    let mut deleted = table.location().delete_staged(SystemTime::now()).await?;
    for file in table.location().data_files().await?.into_iter().filter(|file| !kept.contains(&file.location)) {
        let contains = async {
            Ok::<_, Error>(
                may_contain(store, &file.location, file.size, &names).await?
                    && read_keys(store, &file.location, file.size).await?.iter().any(|entry| keys.contains(&entry.key)),
            )
        };
        // A file that cannot be read is incomplete. Its text cannot be excluded.
        if contains.await.unwrap_or(true) {
            delete(table, &file.location).await?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

async fn delete(table: &Table, path: &Path) -> Result<()> {
    match table.location().store.delete(path).await {
        // Another run may have deleted it.
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
