//! The lake: a Delta table with one row per stored trace.
//!
//! A bucket holds one object per trace, and each object costs a request to read. The lake holds the same traces as
//! Parquet files, which Athena, DuckDB, Spark, Polars and pandas query as one table.
//!
//! Each change is one commit of the table: a conditional put of the next log entry. A writer that loses the race for an
//! entry loads the table again and repeats its work, so two writers never add one trace twice. No other state exists,
//! and a killed writer leaves nothing behind but files without a reference, which [`maintain::vacuum`] deletes.
//!
//! Two facts keep ingestion cheap. A stored object never changes, so its day never changes, and a repeated notification
//! can only meet its own row in that day's partition. That row has the same time of storing, so the statistics of the
//! files exclude all files but those of the same minutes.

mod append;
pub mod columns;
mod data_file;
mod entry;
mod error;
pub mod files;
pub mod ingest;
pub mod listing;
mod location;
pub mod maintain;
pub mod objects;
mod parquet_file;
pub mod race;
pub mod scan;
mod skipped;
pub mod source;
pub mod sync;
mod table;
mod table_schema;

pub use append::{Added, append};
pub use data_file::DataFile;
pub use entry::{Entry, Object};
pub use error::{Error, Result};
pub use files::LakeFile;
pub use location::LakeLocation;
pub use skipped::Skipped;
pub use table::{Snapshot, Table};
