//! Traces → a lake of Parquet files, each trace in it exactly once, however often the export runs or is killed.
//!
//! A run takes the traces that were stored from where the last run ended up to [`SETTLED`] ago: S3 dates an object when its
//! upload begins, so a later one may still appear before now, but not before that. It lists them all, sorts them by day into files
//! of keys in the state's folder, and then reads day by day. After each Parquet file the state says how many keys of the day are in
//! the lake. A file that was written, but not noted, is written again under the same name.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use aws_sdk_s3::{error::DisplayErrorContext, primitives::ByteStream};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{Timestamp, tz::TimeZone};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{Counts, End, Options, lines::save, read};
use crate::{
    progress::Progress,
    storage::{Entry, TimeRange, TraceReader as Source},
};
use columns::Columns;

mod columns;

/// How long after its upload began an object may still appear: the function gives up before (22 s), and clocks differ.
const SETTLED: Duration = Duration::from_mins(5);

/// The size at which a file is full, in bytes.
const FILE: usize = 128 << 20;

/// The size of the rows, in bytes of JSON, that are given to the writer at once.
const BATCH: usize = 8 << 20;

/// The size of a row group, in bytes as they lie in memory.
const ROW_GROUP: usize = 64 << 20;

/// What the state's folder says, in `lake.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// What is exported where: another export must not go on from here.
    of: String,
    /// All that was stored before is in the lake.
    until: Option<Timestamp>,
    run: Option<Run>,
}

/// A run that has begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Run {
    /// What was stored before is taken; it names the files too.
    until: Timestamp,
    is_listed: bool,
    /// The days that have begun: how many of their keys, and in how many files, are in the lake.
    days: BTreeMap<String, Day>,
    counts: Counts,
}

#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
struct Day {
    keys: usize,
    files: u32,
}

