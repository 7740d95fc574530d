//! The Delta table: its files at one version, and commits.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use arrow_array::{Array, RecordBatch, cast::AsArray, types::Int64Type};
use delta_kernel::{
    Engine, EngineData, FilteredEngineData, KernelError, SnapshotRef, Version,
    committer::FileSystemCommitter,
    engine::{arrow_conversion::TryFromArrow, arrow_data::ArrowEngineData},
    expressions::Scalar,
    schema::{DataType, StructField, StructType},
    transaction::{CommitResult, UpdateTableOperation, create_table::create_table, data_layout::DataLayout},
};
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder, executor::tokio::TokioMultiThreadExecutor};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{Timestamp, civil::Date};
use object_store::{ObjectStoreExt, path::Path};
use serde::Deserialize;
use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{
    Error, Location, Result,
    columns::{DAY, Entry, WITH_STATISTICS, schema},
    data_file::{self, Writer},
};

/// The name of this program in the log of the table.
const ENGINE: &str = concat!("attest-lake/", env!("CARGO_PKG_VERSION"));

/// A checkpoint is written after this many commits. Loading the table reads the newest checkpoint and the commits after it.
const CHECKPOINT_INTERVAL: u64 = 20;

/// The number of files whose keys are read at once.
const CONCURRENT_FILES: usize = 8;

/// The number of commits in a row that may lose their race.
pub(crate) const MAX_LOST_RACES: u32 = 20;

/// The table of a lake.
#[derive(Clone)]
pub struct Table {
    location: Location,
    engine: Arc<DefaultEngine<TokioMultiThreadExecutor>>,
}

/// A data file of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// The path, relative to the table and URL-encoded.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    /// The partition.
    pub day: Date,
    /// The number of rows, and the ranges of their keys and times.
    statistics: Statistics,
    /// The batch of the log's replay, and the row in it.
    place: (usize, usize),
}

/// The statistics of a file in the log (Delta Transaction Log Protocol, "Per-file Statistics").
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Statistics {
    num_records: u64,
    min_values: Values,
    max_values: Values,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Values {
    key: Option<String>,
    stored: Option<Timestamp>,
}

impl DataFile {
    /// Returns the number of rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.statistics.num_records
    }

    /// Returns the time of its newest row, if the log states it.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.statistics.max_values.stored
    }

    /// Returns whether the statistics permit that the file contains this row.
    fn may_contain(&self, entry: &Entry) -> bool {
        let Statistics { min_values, max_values, .. } = &self.statistics;
        self.may_contain_key(&entry.key)
            && min_values.stored.is_none_or(|min| min <= entry.stored)
            && max_values.stored.is_none_or(|max| entry.stored <= max)
    }

    /// Returns whether the statistics permit that the file contains this key.
    pub(crate) fn may_contain_key(&self, key: &str) -> bool {
        let Statistics { min_values, max_values, .. } = &self.statistics;
        min_values.key.as_deref().is_none_or(|min| min <= key) && max_values.key.as_deref().is_none_or(|max| key <= max)
    }
}

/// The table at one version.
#[derive(Clone)]
pub struct Snapshot {
    table: Table,
    kernel: SnapshotRef,
    files: Vec<DataFile>,
    batches: Vec<RecordBatch>,
}

/// A commit that is being prepared: the files that it removes and adds.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) removed: Vec<DataFile>,
    pub(crate) added: Vec<RecordBatch>,
    /// Whether the rows differ afterwards, or only their files.
    pub(crate) changes_rows: bool,
}

impl Table {
    /// Opens the table of a lake, which is created if it does not exist. Must run on a multi-threaded runtime.
    pub async fn open(location: &Location) -> Result<Self> {
        let executor = Arc::new(TokioMultiThreadExecutor::new(Handle::current()));
        let engine = DefaultEngineBuilder::new(Arc::clone(&location.store)).with_task_executor(executor).build();
        let table = Self { location: location.clone(), engine: Arc::new(engine) };
        let opened = table.clone();
        spawn_blocking(move || opened.create_if_absent()).await??;
        Ok(table)
    }

