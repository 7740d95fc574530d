//! A Parquet file that is being written on the local disk.

use std::{fs::File, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use super::columns::{self, Columns};

/// The size of a row group, in bytes of memory.
const ROW_GROUP: usize = 64 << 20;

pub struct ParquetFile {
    writer: ArrowWriter<File>,
    path: PathBuf,
}

impl ParquetFile {
    /// Creates the file, or replaces that of a killed run.
    pub fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(None)
            .build();
        let writer = ArrowWriter::try_new(file, Arc::new(columns::schema()), Some(properties));
        let writer = writer.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { writer, path })
    }

    /// Writes the rows of `columns`, which are empty afterwards.
    pub fn write(&mut self, columns: &mut Columns) -> Result<()> {
        let mut write = || {
            self.writer.write(&columns.take())?;
            if self.writer.in_progress_size() >= ROW_GROUP { self.writer.flush() } else { Ok(()) }
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Returns the approximate size of the file so far, in bytes.
    pub fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Completes and syncs the file. Returns its path.
    pub fn finish(self) -> Result<PathBuf> {
        let failed = || format!("cannot write {}", self.path.display());
        let file = self.writer.into_inner().with_context(failed)?;
        file.sync_all().with_context(failed)?;
        Ok(self.path)
    }
}
