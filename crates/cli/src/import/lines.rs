//! Reads the lines of a file: counted, marked, and never more of them in memory than there is room for.

use std::{
    io::{BufRead, Read, Write},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result};
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
};

/// The longest line that is sent, in bytes: API Gateway accepts no larger request (Amazon API Gateway quotas, "Payload size").
pub const MAX_LINE: usize = 10 * 1024 * 1024;

/// The largest amount of text in memory, in KiB, for any number of requests in flight.
const ROOM_KIB: usize = 24 * 1024;

/// The largest number of lines that are read ahead.
const AHEAD: usize = 256;

/// A line of a file that is not blank.
pub struct Line {
    /// Its number, from 1. Blank lines are counted too.
    pub number: u64,
    /// Identifies the line by its bytes.
    pub mark: Mark,
    pub text: Text,
    _room: Option<OwnedSemaphorePermit>,
}

/// The bytes of a line, without the line break.
pub enum Text {
    Whole(Bytes),
    /// A line over [`MAX_LINE`], in a temporary file.
    Long(SpooledTempFile),
    /// A line over [`MAX_LINE`] that is not needed, because nothing is written.
    Dropped,
    /// A line that the checkpoint has as confirmed.
    Confirmed,
}

/// Starts to read a file's lines on a thread. An error ends them.
///
/// The thread is not the runtime's, because the runtime waits for its threads, and a read of standard input may never end.
pub fn read(file: InputFile, confirmed: checkpoint::Reader, keep_long: bool) -> mpsc::Receiver<Result<Line>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let runtime = Handle::current();
    thread::spawn(move || {
        let result = file.open().and_then(|text| Reader { text, keep_long }.run(confirmed, &sender, &runtime));
        if let Err(error) = result {
            let _ = sender.blocking_send(Err(error));
        }
    });
    receiver
}

struct Reader {
    text: Box<dyn BufRead + Send>,
    keep_long: bool,
}

impl Reader {
    fn run(
        mut self,
        mut confirmed: checkpoint::Reader,
        sender: &mpsc::Sender<Result<Line>>,
        runtime: &Handle,
    ) -> Result<()> {
        let room = Arc::new(Semaphore::new(ROOM_KIB));
        let mut buffer = Vec::new();
        for number in 1.. {
            buffer.clear();
            let part = self.text.by_ref().take(MAX_LINE as u64 + 2).read_until(b'\n', &mut buffer);
            part.context("cannot read it")?;
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
                    Line { number, mark, text: Text::Confirmed, _room: None }
                } else {
                    let kib = u32::try_from(text.len() / 1024 + 1).expect("a line has at most 10 MiB");
                    let room = runtime.block_on(Arc::clone(&room).acquire_many_owned(kib)).expect("it is never closed");
                    Line { number, mark, text: Text::Whole(Bytes::copy_from_slice(text)), _room: Some(room) }
                }
            } else {
                let (mark, text) = self.long_line(&buffer)?;
                Line { number, mark, text, _room: None }
            };
            if sender.blocking_send(Ok(line)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Reads the rest of a long line, and copies it to a temporary file if somebody needs it.
    fn long_line(&mut self, start: &[u8]) -> Result<(Mark, Text)> {
        let mut file = self.keep_long.then(|| tempfile::spooled_tempfile(0));
        let mut digest = Sha256::new();
        let mut write = |bytes: &[u8]| {
            digest.update(bytes);
            file.as_mut().map_or(Ok(()), |file| file.write_all(bytes)).context("cannot write a temporary file")
        };
        write(start)?;
        loop {
            let bytes = self.text.fill_buf().context("cannot read it")?;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let length = end.unwrap_or(bytes.len());
            write(&bytes[..length])?;
            let is_last = end.is_some() || bytes.is_empty();
            self.text.consume(length + usize::from(end.is_some()));
            if is_last {
                return Ok((Mark::of(digest.finalize().into()), file.map_or(Text::Dropped, Text::Long)));
            }
        }
    }
}