    /// Returns the place of the table.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    fn load_kernel(&self) -> Result<SnapshotRef, KernelError> {
        delta_kernel::Snapshot::builder_for(self.location.url.as_str()).build(self.engine.as_ref())
    }

    fn create_if_absent(&self) -> Result<()> {
        match self.load_kernel() {
            Ok(snapshot) if snapshot.schema() == Arc::new(table_schema()?) => return Ok(()),
            Ok(_) => return Err(Error::OtherTable(self.location.to_string())),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let created = create_table(self.location.url.as_str(), Arc::new(table_schema()?), ENGINE, false)
            .with_data_layout(DataLayout::partitioned([DAY]))
            .with_table_properties([("delta.dataSkippingStatsColumns", WITH_STATISTICS.join(","))])
            .build(self.engine.as_ref(), Box::new(FileSystemCommitter::new()))
            .and_then(|transaction| transaction.commit(self.engine.as_ref()));
        match created {
            Ok(_) => Ok(()),
            // Another writer may have created it meanwhile.
            Err(error) => self.load_kernel().map(|_| ()).map_err(|_| error.into()),
        }
    }

    /// Loads the newest version of the table.
    pub async fn load(&self) -> Result<Snapshot> {
        let table = self.clone();
        spawn_blocking(move || table.snapshot(table.load_kernel()?)).await?
    }

    /// Loads a version of the table.
    pub(crate) async fn load_version(&self, version: Version) -> Result<Snapshot> {
        let table = self.clone();
        spawn_blocking(move || {
            let builder = delta_kernel::Snapshot::builder_for(table.location.url.as_str()).at_version(version);
            table.snapshot(builder.build(table.engine.as_ref())?)
        })
        .await?
    }

    /// Loads the version that was the newest one at a time. `None` if the log does not reach back that far.
    pub(crate) async fn load_as_of(&self, time: Timestamp) -> Result<Option<Snapshot>> {
        use delta_kernel::history_manager::{HistoryCommitType, latest_version_as_of};
        let table = self.clone();
        spawn_blocking(move || {
            let (newest, engine) = (table.load_kernel()?, table.engine.as_ref());
            let millis = time.as_millisecond();
            let Ok(commit) = latest_version_as_of(&newest, engine, millis, HistoryCommitType::Recreatable) else {
                return Ok(None);
            };
            let url = table.location.url.as_str();
            let kernel = delta_kernel::Snapshot::builder_for(url).at_version(commit.version).build(engine)?;
            table.snapshot(kernel).map(Some)
        })
        .await?
    }

    fn snapshot(&self, kernel: SnapshotRef) -> Result<Snapshot> {
        let scan = Arc::clone(&kernel).scan_builder().without_row_transforms().build()?;
        let (mut files, mut batches) = (Vec::new(), Vec::new());
        for metadata in scan.scan_metadata(self.engine.as_ref())? {
            let (data, selected) = metadata?.scan_files.into_parts();
            let batch: RecordBatch = (*ArrowEngineData::try_from_engine_data(data)?).into();
            let place = batches.len();
            let read =
                files_of(&batch, &selected, place).ok_or_else(|| Error::OtherTable(self.location.to_string()))?;
            files.extend(read);
            batches.push(batch);
        }
        Ok(Snapshot { table: self.clone(), kernel, files, batches })
    }
}

/// Returns whether the kernel found no log at all.
fn is_absent(error: &KernelError) -> bool {
    let error = error.without_backtrace();
    matches!(error, KernelError::EmptyLog | KernelError::FileNotFound(_) | KernelError::MissingVersion(_))
}

