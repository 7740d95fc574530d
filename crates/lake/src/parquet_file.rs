//! Writes the table's Parquet files, and reads those of any Delta writer.

use std::{ops::Range, path::Path as FilePath, sync::Arc};

use arrow_array::{Array, RecordBatch, cast::AsArray, new_null_array, types::TimestampMicrosecondType};
use arrow_schema::ArrowError;
use bytes::Bytes;
use delta_kernel::{FileMeta, engine::arrow_data::ArrowEngineData, transaction::BoundWriteContext};
use delta_kernel_default_engine::{build_add_file_metadata, parquet::DataFileMetadata, stats::FileStatsAccumulator};
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream::BoxStream};
use jiff::Timestamp;
use object_store::{
    DynObjectStore, GetOptions, GetRange, OBJECT_STORE_COALESCE_DEFAULT, ObjectStore, buffered::BufWriter,
    coalesce_ranges, path::Path,
};
use parquet::{
    arrow::{
        AsyncArrowWriter, ParquetRecordBatchStreamBuilder, ProjectionMask, arrow_reader::ArrowReaderOptions,
        async_reader::AsyncFileReader,
    },
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData},
        properties::WriterProperties,
    },
    schema::types::ColumnPath,
};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::{Entry, Error, Result, columns::schema, location::PREFIX};

/// The size of a row group, in bytes of the encoded rows in memory.
const ROW_GROUP: usize = 32 << 20;

/// The number of bytes that the first request reads at the end of a file, enough for the footer of a few row groups.
const FOOTER: usize = 64 << 10;

/// A file that is being written. Nothing refers to it before its commit.
pub(crate) struct ParquetWriter {
    rows: AsyncArrowWriter<BufWriter>,
    statistics: FileStatsAccumulator,
    url: url::Url,
    context: BoundWriteContext,
}

impl ParquetWriter {
    pub(crate) fn new(store: &Arc<DynObjectStore>, context: BoundWriteContext) -> Result<Self> {
        let url = context
            .write_dir()
            .join(&format!("{PREFIX}{}.parquet", Uuid::new_v4()))
            .map_err(delta_kernel::KernelError::from)?;
        let path = Path::from_url_path(url.path()).map_err(object_store::Error::from)?;
        let key = ColumnPath::from("key");
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(None)
            // No two rows share a key, so a dictionary would only add bytes.
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

    pub(crate) async fn finish(mut self) -> Result<RecordBatch> {
        self.rows.finish().await.map_err(|error| Error::Parquet(self.url.to_string(), error))?;
        let size = self.rows.bytes_written() as u64;
        let statistics = self.statistics.finish()?.expect("a file is only begun for rows");
        let file = FileMeta::new(self.url, Timestamp::now().as_millisecond(), size);
        let description = build_add_file_metadata(DataFileMetadata::new(file, statistics), &self.context)?;
        Ok((*ArrowEngineData::try_from_engine_data(description)?).into())
    }
}

pub type TraceBatches = BoxStream<'static, Result<Vec<(Entry, String)>>>;

/// A file that exists, whether or not the log refers to it.
#[derive(Clone)]
pub(crate) struct ParquetFile {
    pub(crate) store: Arc<DynObjectStore>,
    pub(crate) path: Path,
    pub(crate) size: u64,
    /// The id of a noncurrent version in a bucket.
    pub(crate) version: Option<String>,
}

impl ParquetFile {
    /// Reads whole rows in batches of about 8 MB, with the columns of [`schema`].
    pub(crate) async fn rows(&self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let reader = self.open().await?;
        let names: Vec<String> = schema().fields().iter().map(|field| field.name().clone()).collect();
        self.batches(reader, 0, names)
    }

    /// Reads entries and traces from `from_row` on, in batches of about 8 MB.
    pub(crate) async fn traces(&self, from_row: usize) -> Result<TraceBatches> {
        let reader = self.open().await?;
        let names = ["key", "stored", "trace", "etag"].map(str::to_owned).to_vec();
        let path = self.path.to_string();
        let batches = self.batches(reader, from_row, names)?;
        let traces = move |batch| traces_of(&batch).ok_or_else(|| Error::NoValue(path.clone()));
        Ok(batches.map(move |batch| batch.and_then(&traces)).boxed())
    }

    pub(crate) async fn keys(&self) -> Result<Vec<Entry>> {
        let reader = self.open().await?;
        let names = ["key", "stored", "etag"].map(str::to_owned).to_vec();
        let batches: Vec<RecordBatch> = self.batches(reader, 0, names)?.try_collect().await?;
        let mut entries = Vec::new();
        for batch in batches {
            entries.extend(entries_of(&batch).ok_or_else(|| Error::NoValue(self.path.to_string()))?);
        }
        Ok(entries)
    }

