//! Data files as the table's log describes them.

use arrow_array::{Array, RecordBatch, cast::AsArray, types::Int64Type};
use jiff::{Timestamp, civil::Date};
use serde::Deserialize;

use crate::Entry;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// The path, relative to the table and URL-encoded.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    pub day: Date,
    statistics: Statistics,
    /// The index of a batch in the log replay, and of the file's row in that batch.
    pub(crate) place: (usize, usize),
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
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.statistics.num_records
    }

    /// Returns the time of the newest row, or `None` if the log has no statistics for the file.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.statistics.max_values.stored
    }

    /// Returns whether the file may contain this row. `false` is certain, so the file need not be read.
    pub(crate) fn may_contain(&self, entry: &Entry) -> bool {
        let Statistics { min_values, max_values, .. } = &self.statistics;
        self.may_contain_key(&entry.key)
            && min_values.stored.is_none_or(|min| min <= entry.stored)
            && max_values.stored.is_none_or(|max| entry.stored <= max)
    }

    /// Returns whether the file may contain this key. `false` is certain, so the file need not be read.
    pub(crate) fn may_contain_key(&self, key: &str) -> bool {
        let Statistics { min_values, max_values, .. } = &self.statistics;
        min_values.key.as_deref().is_none_or(|min| min <= key) && max_values.key.as_deref().is_none_or(|max| key <= max)
    }
}

/// Converts the rows of a scan (`delta_kernel::scan::scan_row_schema`) to data files.
pub(crate) fn files_of(batch: &RecordBatch, selected: &[bool], place: usize) -> Result<Vec<DataFile>, &'static str> {
    // Rows that a deletion vector removes are still in the file, so rewriting the file would bring them back.
    let vectors = batch.column_by_name("deletionVector");
    if vectors.is_some_and(|vectors| {
        (0..batch.num_rows()).any(|row| selected.get(row) != Some(&false) && vectors.is_valid(row))
    }) {
        return Err("it has deletion vectors: purge them with the program that wrote them");
    }
    read_files(batch, selected, place).ok_or("its log cannot be read")
}

fn read_files(batch: &RecordBatch, selected: &[bool], place: usize) -> Option<Vec<DataFile>> {
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
