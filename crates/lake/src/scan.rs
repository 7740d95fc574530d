//! Reads whole traces, the newest day first.

use std::{cmp::Reverse, fmt, str::FromStr};

use futures_util::TryStreamExt;
use jiff::civil::Date;

use crate::{DataFile, Entry, Result, Snapshot, Table, parquet_file::TraceBatches};

/// A position in a version of the table. All rows before it have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanPosition {
    version: u64,
    file: usize,
    row: usize,
}

impl ScanPosition {
    /// Returns the position that is `rows` rows further in the same file.
    #[must_use]
    pub fn after(self, rows: usize) -> Self {
        Self { row: self.row + rows, ..self }
    }
}

impl fmt::Display for ScanPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.version, self.file, self.row)
    }
}

impl FromStr for ScanPosition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.splitn(3, '.');
        let mut next = || numbers.next().ok_or(());
        Ok(Self {
            version: next()?.parse().map_err(drop)?,
            file: next()?.parse().map_err(drop)?,
            row: next()?.parse().map_err(drop)?,
        })
    }
}

#[derive(Debug)]
pub struct Rows {
    pub position: ScanPosition,
    pub traces: Vec<(Entry, String)>,
}

pub struct Scan {
    snapshot: Snapshot,
    files: Vec<DataFile>,
    next: ScanPosition,
    open: Option<TraceBatches>,
}

impl Scan {
    /// Starts at a position in its version, or at the first row of the newest version.
    pub async fn begin(table: &Table, from: Option<ScanPosition>) -> Result<Self> {
        let snapshot = match from {
            Some(position) => table.load_version(position.version).await?,
            None => table.load().await?,
        };
        let mut files = snapshot.files().to_vec();
        files.sort_by_cached_key(|file| Reverse((file.day, file.newest(), file.path.clone())));
        let next = from.unwrap_or(ScanPosition { version: snapshot.version(), file: 0, row: 0 });
        Ok(Self { snapshot, files, next, open: None })
    }

    #[must_use]
    pub fn version(&self) -> u64 {
        self.snapshot.version()
    }

    /// Returns the files of the version, the newest day first.
    #[must_use]
    pub fn files(&self) -> &[DataFile] {
        &self.files
    }

    /// Reads the next rows. Skips the files of days that `is_selected` rejects. Returns `None` after the last row.
    pub async fn next(&mut self, is_selected: impl Fn(Date) -> bool) -> Result<Option<Rows>> {
        while let Some(file) = self.files.get(self.next.file) {
            if self.open.is_none() && is_selected(file.day) {
                self.open = Some(self.snapshot.open(file)?.traces(self.next.row).await?);
            }
            if let Some(batches) = &mut self.open
                && let Some(traces) = batches.try_next().await?
            {
                let position = self.next;
                self.next = position.after(traces.len());
                return Ok(Some(Rows { position, traces }));
            }
            self.open = None;
            self.next = ScanPosition { file: self.next.file + 1, row: 0, ..self.next };
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let position = ScanPosition { version: 3, file: 0, row: 41 };
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in ["", "1", "1.2", "1.2.x", "1.2.3.4", "-1.2.3"] {
            assert_eq!(text.parse::<ScanPosition>(), Err(()), "{text}");
        }
    }
}
