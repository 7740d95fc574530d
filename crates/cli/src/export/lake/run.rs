//! One run of an export into a lake.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
};

use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};
use jiff::tz::TimeZone;

use super::{
    super::{
        counts::ExportCounts,
        traces::{ReadTrace, Traces},
    },
    columns::Columns,
    destination::Destination,
    parquet_file::ParquetFile,
    state::{Run, State, hash},
};
use crate::{progress::Progress, storage::Entry};

/// The size at which a file is complete, in bytes.
const FILE: usize = 128 << 20;

/// The size at which rows are passed to the Parquet writer, in bytes of JSON.
const BATCH: usize = 8 << 20;

/// The age of a run's listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    New,
    /// Made by the process that was interrupted.
    Resumed,
}

/// An unfinished run.
pub struct LakeRun<'a> {
    traces: &'a Traces,
    destination: &'a Destination,
    state: &'a mut State,
    run: Run,
}

impl<'a> LakeRun<'a> {
    /// Resumes the unfinished run of the state, or begins one.
    ///
    /// `counts` are those of this process. They become those of the resumed run.
    pub fn begin(
        traces: &'a Traces,
        destination: &'a Destination,
        state: &'a mut State,
        counts: &mut ExportCounts,
    ) -> Result<Self> {
        let run = state.begin(counts)?;
        counts.clone_from(&run.counts);
        Ok(Self { traces, destination, state, run })
    }

    /// Lists the traces that are not recorded yet into a file of keys per day, unless the resumed run has done that.
    pub async fn list(&mut self) -> Result<Listing> {
        if self.run.is_listed {
            return Ok(Listing::Resumed);
        }
        let recorded = self.state.recorded()?;
        let keys = self.state.clear_keys()?;
        let entries = self.traces.list(None).ready_chunks(1_000);
        let mut entries = std::pin::pin!(entries);
        while let Some(page) = entries.next().await {
            let mut days: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            for entry in page {
                let Entry { key, stored, .. } = entry?;
                if !recorded.contains(&hash(&key)) {
                    let day = stored.to_zoned_datetime(TimeZone::UTC).date().to_string();
                    let line = serde_json::to_vec(&(key, stored)).expect("texts are JSON");
                    days.entry(day).or_default().extend([&line[..], b"\n"].concat());
                }
            }
            for (day, lines) in days {
                let path = keys.join(day);
                let append = || File::options().create(true).append(true).open(&path)?.write_all(&lines);
                append().with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        self.run.is_listed = true;
        self.state.save(Some(self.run.clone()))?;
        Ok(Listing::New)
    }

    /// Returns the days of the run, oldest first.
    pub fn days(&self) -> Result<Vec<String>> {
        let keys = self.state.keys();
        let names = fs::read_dir(&keys).and_then(|entries| {
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<io::Result<Vec<_>>>()
        });
        let mut names = names.with_context(|| format!("cannot read {}", keys.display()))?;
        names.sort();
        Ok(names)
    }

    /// Writes the traces of a day that are not recorded yet.
    pub async fn write(&mut self, day: &str, counts: &mut ExportCounts, progress: &mut Progress) -> Result<()> {
        let mut done = self.run.days.get(day).copied().unwrap_or_default();
        let mut reads = std::pin::pin!(self.traces.read(stream::iter(self.entries(day, done.keys)?)));
        let (mut file, mut columns, mut processed) = (None, Columns::default(), Vec::new());
        loop {
            let next = reads.next().await.transpose()?;
            let is_end = next.is_none();
            if let Some((entry, read)) = next {
                done.keys += 1;
                // A deleted trace may be restored, so it is not recorded.
                if !matches!(read, ReadTrace::Deleted) {
                    processed.push(hash(&entry.key));
                }
                match read {
                    ReadTrace::Trace(trace) if columns.push(&entry, &trace) => counts.exported += 1,
                    ReadTrace::Trace(_) | ReadTrace::NotATrace => counts.add_not_a_trace(&entry.key),
                    ReadTrace::LeftOut => counts.left_out += 1,
                    ReadTrace::Deleted => counts.deleted += 1,
                }
                progress.update(counts.total());
            }
            if columns.bytes() >= BATCH || (is_end && columns.bytes() > 0) {
                let parquet: &mut ParquetFile = match &mut file {
                    Some(parquet) => parquet,
                    none => none.insert(ParquetFile::create(self.state.parquet())?),
                };
                parquet.write(&mut columns)?;
            }
            let is_full = file.as_ref().is_some_and(|parquet| parquet.bytes() >= FILE);
            if !is_full && !is_end {
                continue;
            }
            let mut name = None;
            if let Some(parquet) = file.take() {
                done.files += 1;
                let added = name.insert(format!("day={day}/{}-{:05}.parquet", self.run.id, done.files));
                self.destination.add(&parquet.finish()?, added).await?;
            }
            self.run.days.insert(day.to_owned(), done);
            self.run.counts = counts.clone();
            self.state.record(&processed, name, &self.run)?;
            processed.clear();
            if is_end {
                return Ok(());
            }
        }
    }

    /// Ends the run.
    pub fn end(self) -> Result<()> {
        self.state.end()
    }

    /// Reads the listed entries of a day from the entry `from` on.
    fn entries(&self, day: &str, from: usize) -> Result<impl Iterator<Item = Result<Entry>> + use<>> {
        let path = self.state.keys().join(day);
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(BufReader::new(file).lines().skip(from).map(move |line| {
            let entry = || anyhow::Ok(serde_json::from_str(&line?)?);
            let (key, stored) = entry().with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Entry { key, stored, size: 0 })
        }))
    }
}