/// Exports until all is done, or `stop` is ready.
pub async fn export(
    options: &Options,
    source: &Source,
    counts: &mut Counts,
    mut progress: Progress,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<End, String> {
    let of =
        format!("{} {:?} {:?} to {}", source.identity(), options.selection, options.model, options.output.display());
    let mut work = Work::open(options, &of)?;
    let run = work.begin(options.state.is_some())?;
    if !run.is_listed {
        tokio::select! {
            listed = work.list(source, options.selection.times(), run.until) => listed?,
            () = &mut stop => return Ok(End::Interrupted),
        }
    }
    for day in work.days()? {
        tokio::select! {
            written = work.write(&day, options, source, counts, &mut progress) => written?,
            () = &mut stop => return Ok(End::Interrupted),
        }
    }
    progress.finish();
    work.end()?;
    Ok(End::Done)
}

/// The state's folder, and where the lake is.
struct Work {
    folder: PathBuf,
    state: State,
    lake: Lake,
    /// The folder of an export that keeps no state.
    _temporary: Option<TempDir>,
}

impl Work {
    fn open(options: &Options, of: &str) -> Result<Self, String> {
        let temporary = if options.state.is_none() { Some(tempfile::tempdir().map_err(of_state)?) } else { None };
        let folder = match (&options.state, &temporary) {
            (Some(folder), _) => folder.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => unreachable!("one of them is there"),
        };
        fs::create_dir_all(&folder).map_err(of_state)?;
        let state = match fs::read(folder.join("lake.json")) {
            Ok(json) => serde_json::from_slice(&json).map_err(of_state)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State { of: of.to_owned(), ..State::default() },
            Err(error) => return Err(of_state(error)),
        };
        if state.of != of {
            return Err(format!("{} is the state of another export: {}", folder.display(), state.of));
        }
        Ok(Self { folder, state, lake: Lake::new(&options.output)?, _temporary: temporary })
    }

    fn save(&self) -> Result<(), String> {
        save(&self.folder.join("lake.json"), &self.state).map_err(of_state)
    }

    /// The run that an interruption ended, or a new one.
    fn begin(&mut self, is_incremental: bool) -> Result<Run, String> {
        if self.state.run.is_none() {
            // S3 dates objects in whole seconds.
            let now = Timestamp::from_second(Timestamp::now().as_second()).expect("it is a time");
            // One that keeps no state has no next run to leave the newest to.
            let until = if is_incremental { now - SETTLED } else { now + SETTLED };
            let (days, counts) = (BTreeMap::new(), Counts::default());
            self.state.run = Some(Run { until, is_listed: false, days, counts });
            self.save()?;
        }
        Ok(self.run().clone())
    }

    fn run(&mut self) -> &mut Run {
        self.state.run.as_mut().expect("it has begun")
    }

    fn end(&mut self) -> Result<(), String> {
        self.state.until = self.state.run.take().map(|run| run.until);
        self.save()?;
        let _ = fs::remove_file(self.folder.join("file.parquet")); // there is none if nothing was new
        fs::remove_dir_all(self.folder.join("keys")).map_err(of_state)
    }

    /// Lists what the run takes, into a file of keys for each day.
    async fn list(&mut self, source: &Source, times: TimeRange, until: Timestamp) -> Result<(), String> {
        let keys = self.folder.join("keys");
        if keys.exists() {
            fs::remove_dir_all(&keys).map_err(of_state)?;
        }
        fs::create_dir_all(&keys).map_err(of_state)?;
        let since = self.state.until;
        let mut left = 0_u64;
        let entries = source.list(times, None).map_err(|error| format!("{error:#}")).ready_chunks(1_000);
        let mut entries = std::pin::pin!(entries);
        while let Some(page) = entries.next().await {
            let mut days: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            for entry in page {
                let Entry { key, stored, .. } = entry?;
                if stored >= until {
                    left += 1;
                } else if since.is_none_or(|since| stored >= since) {
                    let day = stored.to_zoned_datetime(TimeZone::UTC).date().to_string();
                    let line = serde_json::to_vec(&(key, stored)).expect("both are JSON");
                    days.entry(day).or_default().extend([&line[..], b"\n"].concat());
                }
            }
            for (day, lines) in days {
                let file = File::options().create(true).append(true).open(keys.join(day));
                file.and_then(|mut file| file.write_all(&lines)).map_err(of_state)?;
            }
        }
        if left > 0 {
            eprintln!("{left} traces are newer than {} min: the next run takes them", SETTLED.as_secs() / 60);
        }
        self.run().is_listed = true;
        self.save()
    }

    /// The days of the run, oldest first.
    fn days(&self) -> Result<Vec<String>, String> {
        let names = fs::read_dir(self.folder.join("keys")).and_then(|entries| {
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<io::Result<Vec<_>>>()
        });
        let mut names = names.map_err(of_state)?;
        names.sort();
        Ok(names)
    }

    /// Writes what is left of a day.
    async fn write(
        &mut self,
        day: &str,
        options: &Options,
        source: &Source,
        counts: &mut Counts,
        progress: &mut Progress,
    ) -> Result<(), String> {
        let mut done = self.run().days.get(day).copied().unwrap_or_default();
        *counts = self.run().counts.clone();
        let keys = File::open(self.folder.join("keys").join(day)).map_err(of_state)?;
        let entries = BufReader::new(keys).lines().skip(done.keys).map(|line| {
            let (key, stored) = line
                .map_err(|error| error.to_string())
                .and_then(|line| serde_json::from_str(&line).map_err(|error| error.to_string()))?;
            Ok(Entry { key, stored, size: 0 })
        });
        let mut reads = std::pin::pin!(read(options, source, stream::iter(entries)));
        let mut file = None;
        let mut columns = Columns::default();
        loop {
            let next = reads.next().await.transpose()?;
            let is_end = next.is_none();
            if let Some((entry, read)) = next {
                done.keys += 1;
                if let Some(trace) = counts.trace_of(&entry, read) {
                    if columns.push(&entry, &trace) {
                        counts.exported += 1;
                    } else {
                        counts.not_a_trace(&entry);
                    }
                }
                progress.update(counts.all());
            }
            if columns.bytes() >= BATCH || (is_end && columns.bytes() > 0) {
                let parquet: &mut Parquet = match &mut file {
                    Some(parquet) => parquet,
                    none => none.insert(Parquet::create(&self.folder)?),
                };
                parquet.write(&mut columns)?;
            }
            let is_full = file.as_ref().is_some_and(|parquet| parquet.bytes() >= FILE);
            if let Some(parquet) = file.take_if(|_| is_full || is_end) {
                done.files += 1;
                let name =
                    format!("day={day}/{}-{:05}.parquet", self.run().until.strftime("%Y%m%dT%H%M%SZ"), done.files);
                self.lake.take(&parquet.finish()?, &name).await?;
            }
            if is_full || is_end {
                self.run().days.insert(day.to_owned(), done);
                self.run().counts = counts.clone();
                self.save()?;
            }
            if is_end {
                return Ok(());
            }
        }
    }
}

/// Why the state's folder could not be used.
fn of_state(error: impl fmt::Display) -> String {
    format!("the state: {error}")
}

/// A file that is being written, in the state's folder.
struct Parquet {
    writer: ArrowWriter<File>,
    path: PathBuf,
}

fn failed(error: &ParquetError) -> String {
    format!("Parquet: {error}")
}

impl Parquet {
    fn create(folder: &Path) -> Result<Self, String> {
        // What a killed run left under this name is replaced.
        let path = folder.join("file.parquet");
        let file = File::create(&path).map_err(of_state)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(None)
            .build();
        let writer = ArrowWriter::try_new(file, Arc::new(columns::schema()), Some(properties));
        Ok(Self { writer: writer.map_err(|error| failed(&error))?, path })
    }

    fn write(&mut self, columns: &mut Columns) -> Result<(), String> {
        self.writer.write(&columns.take()).map_err(|error| failed(&error))?;
        if self.writer.in_progress_size() >= ROW_GROUP {
            self.writer.flush().map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Its size so far.
    fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    fn finish(self) -> Result<PathBuf, String> {
        let file = self.writer.into_inner().map_err(|error| failed(&error))?;
        file.sync_all().map_err(of_state)?;
        Ok(self.path)
    }
}

/// Where the lake is.
enum Lake {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
}

impl Lake {
    fn new(output: &Path) -> Result<Self, String> {
        let Some(url) = output.to_str().and_then(|output| output.strip_prefix("s3://")) else {
            return Ok(Self::Folder(output.to_owned()));
        };
        let (bucket, prefix) = url.split_once('/').unwrap_or((url, ""));
        let prefix = if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") };
        if bucket.is_empty() {
            Err("s3:// needs a bucket".to_owned())
        } else {
            Ok(Self::Bucket { bucket: bucket.to_owned(), prefix })
        }
    }

    /// Takes a file in, whole or not at all; one of this name is replaced.
    async fn take(&self, file: &Path, name: &str) -> Result<(), String> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                let failed = |error: io::Error| format!("{}: {error}", path.display());
                let (day, name) =
                    (path.parent().expect("it is in a day's folder"), path.file_name().unwrap_or_default());
                fs::create_dir_all(day).map_err(failed)?;
                // The state's folder may be on another file system, so it is copied first, and then gets its name in one step.
                let part = day.join(format!(".{}.part", name.display()));
                fs::copy(file, &part).and_then(|_| File::open(&part)?.sync_all()).map_err(failed)?;
                fs::rename(&part, &path).map_err(failed)
            }
            Self::Bucket { bucket, prefix } => {
                let body = ByteStream::from_path(file).await.map_err(of_state)?;
                let config = attest::settings::aws_config().await.map_err(|error| error.to_string())?;
                let put = aws_sdk_s3::Client::new(&config)
                    .put_object()
                    .bucket(bucket)
                    .key(format!("{prefix}{name}"))
                    .body(body);
                let put = put.content_type("application/vnd.apache.parquet").send().await;
                put.map_err(|error| {
                    format!("cannot write s3://{bucket}/{prefix}{name}: {}", DisplayErrorContext(error))
                })?;
                Ok(())
            }
        }
    }
}
