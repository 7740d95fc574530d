//! The lake: a Delta table with one row per stored trace.
//!
//! A bucket has one object per trace, and reading each object costs a request. The lake contains the same traces in
//! Parquet files, which Athena, DuckDB, Spark, Polars and pandas query as one table.
//!
//! Each change is one commit: a conditional put of the next log entry. A writer that loses the race for an entry loads
//! the table again and repeats its work. So two writers never add the same trace twice. There is no other state. A
//! killed writer leaves only unreferenced files behind, which [`maintain::vacuum`] deletes.
//!
//! Two facts keep ingestion cheap. A stored object never changes, so the row of a repeated notification can only be in
//! the partition of the object's day. That row also has the same time of storing, so file statistics exclude all files
//! except those of the same minutes.

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
