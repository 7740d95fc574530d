//! Data files of the table: writing, and reading their keys.

use std::{ops::Range, sync::Arc};

use arrow_array::{
    Array, RecordBatch, StringArray, TimestampMicrosecondArray, cast::AsArray, types::TimestampMicrosecondType,
};
use bytes::Bytes;
use delta_kernel::{FileMeta, engine::arrow_data::ArrowEngineData, transaction::BoundWriteContext};
use delta_kernel_default_engine::{build_add_file_metadata, parquet::DataFileMetadata, stats::FileStatsAccumulator};
use futures_util::{FutureExt, TryStreamExt, future::BoxFuture};
use jiff::Timestamp;
use object_store::{DynObjectStore, ObjectStoreExt, buffered::BufWriter, path::Path};
use parquet::{
    arrow::{
        AsyncArrowWriter, ParquetRecordBatchStreamBuilder, ProjectionMask,
        arrow_reader::ArrowReaderOptions,
        async_reader::{AsyncFileReader, ParquetRecordBatchStream},
    },
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData},
        properties::WriterProperties,
    },
    schema::types::ColumnPath,
};
use uuid::Uuid;

use crate::{
    Error, Result,
    columns::{Entry, schema},
};

/// The size of a row group, in bytes of the encoded rows in memory.
const ROW_GROUP: usize = 32 << 20;

/// The bytes at the end of a file that one request reads: the footer of a file with a few row groups.
const FOOTER: usize = 64 << 10;

/// A file that is being written. Nothing refers to it before its commit.
pub(crate) struct Writer {
    rows: AsyncArrowWriter<BufWriter>,
    statistics: FileStatsAccumulator,
    url: url::Url,
    context: BoundWriteContext,
}

impl Writer {
    pub(crate) fn new(store: &Arc<DynObjectStore>, context: BoundWriteContext) -> Result<Self> {
        let url = context
            .write_dir()
            .join(&format!("{}.parquet", Uuid::new_v4()))
            .map_err(delta_kernel::KernelError::from)?;
        let path = Path::from_url_path(url.path()).map_err(object_store::Error::from)?;
        let key = ColumnPath::from("key");
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(None)
            // No two rows share a key, so a dictionary would only add to them.
            .set_column_dictionary_enabled(key.clone(), false)
            .set_column_bloom_filter_enabled(key, true)
            .build();
        let output = BufWriter::new(Arc::clone(store), path);
        let writer = AsyncArrowWriter::try_new(output, Arc::new(schema()), Some(properties));
        let writer = writer.map_err(|error| Error::Parquet(url.to_string(), error))?;
        let statistics = FileStatsAccumulator::new(context.stats_columns(), context.physical_data_schema());
        Ok(Self { rows: writer, statistics, url, context })
    }

    pub(crate) async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.statistics.merge(rows)?;
        let failed = |error| Error::Parquet(self.url.to_string(), error);
        self.rows.write(rows).await.map_err(failed)?;
        if self.rows.in_progress_size() >= ROW_GROUP {
            self.rows.flush().await.map_err(failed)?;
        }
        Ok(())
    }

    /// Returns the size so far, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes_written() + self.rows.in_progress_size()
    }

    /// Completes the file and returns its description for a commit.
    pub(crate) async fn finish(mut self) -> Result<RecordBatch> {
        self.rows.finish().await.map_err(|error| Error::Parquet(self.url.to_string(), error))?;
        let size = self.rows.bytes_written() as u64;
        let statistics = self.statistics.finish()?.expect("a file is only begun for rows");
        let file = FileMeta::new(self.url, Timestamp::now().as_millisecond(), size);
        let description = build_add_file_metadata(DataFileMetadata::new(file, statistics), &self.context)?;
        Ok((*ArrowEngineData::try_from_engine_data(description)?).into())
    }
}

/// Reads the rows of a file in batches of about 8 MB.
pub(crate) async fn read_rows(
    store: &Arc<DynObjectStore>,
    path: &Path,
    size: u64,
) -> Result<ParquetRecordBatchStream<Object>> {
    let failed = |error| Error::Parquet(path.to_string(), error);
    let reader = open(store, path, size).await?;
    let batch = batch_size(reader.metadata());
    reader.with_batch_size(batch).build().map_err(failed)
}