    /// Returns whether the file may contain one of these keys. `false` is certain.
    pub(crate) async fn may_contain(&self, keys: &[&str]) -> Result<bool> {
        let mut reader = self.open().await?;
        let columns = reader.parquet_schema().columns();
        let Some(column) = columns.iter().position(|column| column.path().string() == "key") else { return Ok(true) };
        for group in 0..reader.metadata().num_row_groups() {
            let filter = reader.get_row_group_column_bloom_filter(group, column).await;
            let filter = filter.map_err(|error| self.failed(error))?;
            if filter.is_none_or(|filter| keys.iter().any(|key| filter.check(*key))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) async fn copy_to(&self, path: &FilePath) -> Result<()> {
        let object = self.store.get_opts(&self.path, self.options(None)).await?;
        let mut bytes = object.into_stream();
        let mut file = tokio::fs::File::create(path).await?;
        while let Some(bytes) = bytes.try_next().await? {
            file.write_all(&bytes).await?;
        }
        Ok(file.flush().await?)
    }

    fn options(&self, range: Option<GetRange>) -> GetOptions {
        GetOptions { range, version: self.version.clone(), ..GetOptions::default() }
    }

    fn failed(&self, error: ParquetError) -> Error {
        Error::Parquet(self.path.to_string(), error)
    }

    async fn open(&self) -> Result<ParquetRecordBatchStreamBuilder<Self>> {
        // Another writer's file may declare other Arrow types for its columns, such as `Utf8View`.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let reader = ParquetRecordBatchStreamBuilder::new_with_options(self.clone(), options).await;
        reader.map_err(|error| self.failed(error))
    }

    fn batches(
        &self,
        reader: ParquetRecordBatchStreamBuilder<Self>,
        from_row: usize,
        names: Vec<String>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let size = batch_size(reader.metadata());
        let columns = ProjectionMask::columns(reader.parquet_schema(), names.iter().map(String::as_str));
        let batches = reader.with_projection(columns).with_offset(from_row).with_batch_size(size).build();
        let batches = batches.map_err(|error| self.failed(error))?;
        let path = self.path.to_string();
        let conform = move |batch: Result<RecordBatch, ParquetError>| {
            let batch = batch.and_then(|batch| conform(&batch, &names).map_err(ParquetError::from));
            batch.map_err(|error| Error::Parquet(path.clone(), error))
        };
        Ok(batches.map(conform).boxed())
    }
}

/// Returns these columns with the types of [`schema`]. Columns that the file lacks are null.
fn conform(batch: &RecordBatch, names: &[String]) -> Result<RecordBatch, ArrowError> {
    let schema = schema();
    let places = names.iter().map(|name| schema.index_of(name)).collect::<Result<Vec<_>, _>>()?;
    let schema = Arc::new(schema.project(&places)?);
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        Some(column) => arrow_cast::cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_, _>>()?)
}

/// Returns the number of rows in a batch of about 8 MB, which bounds a reader's memory.
fn batch_size(file: &ParquetMetaData) -> usize {
    let rows = file.file_metadata().num_rows().max(1);
    let bytes: i64 = file.row_groups().iter().map(RowGroupMetaData::total_byte_size).sum();
    usize::try_from((8 << 20) / (bytes / rows).max(1)).unwrap_or(1).clamp(1, 1_024)
}

/// Returns the entries of rows. `None` if one has no key or time.
pub(crate) fn entries_of(rows: &RecordBatch) -> Option<Vec<Entry>> {
    let keys = rows.column_by_name("key")?.as_string_opt::<i32>()?;
    let times = rows.column_by_name("stored")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let etags = rows.column_by_name("etag")?.as_string_opt::<i32>()?;
    (keys.null_count() == 0 && times.null_count() == 0).then_some(())?;
    let entry = |row| {
        let stored = Timestamp::from_microsecond(times.value(row)).ok()?;
        let etag = (!etags.is_null(row)).then(|| etags.value(row).to_owned());
        Some(Entry { key: keys.value(row).to_owned(), stored, etag })
    };
    (0..rows.num_rows()).map(entry).collect()
}

fn traces_of(rows: &RecordBatch) -> Option<Vec<(Entry, String)>> {
    let traces = rows.column_by_name("trace")?.as_string_opt::<i32>()?;
    (traces.null_count() == 0).then_some(())?;
    Some(entries_of(rows)?.into_iter().zip(traces.iter().flatten().map(str::to_owned)).collect())
}

impl AsyncFileReader for ParquetFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let bytes = async {
            let object = self.store.get_opts(&self.path, self.options(Some(GetRange::Bounded(range)))).await?;
            object.bytes().await
        };
        bytes.map(|bytes| bytes.map_err(|error| ParquetError::External(Box::new(error)))).boxed()
    }

    /// Reads adjacent ranges, such as the columns of a row group, with one request.
    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        let this = self.clone();
        let read = async move {
            let fetch = |range| {
                let mut this = this.clone();
                async move { this.get_bytes(range).await }
            };
            coalesce_ranges(&ranges, fetch, OBJECT_STORE_COALESCE_DEFAULT).await
        };
        read.boxed()
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
