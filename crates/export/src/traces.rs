//! Lists and reads the traces that an export selects.

use std::{fmt::Write as _, future::ready, sync::Arc};

use anyhow::{Context, Result, anyhow};
use attest::{trace, unreadable::Unreadable};
use attest_query::{Field, Query, QueryOption, Selector};
use attest_storage::{Fingerprint, ListingEntry, LocationOptions, TimeRange, TraceReader, parse_time};
use attest_terminal::note;
use bytes::Bytes;
use clap::Args;
use futures_util::{Stream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use tokio::task::spawn_blocking;

/// The location and selection of traces, and the number of concurrent reads. The formats of the export and `share` have
/// these options.
#[derive(Debug, Args)]
pub struct ReadOptions {
    #[command(flatten)]
    location: LocationOptions,
    /// Only traces of exactly this fingerprint: `a` does not select the fingerprint `a/b`
    #[arg(long, value_parser = Fingerprint::new)]
    fingerprint: Option<Fingerprint>,
    /// Only traces that S3 stored at this time or later: 2026-11-22, or 2026-11-22T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Timestamp>,
    /// Only traces that S3 stored before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Only traces of this model
    #[arg(long)]
    model: Option<String>,
    #[command(flatten)]
    selection: QueryOption,
    /// The number of concurrent reads
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,
}

pub struct Traces {
    reader: TraceReader,
    times: TimeRange,
    selector: Arc<Selector>,
    concurrency: usize,
    restrictions: String,
}

pub enum ReadTrace {
    Trace(Bytes),
    /// The query does not select the trace.
    LeftOut,
    NotATrace,
    /// The object was deleted after it was listed.
    Deleted,
    /// This object cannot be read, but others may be. Contains the original error.
    Unreadable(Unreadable, anyhow::Error),
}

impl ReadTrace {
    /// Returns whether the result shows that the reader has access to objects.
    pub fn shows_access(&self) -> bool {
        matches!(self, Self::Trace(_) | Self::LeftOut | Self::NotATrace)
    }

    /// Takes the error of an object to which access is denied, and leaves `Deleted` in its place.
    pub fn take_denial(&mut self) -> Option<anyhow::Error> {
        if !matches!(self, Self::Unreadable(Unreadable::Denied, _)) {
            return None;
        }
        match std::mem::replace(self, Self::Deleted) {
            Self::Unreadable(_, error) => Some(error),
            _ => None,
        }
    }
}

impl ReadOptions {
    /// Opens the bucket or the folder. Sends no request to a bucket.
    pub async fn open(&self) -> Result<Traces> {
        let Self { location, fingerprint, since, until, model, selection, concurrency, .. } = self;
        let reader = TraceReader::open(&location.location()).await?.restricted_to(fingerprint.clone());
        let model = model.as_deref().map_or(Ok(Query::default()), |model| Query::of(Field::Model, model))?;
        let query = selection.query.clone().unwrap_or_default().and(model);
        Ok(Traces {
            reader,
            times: TimeRange { since: *since, until: *until }.within(query.times()),
            selector: Arc::new(Selector::new(query)),
            concurrency: (*concurrency).into(),
            restrictions: self.restrictions(),
        })
    }

    /// Describes every option that restricts the selection.
    fn restrictions(&self) -> String {
        let Self { fingerprint, since, until, .. } = self;
        let options = [
            ("fingerprint", fingerprint.as_ref().map(|fingerprint| fingerprint.key_prefix().to_owned())),
            ("since", since.map(|time| time.to_string())),
            ("until", until.map(|time| time.to_string())),
            ("model", self.model.clone()),
            ("query", self.selection.query.as_ref().map(Query::to_string)),
        ];
        let mut restrictions = String::new();
        for (name, value) in options.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            let _ = write!(restrictions, " --{name} {value:?}");
        }
        restrictions
    }
}

impl Traces {
    #[must_use]
    pub fn reader(&self) -> &TraceReader {
        &self.reader
    }

    /// Describes the traces, so that a state can recognize them. Two descriptions are equal only if they select the
    /// same traces.
    pub async fn origin(&self) -> Result<String> {
        let place = self.reader.place_id().await?;
        if let Some(warning) = place.warning() {
            note!("warning: {warning}");
        }
        Ok(format!("{place}{}", self.restrictions))
    }

    /// Lists the traces that the query may select, in key order, starting after the key `after`.
    pub fn list(&self, after: Option<String>) -> impl Stream<Item = Result<ListingEntry>> + Send + '_ {
        let query = self.selector.query();
        let entries = self.reader.list(query.key_prefix(), self.times, after);
        entries.try_filter(|entry| ready(query.decide(entry) != Some(false)))
    }

    /// Reads listed objects concurrently and returns them in the listed order.
    pub fn read<'a>(
        &'a self,
        entries: impl Stream<Item = Result<ListingEntry>> + 'a,
    ) -> impl Stream<Item = Result<(ListingEntry, ReadTrace)>> + 'a {
        let reads = entries.map(move |entry| async move {
            let entry = entry?;
            let read = self.read_one(&entry).await?;
            Ok((entry, read))
        });
        reads.buffered(self.concurrency)
    }

    async fn read_one(&self, entry: &ListingEntry) -> Result<ReadTrace> {
        if let Some(reason) = Unreadable::of_size(entry.size) {
            return Ok(ReadTrace::Unreadable(reason, anyhow!("{} is {reason}", entry.key)));
        }
        let trace = match self.reader.get(&entry.key).await {
            Ok(None) => return Ok(ReadTrace::Deleted),
            Ok(Some(trace)) => trace,
            // S3 answers 403 instead of 404 if the reader may not list the whole bucket (Amazon S3 API Reference,
            // GetObject, "Permissions"). A key that is no longer listed was deleted, regardless of the error.
            Err(_) if self.is_gone(&entry.key).await => return Ok(ReadTrace::Deleted),
            Err(error) => {
                return match error.downcast_ref().copied() {
                    Some(reason) => Ok(ReadTrace::Unreadable(reason, error)),
                    None => Err(error),
                };
            }
        };
        let (selector, entry) = (Arc::clone(&self.selector), entry.clone());
        let read = spawn_blocking(move || {
            // `import` would refuse the line of such an object.
            if !trace::is_trace(&trace) {
                ReadTrace::NotATrace
            } else if selector.selects(&entry, &trace) {
                ReadTrace::Trace(trace)
            } else {
                ReadTrace::LeftOut
            }
        });
        read.await.context("the search of a trace panicked")
    }

    /// Returns whether a listing succeeds and does not contain `key`. One entry is enough, because `key` sorts before
    /// all longer keys that start with it.
    async fn is_gone(&self, key: &str) -> bool {
        match self.reader.page(key, None, 1).await {
            Ok(page) => page.entries.first().is_none_or(|first| first.key != key),
            Err(_) => false,
        }
    }
}