/// The columns of the data files, and the partition column.
fn table_schema() -> Result<StructType> {
    let columns = StructType::try_from_arrow(&schema()).map_err(KernelError::from)?;
    let day = StructField::nullable(DAY, DataType::DATE);
    Ok(StructType::try_new(columns.into_fields().chain([day]))?)
}

/// Reads the rows of a scan (`delta_kernel::scan::scan_row_schema`).
fn files_of(batch: &RecordBatch, selected: &[bool], place: usize) -> Option<Vec<DataFile>> {
    let paths = batch.column_by_name("path")?.as_string_opt::<i32>()?;
    let sizes = batch.column_by_name("size")?.as_primitive_opt::<Int64Type>()?;
    let statistics = batch.column_by_name("stats")?.as_string_opt::<i32>()?;
    let constants = batch.column_by_name("fileConstantValues")?.as_struct_opt()?;
    let partitions = constants.column_by_name("partitionValues")?.as_map_opt()?;
    let rows = (0..batch.num_rows()).filter(|row| selected.get(*row).copied().unwrap_or(true));
    rows.map(|row| {
        let values = partitions.value(row);
        let day = values.column(1).as_string_opt::<i32>()?;
        let statistics = (!statistics.is_null(row)).then(|| serde_json::from_str(statistics.value(row)).ok()).flatten();
        Some(DataFile {
            path: paths.value(row).to_owned(),
            size: u64::try_from(sizes.value(row)).ok()?,
            day: (!day.is_empty()).then(|| day.value(0).parse().ok()).flatten()?,
            statistics: statistics.unwrap_or_default(),
            place: (place, row),
        })
    })
    .collect()
}

impl Snapshot {
    /// Returns the version of the table.
    #[must_use]
    pub fn version(&self) -> Version {
        self.kernel.version()
    }

    /// Returns the table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Returns the data files of this version.
    #[must_use]
    pub fn files(&self) -> &[DataFile] {
        &self.files
    }

    /// Returns the path of a file in the storage.
    pub(crate) fn path(&self, file: &DataFile) -> Result<Path> {
        self.path_of(&file.path)
    }

    /// Reads the keys of files, with their times.
    pub async fn keys(&self, files: Vec<DataFile>) -> Result<HashSet<Entry>> {
        let keys = stream::iter(files).map(|file| async move {
            data_file::read_keys(&self.table.location.store, &self.path(&file)?, file.size).await
        });
        let keys: Vec<Vec<Entry>> = keys.buffer_unordered(CONCURRENT_FILES).try_collect().await?;
        Ok(keys.into_iter().flatten().collect())
    }

    /// Returns the entries that the table does not contain yet, without repetitions.
    pub async fn missing(&self, entries: impl IntoIterator<Item = Entry>) -> Result<Vec<Entry>> {
        let mut days: HashMap<Date, HashSet<Entry>> = HashMap::new();
        for entry in entries {
            days.entry(entry.day()).or_default().insert(entry);
        }
        let mut candidates = Vec::new();
        for file in &self.files {
            if days.get(&file.day).is_some_and(|entries| entries.iter().any(|entry| file.may_contain(entry))) {
                candidates.push(file.clone());
            }
        }
        let known = self.keys(candidates).await?;
        let mut missing: Vec<Entry> = days.into_values().flatten().filter(|entry| !known.contains(entry)).collect();
        missing.sort();
        Ok(missing)
    }

    /// Returns the rows that have one of these keys.
    pub async fn rows_of(&self, keys: &BTreeSet<String>) -> Result<Vec<Entry>> {
        let may_contain = |file: &&DataFile| keys.iter().any(|key| file.may_contain_key(key));
        let candidates = self.files.iter().filter(may_contain).cloned().collect();
        let rows = self.keys(candidates).await?;
        Ok(rows.into_iter().filter(|entry| keys.contains(&entry.key)).collect())
    }

