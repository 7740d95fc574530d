//! `export`: stored traces → JSON Lines, fine-tuning examples, or a lake of Parquet files.

use std::{fmt, path::PathBuf, process::ExitCode, sync::Arc};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures_util::{Stream, StreamExt};
use indicatif::HumanCount;
use serde::{Deserialize, Serialize};

use crate::{
    progress::Progress,
    shutdown::stop_signal,
    storage::{Entry, Location, Selection, TraceReader as Source},
};

mod lake;
mod lines;
mod tuning;

/// What `export` is started with.
#[derive(Debug, Args)]
#[command(after_long_help = "\
JSON Lines are one trace a line, byte for byte as it is stored, but without the line breaks between its tokens. FILE is
compressed if its name ends with .gz or .zst; `-` is standard output. An export that was interrupted goes on when the same
command is run again.

Parquet is one file per day of storing and some 128 MB. With --state a later run adds what is new.

Exit status:
  0  everything is exported
  1  some objects are no traces, and were left out
  2  the export could not go on, or was stopped: run it again")]
pub struct Options {
    #[command(flatten)]
    location: Location,
    #[command(flatten)]
    selection: Selection,
    /// Only traces of this model
    #[arg(long)]
    model: Option<String>,
    /// The file to write; for Parquet a folder, or s3://BUCKET/PREFIX
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// How many traces are read at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// For Parquet: the folder that keeps what is exported so far
    #[arg(long)]
    state: Option<PathBuf>,
    #[command(flatten)]
    tuning: tuning::Tuning,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One trace a line, as it is stored
    Jsonl,
    /// One conversation a line, `{"messages": …}`, as OpenAI's fine-tuning takes it
    Openai,
    /// A lake of Parquet files
    Parquet,
}

/// How many traces became what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    exported: u64,
    /// Left out by an option.
    left_out: u64,
    not_traces: u64,
    /// Deleted since they were listed.
    deleted: u64,
}

impl Counts {
    fn all(&self) -> u64 {
        self.exported + self.left_out + self.not_traces + self.deleted
    }

    /// Counts an entry that has no trace to export; else gives the trace.
    fn trace_of(&mut self, entry: &Entry, read: Read) -> Option<Bytes> {
        match read {
            Read::Trace(trace) => return Some(trace),
            Read::Deleted => self.deleted += 1,
            Read::LeftOut => self.left_out += 1,
            Read::NotATrace => self.not_a_trace(entry),
        }
        None
    }

    fn not_a_trace(&mut self, entry: &Entry) {
        eprintln!("{} is no trace", entry.key);
        self.not_traces += 1;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |count: u64, what: &str| writeln!(f, "{:>13} {what}", HumanCount(count).to_string());
        line(self.exported, "exported")?;
        line(self.left_out, "left out by an option")?;
        line(self.deleted, "deleted since they were listed")?;
        line(self.not_traces, "no traces")
    }
}

/// How an export ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Interrupted,
}

/// Exports, and prints the report.
pub async fn run(options: Options) -> ExitCode {
    let mut counts = Counts::default();
    let result = export(&options, &mut counts).await;
    eprint!("{counts}");
    match result {
        Ok(End::Done) if counts.not_traces == 0 => ExitCode::SUCCESS,
        Ok(End::Done) => ExitCode::FAILURE,
        Ok(End::Interrupted) => {
            eprintln!("\nstopped: the same command goes on from here");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("\nerror: {error}");
            ExitCode::from(2)
        }
    }
}

async fn export(options: &Options, counts: &mut Counts) -> Result<End, String> {
    if options.format != Format::Parquet && options.state.is_some() {
        return Err("--state is for --format parquet; another export goes on by itself".to_owned());
    }
    if options.format != Format::Openai && options.tuning.is_any() {
        return Err("--min-messages, --last-role and --dedupe are for --format openai".to_owned());
    }
    let source = Source::open(&options.location).await.map_err(|error| format!("{error:#}"))?;
    let source = source.restricted_to(options.selection.fingerprint.clone());
    let progress = Progress::new(options.output.display().to_string(), "traces", None, Arc::default(), options.quiet);
    let stop = std::pin::pin!(stop_signal());
    match options.format {
        Format::Parquet => lake::export(options, &source, counts, progress, stop).await,
        Format::Jsonl | Format::Openai => lines::export(options, &source, counts, progress, stop).await,
    }
}

/// What was read of an entry.
enum Read {
    Trace(Bytes),
    LeftOut,
    NotATrace,
    Deleted,
}

/// Reads entries, several at once, in their order.
fn read<'a>(
    options: &'a Options,
    source: &'a Source,
    entries: impl Stream<Item = Result<Entry, String>> + 'a,
) -> impl Stream<Item = Result<(Entry, Read), String>> + 'a {
    let reads = entries.map(move |entry| async move {
        let entry = entry?;
        let read = match source.get(&entry.key).await.map_err(|error| format!("{error:#}"))? {
            None => Read::Deleted,
            Some(trace) => match (&options.model, serde_json::from_slice::<Model>(&trace)) {
                (_, Err(_)) => Read::NotATrace,
                (Some(model), Ok(of)) if of.model != *model => Read::LeftOut,
                _ => Read::Trace(trace),
            },
        };
        Ok((entry, read))
    });
    reads.buffered(options.concurrency.into())
}

#[derive(Deserialize)]
struct Model {
    model: String,
}
