//! The Delta table: its files at a version, and commits.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use arrow_array::{RecordBatch, cast::AsArray};
use delta_kernel::{
    Engine, EngineData, FilteredEngineData, KernelError, SnapshotRef, Version,
    committer::FileSystemCommitter,
    engine::arrow_data::ArrowEngineData,
    expressions::Scalar,
    history_manager::{HistoryCommitType, error::LogHistoryError, first_version_after, latest_version_as_of},
    schema::StructField,
    transaction::{CommitResult, UpdateTableOperation, create_table::create_table, data_layout::DataLayout},
};
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder, executor::tokio::TokioMultiThreadExecutor};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{Timestamp, civil::Date};
use object_store::{ObjectStoreExt, path::Path};
use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{
    Entry, Error, LakeLocation, Result,
    columns::{ADDED, DAY, WITH_STATISTICS},
    data_file::{DataFile, files_of},
    entry::Entries,
    files::{LakeFile, stored},
    parquet_file::{ParquetFile, ParquetWriter},
    race::win,
    table_schema::{difference, table_schema},
};

/// The name of this program in the table's log.
const ENGINE: &str = concat!("attest-lake/", env!("CARGO_PKG_VERSION"));

/// A checkpoint is written after this many commits. Loading the table reads the newest checkpoint and the commits after
/// it.
const CHECKPOINT_INTERVAL: u64 = 20;

const CONCURRENT_FILES: usize = 8;

#[derive(Clone)]
pub struct Table {
    location: LakeLocation,
    engine: Arc<DefaultEngine<TokioMultiThreadExecutor>>,
}

#[derive(Clone)]
pub struct Snapshot {
    table: Table,
    kernel: SnapshotRef,
    files: Vec<DataFile>,
    batches: Vec<RecordBatch>,
}

/// The files that a commit removes and adds.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) removed: Vec<DataFile>,
    pub(crate) added: Vec<RecordBatch>,
    /// Whether the commit changes rows, and not only the files that contain them.
    pub(crate) changes_rows: bool,
}

impl Table {
    /// Opens the table of a lake, and creates it if it does not exist. Must run on a multi-threaded runtime.
    pub async fn open(location: &LakeLocation) -> Result<Self> {
        match Self::open_existing(location).await {
            Err(Error::NoTable(_)) => {}
            Err(error) => return Err(error),
            Ok(table) => {
                table.upgrade().await?;
                return Ok(table);
            }
        }
        let location = &location.created()?;
        let table = Self::new(location);
        // The files must be listed before the table is looked up again, because another writer may create it in
        // between.
        let has_files = !stored(location).await?.files.is_empty();
        let created = table.clone();
        spawn_blocking(move || {
            if created.exists()? {
                Ok(())
            } else if has_files {
                Err(Error::OtherFiles(created.location.to_string()))
            } else {
                created.create()
            }
        })
        .await??;
        Ok(table)
    }

    /// Opens the table of a lake, which must exist. Must run on a multi-threaded runtime.
    pub async fn open_existing(location: &LakeLocation) -> Result<Self> {
        let table = Self::new(location);
        let opened = table.clone();
        // Looks for a log first, because the kernel logs an error if there is none.
        let exists = location.has_log().await? && spawn_blocking(move || opened.exists()).await??;
        if exists { Ok(table) } else { Err(Error::NoTable(location.to_string())) }
    }

    fn new(location: &LakeLocation) -> Self {
        let executor = Arc::new(TokioMultiThreadExecutor::new(Handle::current()));
        let engine = DefaultEngineBuilder::new(Arc::clone(&location.store)).with_task_executor(executor).build();
        Self { location: location.clone(), engine: Arc::new(engine) }
    }

    #[must_use]
    pub fn location(&self) -> &LakeLocation {
        &self.location
    }

    fn load_kernel(&self) -> Result<SnapshotRef, KernelError> {
        delta_kernel::Snapshot::builder_for(self.location.url.as_str()).build(self.engine.as_ref())
    }

