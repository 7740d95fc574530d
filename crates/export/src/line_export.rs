//! Writes one line per trace, in key order.

use std::{collections::HashSet, path::Path, pin::Pin, process, sync::Arc};

use anyhow::Result;
use attest_storage::ListingEntry;
use attest_terminal::{note, progress::Progress, shutdown::stop_signal};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use super::{
    completion::{Completion, RESUME},
    counts::ExportCounts,
    line_output::LineOutput,
    traces::{ReadOptions, ReadTrace},
};

pub struct LineFormat<F> {
    /// Names the format and each of its options, so that a checkpoint can recognize them.
    pub name: String,
    /// Whether to leave out lines that are equal to an earlier line.
    pub dedupe: bool,
    pub line: F,
}

pub enum ExportLine {
    Write(Vec<u8>),
    LeftOut,
    /// The format cannot express the trace, for this reason.
    Refused(String),
}

/// The first 16 bytes of the SHA-256 of a line.
type LineHash = [u8; 16];

/// Exports until every trace is processed or `stop` is ready.
pub async fn export(
    read: &ReadOptions,
    output: &Path,
    format: &LineFormat<impl Fn(&[u8]) -> ExportLine>,
    counts: &mut ExportCounts,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<Completion> {
    let traces = read.open().await?;
    let mut progress = Progress::new(output.display().to_string(), "traces", None, Arc::default(), read.quiet);
    let output = LineOutput::open(output, &format.name, &traces).await?;
    if let LineOutput::Stream { .. } = output {
        exit_on_stop();
    }
    *counts = output.counts();
    let mut seen = HashSet::new();
    if format.dedupe {
        output.for_each_line(|line| {
            seen.insert(hash(line));
        })?;
    }
    let mut reads = std::pin::pin!(traces.read(traces.list(output.last_key())));
    let mut lines = Lines { format, output, seen };
    // A denial may mean that access is lost, so objects count as processed only after one of them is read.
    let (mut waiting, mut has_read) = (Vec::new(), false);
    loop {
        let next = tokio::select! {
            biased;
            () = &mut stop => {
                lines.output.save(counts)?;
                return Ok(Completion::Interrupted);
            }
            next = reads.next() => next,
        };
        let (entry, read) = match next {
            Some(Ok(next)) => next,
            Some(Err(error)) => {
                // Report the failed read, not a failure to save: without this checkpoint, an older one remains.
                let _ = lines.output.save(counts);
                return Err(error.context(format!("the export is not complete; {RESUME}")));
            }
            None => break,
        };
        has_read |= read.shows_access();
        waiting.push((entry, read));
        if has_read {
            waiting.drain(..).try_for_each(|(entry, read)| lines.add(entry, read, counts))?;
            progress.update(counts.total());
        }
    }
    if let Some(denied) = waiting.iter_mut().find_map(|(_, read)| read.take_denial()) {
        let _ = lines.output.save(counts); // as after a failed read
        return Err(denied.context(format!("no object can be read, so the export is not complete; {RESUME}")));
    }
    waiting.into_iter().try_for_each(|(entry, read)| lines.add(entry, read, counts))?;
    progress.finish();
    lines.output.finish(counts)?;
    Ok(Completion::Complete)
}

struct Lines<'a, F> {
    format: &'a LineFormat<F>,
    output: LineOutput,
    seen: HashSet<LineHash>,
}

impl<F: Fn(&[u8]) -> ExportLine> Lines<'_, F> {
    fn add(&mut self, entry: ListingEntry, read: ReadTrace, counts: &mut ExportCounts) -> Result<()> {
        match read {
            ReadTrace::Trace(trace) => match (self.format.line)(&trace) {
                ExportLine::Write(line) if !self.format.dedupe || self.seen.insert(hash(&line)) => {
                    self.output.write(&line)?;
                    counts.exported += 1;
                }
                ExportLine::Write(_) | ExportLine::LeftOut => counts.left_out += 1,
                ExportLine::Refused(reason) => *counts.refused.entry(reason).or_default() += 1,
            },
            ReadTrace::LeftOut => counts.left_out += 1,
            ReadTrace::NotATrace => counts.add_not_a_trace(&entry.key),
            ReadTrace::Deleted => counts.deleted += 1,
            ReadTrace::Unreadable(reason, _) => counts.add_unreadable(&entry.key, reason),
        }
        self.output.processed(entry.key, counts)
    }
}

/// Exits on a signal, even while a write blocks because nothing reads the stream. There is no state to save.
fn exit_on_stop() {
    tokio::spawn(async {
        stop_signal().await;
        note!("\nstopped: the output is not complete");
        process::exit(2);
    });
}

fn hash(line: &[u8]) -> LineHash {
    *Sha256::digest(line).first_chunk().expect("a SHA-256 has 32 bytes")
}
