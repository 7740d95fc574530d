//! Reads a file's lines with their numbers and marks, in bounded memory.

use std::{
    io::{BufRead, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};
use attest::trace;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tempfile::SpooledTempFile;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use super::{
    checkpoint::{self, Mark},
    input::InputFile,
    rejected,
};

/// The longest line that is sent, in bytes.
pub const MAX_LINE: usize = trace::MAX_BYTES;

/// The maximum amount of text in memory, in KiB, whatever the number of requests in flight.
const ROOM_KIB: usize = 24 * 1024;

/// The maximum number of lines that are read ahead.
const AHEAD: usize = 256;

pub struct Line {
    /// The line number, starting at 1. Blank lines also count.
    pub number: u64,
    pub mark: Mark,
    pub text: LineText,
    pub attempts: u32,
    /// The offset of the text among the deferred lines, if the line has failed before.
    pub offset: Option<u64>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Line {
    fn new(number: u64, mark: Mark, text: LineText, room: Option<OwnedSemaphorePermit>) -> Self {
        Self { number, mark, text, attempts: 0, offset: None, _room: room }
    }

    pub fn len(&self) -> usize {
        if let LineText::Whole(text) = &self.text { text.len() } else { 0 }
    }

    /// Returns a line that has failed before.
    pub fn again(number: u64, mark: Mark, text: Bytes, attempts: u32, offset: u64) -> Self {
        Self { number, mark, text: LineText::Whole(text), attempts, offset: Some(offset), _room: None }
    }
}

/// The bytes of a line, without the line break.
pub enum LineText {
    Whole(Bytes),
    /// A line over [`MAX_LINE`], in a temporary file.
    Long(SpooledTempFile),
    /// A line over [`MAX_LINE`] that is not kept: in a dry run, or if it exceeds the limit for rejected lines.
    Dropped,
    /// A line that the checkpoint records as confirmed.
    Confirmed,
}

/// Starts a thread that reads the lines of a file until the first error.
///
/// The thread does not belong to the runtime, because the runtime waits for its threads, and a read from standard
/// input may never return.
pub fn read(file: InputFile, confirmed: checkpoint::CheckpointReader, keep_long: bool) -> mpsc::Receiver<Result<Line>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let runtime = Handle::current();
    thread::spawn(move || {
        let result = file.open().and_then(|text| {
            LineReader { text, keep_long, bytes: 0, read: Arc::clone(&file.read) }.run(confirmed, &sender, &runtime)
        });
        if let Err(error) = result {
            let _ = sender.blocking_send(Err(error));
        }
    });
    receiver
}

struct LineReader {
    text: Box<dyn BufRead + Send>,
    keep_long: bool,
    /// The number of bytes in the lines so far, after decompression.
    bytes: u64,
    /// The number of bytes read from the file, before decompression.
    read: Arc<AtomicU64>,
}

impl LineReader {
    fn run(
        mut self,
        mut confirmed: checkpoint::CheckpointReader,
        sender: &mpsc::Sender<Result<Line>>,
        runtime: &Handle,
    ) -> Result<()> {
        let room = Arc::new(Semaphore::new(ROOM_KIB));
        let mut buffer = Vec::new();
        for number in 1.. {
            buffer.clear();
            let part = self.text.by_ref().take(MAX_LINE as u64 + 2).read_until(b'\n', &mut buffer);
            part.with_context(|| {
                format!(
                    "it cannot be read after line {} (byte {} of its text), so it may be cut off",
                    number - 1,
                    self.bytes
                )
            })?;
            self.bytes += buffer.len() as u64;
            if buffer.is_empty() {
                break;
            }
            let was_confirmed = confirmed.next().context("cannot read its checkpoint")?;
            let is_whole = buffer.ends_with(b"\n") || buffer.len() <= MAX_LINE;
            let line = if is_whole {
                let text = buffer.strip_suffix(b"\n").unwrap_or(&buffer);
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                if text.trim_ascii().is_empty() {
                    continue;
                }
                let mark = Mark::of(Sha256::digest(text).into());
                if was_confirmed == Some(mark) {
                    Line::new(number, mark, LineText::Confirmed, None)
                } else {
                    let kib = u32::try_from(text.len() / 1024 + 1).expect("a line has at most 10 MiB");
                    let room = runtime
                        .block_on(Arc::clone(&room).acquire_many_owned(kib))
                        .expect("the semaphore is never closed");
                    Line::new(number, mark, LineText::Whole(Bytes::copy_from_slice(text)), Some(room))
                }
            } else {
                let (mark, text) = self.long_line(&buffer)?;
                Line::new(number, mark, text, None)
            };
            if sender.blocking_send(Ok(line)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Reads the rest of a long line, and copies it to a temporary file if the line is kept.
    fn long_line(&mut self, start: &[u8]) -> Result<(Mark, LineText)> {
        let mut file = self.keep_long.then(|| tempfile::spooled_tempfile(0));
        let mut digest = Sha256::new();
        let (mut size, read) = (0, Arc::clone(&self.read));
        let mut write = |bytes: &[u8]| {
            digest.update(bytes);
            size += bytes.len() as u64;
            file = file.take().filter(|_| size <= rejected::limit(read.load(Ordering::Relaxed)));
            file.as_mut().map_or(Ok(()), |file| file.write_all(bytes)).context("cannot write a temporary file")
        };
        write(start)?;
        loop {
            let bytes = self.text.fill_buf().context("cannot read it")?;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let length = end.unwrap_or(bytes.len());
            write(&bytes[..length])?;
            self.bytes += (length + usize::from(end.is_some())) as u64;
            let is_last = end.is_some() || bytes.is_empty();
            self.text.consume(length + usize::from(end.is_some()));
            if is_last {
                return Ok((Mark::of(digest.finalize().into()), file.map_or(LineText::Dropped, LineText::Long)));
            }
        }
    }
}