    /// Begins a data file of a day.
    pub(crate) fn writer(&self, day: Date) -> Result<Writer> {
        let transaction = self.transaction(true)?;
        let days = day.since(Date::constant(1970, 1, 1)).map_or(0, |span| span.get_days());
        let context = transaction.write_state()?.write_context_builder();
        let context = context.with_partition_values(HashMap::from([(DAY.to_owned(), Scalar::Date(days))])).build()?;
        Writer::new(&self.table.location.store, context)
    }

    fn transaction(&self, changes_rows: bool) -> Result<delta_kernel::transaction::Transaction, KernelError> {
        let operation = if changes_rows { UpdateTableOperation::Write } else { UpdateTableOperation::Optimize };
        Arc::clone(&self.kernel)
            .update_table(operation, ENGINE, changes_rows)
            .build(self.table.engine.as_ref(), Box::new(FileSystemCommitter::new()))
    }

    /// Commits a change on top of this version. Returns `false` if another writer committed first.
    pub(crate) async fn commit(&self, change: Change) -> Result<bool> {
        let snapshot = self.clone();
        spawn_blocking(move || snapshot.commit_now(change)).await?
    }

    /// Commits an addition. If another writer committed first, deletes its files and returns `false`.
    pub(crate) async fn commit_or_discard(&self, change: Change) -> Result<bool> {
        let added = change.added.clone();
        let is_committed = self.commit(change).await?;
        if !is_committed {
            self.discard(&added).await;
        }
        Ok(is_committed)
    }

    /// Deletes files that were not committed. Those that cannot be deleted are left to [`crate::maintain::vacuum`].
    pub(crate) async fn discard(&self, added: &[RecordBatch]) {
        for file in added {
            let path =
                file.column_by_name("path").and_then(|paths| Some(paths.as_string_opt::<i32>()?.value(0).to_owned()));
            for path in self.paths(path.as_slice()).into_iter().flatten() {
                let _ = self.table.location.store.delete(&path).await;
            }
        }
    }

    /// Returns the paths of files in the storage, from those in the log.
    pub(crate) fn paths(&self, files: &[String]) -> Result<HashSet<Path>> {
        files.iter().map(|file| self.path_of(file)).collect()
    }

    fn path_of(&self, file: &str) -> Result<Path> {
        let url = self.table.location.url.join(file).map_err(KernelError::from)?;
        Ok(Path::from_url_path(url.path()).map_err(object_store::Error::from)?)
    }

    fn commit_now(&self, change: Change) -> Result<bool> {
        let engine: &dyn Engine = self.table.engine.as_ref();
        let mut transaction = self.transaction(change.changes_rows)?;
        for added in change.added {
            transaction.add_files(Box::new(ArrowEngineData::new(added)));
        }
        let mut removed: HashMap<usize, Vec<usize>> = HashMap::new();
        for DataFile { place: (batch, row), .. } in change.removed {
            removed.entry(batch).or_default().push(row);
        }
        for (batch, rows) in removed {
            let batch = &self.batches[batch];
            let mut selected = vec![false; batch.num_rows()];
            rows.into_iter().for_each(|row| selected[row] = true);
            let data: Box<dyn EngineData> = Box::new(ArrowEngineData::new(batch.clone()));
            transaction.remove_files(FilteredEngineData::try_new(data, selected)?);
        }
        match transaction.commit(engine)? {
            CommitResult::Committed(committed) => {
                if committed.post_commit_stats().commits_since_checkpoint >= CHECKPOINT_INTERVAL {
                    // The commit holds without it, and the next commit writes one.
                    if let Err(error) = self.table.load_kernel().and_then(|newest| newest.checkpoint(engine, None)) {
                        tracing::warn!(error = &error as &dyn std::error::Error, "no checkpoint was written");
                    }
                }
                Ok(true)
            }
            CommitResult::Conflicted(_) => Ok(false),
            CommitResult::Retryable(failed) => Err(failed.error.into()),
        }
    }
}