/// Reads the keys, times and traces of a file, beginning at a row, in batches of about 8 MB.
pub(crate) async fn read_traces(
    store: &Arc<DynObjectStore>,
    path: &Path,
    size: u64,
    from_row: usize,
) -> Result<ParquetRecordBatchStream<Object>> {
    let failed = |error| Error::Parquet(path.to_string(), error);
    let reader = open(store, path, size).await?;
    let batch = batch_size(reader.metadata());
    let columns = ProjectionMask::columns(reader.parquet_schema(), ["key", "stored", "trace"]);
    reader.with_projection(columns).with_offset(from_row).with_batch_size(batch).build().map_err(failed)
}

/// Returns the number of rows that are about 8 MB.
fn batch_size(file: &ParquetMetaData) -> usize {
    let rows = file.file_metadata().num_rows().max(1);
    let bytes: i64 = file.row_groups().iter().map(RowGroupMetaData::total_byte_size).sum();
    usize::try_from((8 << 20) / (bytes / rows).max(1)).unwrap_or(1).clamp(1, 1_024)
}

/// Reads the keys of a file, with their times.
pub(crate) async fn read_keys(store: &Arc<DynObjectStore>, path: &Path, size: u64) -> Result<Vec<Entry>> {
    let failed = |error| Error::Parquet(path.to_string(), error);
    let reader = open(store, path, size).await?;
    let columns = ProjectionMask::columns(reader.parquet_schema(), ["key", "stored"]);
    let batches = reader.with_projection(columns).build().map_err(failed)?;
    let batches: Vec<RecordBatch> = batches.try_collect().await.map_err(failed)?;
    let mut entries = Vec::new();
    for batch in batches {
        let (keys, times) = keys_of(&batch).ok_or_else(|| Error::OtherTable(path.to_string()))?;
        entries.extend((0..batch.num_rows()).map(|row| entry(keys, times, row)));
    }
    Ok(entries)
}

/// Returns whether a file may contain one of these keys. `false` is certain.
pub(crate) async fn may_contain(store: &Arc<DynObjectStore>, path: &Path, size: u64, keys: &[&str]) -> Result<bool> {
    let failed = |error| Error::Parquet(path.to_string(), error);
    let mut reader = open(store, path, size).await?;
    for group in 0..reader.metadata().num_row_groups() {
        // The key is the first column.
        let filter = reader.get_row_group_column_bloom_filter(group, 0).await.map_err(failed)?;
        if filter.is_none_or(|filter| keys.iter().any(|key| filter.check(*key))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the columns `key` and `stored` of rows.
pub(crate) fn keys_of(rows: &RecordBatch) -> Option<(&StringArray, &TimestampMicrosecondArray)> {
    let keys = rows.column_by_name("key")?.as_string_opt::<i32>()?;
    let times = rows.column_by_name("stored")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    (keys.null_count() == 0 && times.null_count() == 0).then_some((keys, times))
}

/// Returns one row of these columns.
pub(crate) fn entry(keys: &StringArray, times: &TimestampMicrosecondArray, row: usize) -> Entry {
    let stored = Timestamp::from_microsecond(times.value(row)).unwrap_or_default();
    Entry { key: keys.value(row).to_owned(), stored }
}

async fn open(store: &Arc<DynObjectStore>, path: &Path, size: u64) -> Result<ParquetRecordBatchStreamBuilder<Object>> {
    let object = Object { store: Arc::clone(store), path: path.clone(), size };
    let reader = ParquetRecordBatchStreamBuilder::new(object).await;
    reader.map_err(|error| Error::Parquet(path.to_string(), error))
}

/// An object that Parquet is read from.
pub(crate) struct Object {
    store: Arc<DynObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for Object {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let bytes = async { self.store.get_range(&self.path, range).await };
        bytes.map(|bytes| bytes.map_err(|error| ParquetError::External(Box::new(error)))).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let size = self.size;
        let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER));
        async move { reader.load_and_finish(self, size).await.map(Arc::new) }.boxed()
    }
}
