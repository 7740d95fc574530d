//! Writes one line per trace, in the order of the keys.

use std::{collections::HashSet, path::Path, pin::Pin, process, sync::Arc};

use anyhow::Result;
use attest_terminal::{note, shutdown::stop_signal};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use super::{
    completion::{Completion, RESUME},
    counts::ExportCounts,
    line_output::LineOutput,
    traces::{ReadOptions, ReadTrace},
};
use crate::progress::Progress;

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
    let mut output = LineOutput::open(output, &format.name, &traces).await?;
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
    loop {
        let next = tokio::select! {
            biased;
            () = &mut stop => {
                output.save(counts)?;
                return Ok(Completion::Interrupted);
            }
            next = reads.next() => next,
        };
        let (entry, read) = match next {
            Some(Ok(next)) => next,
            Some(Err(error)) => {
                // Report the failed read, not a failure to save: without this checkpoint, an older one remains.
                let _ = output.save(counts);
                return Err(error.context(format!("the export is not complete; {RESUME}")));
            }
            None => break,
        };
        match read {
            ReadTrace::Trace(trace) => match (format.line)(&trace) {
                ExportLine::Write(line) if !format.dedupe || seen.insert(hash(&line)) => {
                    output.write(&line)?;
                    counts.exported += 1;
                }
                ExportLine::Write(_) | ExportLine::LeftOut => counts.left_out += 1,
                ExportLine::Refused(reason) => *counts.refused.entry(reason).or_default() += 1,
            },
            ReadTrace::LeftOut => counts.left_out += 1,
            ReadTrace::NotATrace => counts.add_not_a_trace(&entry.key),
            ReadTrace::Deleted => counts.deleted += 1,
        }
        output.processed(entry.key, counts)?;
        progress.update(counts.total());
    }
    progress.finish();
    output.finish(counts)?;
    Ok(Completion::Complete)
}

/// Exits on a signal, even while a write blocks because nothing reads the stream. There is no state to save.
fn exit_on_stop() {
    tokio::spawn(async {
        stop_signal().await;
        note!("\nstopped: the output is not complete");
        process::exit(2);
    });
}

/// Removes the line breaks between the tokens of a JSON text. JSON does not allow line breaks within a token (RFC 8259,
/// section 7).
pub fn one_line(json: &[u8]) -> Vec<u8> {
    json.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect()
}

fn hash(line: &[u8]) -> LineHash {
    *Sha256::digest(line).first_chunk().expect("a SHA-256 has 32 bytes")
}