    /// Returns whether the location has a table. Fails if the table is not a lake.
    fn exists(&self) -> Result<bool> {
        match self.load_kernel() {
            Ok(snapshot) => match difference(&snapshot.schema(), &table_schema()?) {
                None => Ok(true),
                Some(difference) => Err(Error::OtherTable(self.location.to_string(), difference)),
            },
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn create(&self) -> Result<()> {
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

    pub async fn load(&self) -> Result<Snapshot> {
        let table = self.clone();
        spawn_blocking(move || table.snapshot(table.load_kernel()?)).await?
    }

    /// Adds the columns that a table of an earlier version lacks.
    pub async fn upgrade(&self) -> Result<()> {
        let table = self.clone();
        let (upgraded, _) = win(self, async move |snapshot| {
            let table = table.clone();
            spawn_blocking(move || table.add_columns(&snapshot)).await?
        })
        .await?;
        Ok(upgraded)
    }

    fn add_columns(&self, snapshot: &Snapshot) -> Result<Option<()>> {
        let (schema, engine) = (table_schema()?, self.engine.as_ref());
        let missing: Vec<&StructField> = ADDED
            .iter()
            .filter(|name| snapshot.kernel.schema().field(name).is_none())
            .filter_map(|name| schema.field(name))
            .collect();
        if missing.is_empty() {
            return Ok(Some(()));
        }
        let kernel = Arc::clone(&snapshot.kernel);
        let mut change = kernel.update_table(UpdateTableOperation::AlterTable, ENGINE, false);
        for field in missing {
            change = change.add_column(field.clone());
        }
        match change.build(engine, Box::new(FileSystemCommitter::new()))?.commit(engine)? {
            CommitResult::Committed(_) => Ok(Some(())),
            CommitResult::Conflicted(_) => Ok(None),
            CommitResult::Retryable(failed) => Err(failed.error.into()),
        }
    }

    /// Loads an older version, so that the next page of a scan continues in the same rows.
    pub(crate) async fn load_version(&self, version: Version) -> Result<Snapshot> {
        let table = self.clone();
        spawn_blocking(move || table.snapshot_at(version)).await?
    }

    /// Loads the version that was the newest one at `time`, or the oldest one that the log still describes.
    ///
    /// Fails if the history cannot be read: without it, the files that the retention protects are unknown.
    pub(crate) async fn load_as_of(&self, time: Timestamp) -> Result<Snapshot> {
        let table = self.clone();
        spawn_blocking(move || {
            let (newest, engine, millis) = (table.load_kernel()?, table.engine.as_ref(), time.as_millisecond());
            let commit = match latest_version_as_of(&newest, engine, millis, HistoryCommitType::Recreatable) {
                Err(error) if is_out_of_range(&error) => {
                    first_version_after(&newest, engine, millis, HistoryCommitType::Recreatable)
                }
                commit => commit,
            };
            table.snapshot_at(commit?.version)
        })
        .await?
    }

    fn snapshot_at(&self, version: Version) -> Result<Snapshot> {
        let builder = delta_kernel::Snapshot::builder_for(self.location.url.as_str()).at_version(version);
        self.snapshot(builder.build(self.engine.as_ref())?)
    }

    fn snapshot(&self, kernel: SnapshotRef) -> Result<Snapshot> {
        let scan = Arc::clone(&kernel).scan_builder().without_row_transforms().build()?;
        let (mut files, mut batches) = (Vec::new(), Vec::new());
        for metadata in scan.scan_metadata(self.engine.as_ref())? {
            let (data, selected) = metadata?.scan_files.into_parts();
            let batch: RecordBatch = (*ArrowEngineData::try_from_engine_data(data)?).into();
            let place = batches.len();
            files.extend(files_of(&batch, &selected, place).map_err(|reason| self.unreadable(reason))?);
            batches.push(batch);
        }
        Ok(Snapshot { table: self.clone(), kernel, files, batches })
    }

    fn unreadable(&self, reason: &str) -> Error {
        Error::OtherTable(self.location.to_string(), reason.to_owned())
    }
}

/// Returns whether the log does not reach back to the requested time.
fn is_out_of_range(error: &KernelError) -> bool {
    let KernelError::LogHistory(error) = error.without_backtrace() else { return false };
    matches!(**error, LogHistoryError::TimestampOutOfRange { .. })
}

/// Returns whether the kernel found no log at all.
fn is_absent(error: &KernelError) -> bool {
    let error = error.without_backtrace();
    matches!(error, KernelError::EmptyLog | KernelError::FileNotFound(_) | KernelError::MissingVersion(_))
}

impl Snapshot {
    #[must_use]
    pub fn version(&self) -> Version {
        self.kernel.version()
    }

    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    #[must_use]
    pub fn files(&self) -> &[DataFile] {
        &self.files
    }

    pub(crate) fn path(&self, file: &DataFile) -> Result<Path> {
        self.path_of(&file.path)
    }

    pub(crate) fn open(&self, file: &DataFile) -> Result<ParquetFile> {
        let store = Arc::clone(&self.table.location.store);
        Ok(ParquetFile { store, path: self.path(file)?, size: file.size, version: None })
    }

    pub fn lake_files(&self) -> Result<Vec<LakeFile>> {
        self.files.iter().map(|file| Ok(LakeFile(self.open(file)?))).collect()
    }

    pub async fn keys(&self, files: Vec<DataFile>) -> Result<HashSet<Entry>> {
        let keys = stream::iter(files).map(|file| async move { self.open(&file)?.keys().await });
        let keys: Vec<Vec<Entry>> = keys.buffer_unordered(CONCURRENT_FILES).try_collect().await?;
        Ok(keys.into_iter().flatten().collect())
    }

    /// Returns the entries that the table lacks, without duplicates.
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
        let known: Entries = self.keys(candidates).await?.into_iter().collect();
        let mut missing: Vec<Entry> = days.into_values().flatten().filter(|entry| !known.contains(entry)).collect();
        missing.sort();
        Ok(missing)
    }

    pub async fn rows_of(&self, keys: &BTreeSet<String>) -> Result<Vec<Entry>> {
        let may_contain = |file: &&DataFile| keys.iter().any(|key| file.may_contain_key(key));
        let candidates = self.files.iter().filter(may_contain).cloned().collect();
        let rows = self.keys(candidates).await?;
        Ok(rows.into_iter().filter(|entry| keys.contains(&entry.key)).collect())
    }

    pub(crate) fn writer(&self, day: Date) -> Result<ParquetWriter> {
        let transaction = self.transaction(true)?;
        let days = day.since(Date::constant(1970, 1, 1)).map_or(0, |span| span.get_days());
        let context = transaction.write_state()?.write_context_builder();
        let context = context.with_partition_values(HashMap::from([(DAY.to_owned(), Scalar::Date(days))])).build()?;
        ParquetWriter::new(&self.table.location.store, context)
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

    /// Commits an addition. If another writer committed first, deletes the added files and returns `false`.
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

    /// Converts the paths of files in the log to paths in the storage.
    pub(crate) fn paths<'a>(&self, files: impl IntoIterator<Item = &'a String>) -> Result<HashSet<Path>> {
        files.into_iter().map(|file| self.path_of(file)).collect()
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
            for row in rows {
                selected[row] = true;
            }
            let data: Box<dyn EngineData> = Box::new(ArrowEngineData::new(batch.clone()));
            transaction.remove_files(FilteredEngineData::try_new(data, selected)?);
        }
        match transaction.commit(engine)? {
            CommitResult::Committed(committed) => {
                if committed.post_commit_stats().commits_since_checkpoint >= CHECKPOINT_INTERVAL {
                    // The commit is valid without a checkpoint, and the next commit writes one.
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
