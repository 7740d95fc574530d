//! A file → its lines: decompressed, counted, and never more of them in memory than there is room for.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};
use tempfile::SpooledTempFile;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use super::checkpoint::{self, Mark};

/// The longest line that is sent, in bytes: API Gateway takes no larger request.
pub const MAX_LINE: usize = 10 * 1024 * 1024;

/// How much of the lines is in memory at once, in KiB, however many requests are under way.
const ROOM_KIB: usize = 24 * 1024;

/// How many lines wait for their turn.
const WAITING: usize = 256;

/// A line of a file.
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// What the checkpoint says of it once it is confirmed.
    pub mark: Mark,
    pub text: Text,
    _room: Option<OwnedSemaphorePermit>,
}

/// The bytes of a line, without the line break.
pub enum Text {
    Whole(Bytes),
    /// A line over [`MAX_LINE`], in a temporary file.
    Long(SpooledTempFile),
    /// The checkpoint says that it is confirmed.
    Confirmed,
}

/// Where lines come from; `-` is standard input.
#[derive(Debug, Clone)]
pub struct Source {
    pub path: PathBuf,
    /// How many bytes of the file were read so far, as it lies on the disk.
    pub read: Arc<AtomicU64>,
}

impl Source {
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: Arc::default() }
    }

    pub fn is_stdin(&self) -> bool {
        self.path == Path::new("-")
    }

    /// Starts to read the lines; an empty one, or one of white space, is none. An error ends them.
    pub fn lines(&self, confirmed: checkpoint::Reader) -> io::Result<mpsc::Receiver<io::Result<Line>>> {
        let text = self.open()?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read(text, confirmed, &sender, &runtime) {
                let _ = sender.blocking_send(Err(error));
            }
        });
        Ok(receiver)
    }

    /// Opens the text; by its first bytes it is gzip (RFC 1952), zstd (RFC 8878) or plain.
    fn open(&self) -> io::Result<Box<dyn BufRead + Send>> {
        let input: Box<dyn Read + Send> =
            if self.is_stdin() { Box::new(io::stdin()) } else { Box::new(File::open(&self.path)?) };
        let mut input = Counted { input, read: Arc::clone(&self.read) };
        let mut magic = Vec::new();
        input.by_ref().take(4).read_to_end(&mut magic)?;
        let kind = magic.clone();
        let input = BufReader::with_capacity(128 * 1024, Cursor::new(magic).chain(input));
        Ok(match kind[..] {
            [0x1f, 0x8b, ..] => Box::new(BufReader::with_capacity(128 * 1024, MultiGzDecoder::new(input))),
            [0x28, 0xb5, 0x2f, 0xfd] => {
                Box::new(BufReader::with_capacity(128 * 1024, zstd::Decoder::with_buffer(input)?))
            }
            _ => Box::new(input),
        })
    }
}

struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

fn read(
    mut input: Box<dyn BufRead + Send>,
    mut confirmed: checkpoint::Reader,
    sender: &mpsc::Sender<io::Result<Line>>,
    runtime: &Handle,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(ROOM_KIB));
    let mut buffer = Vec::new();
    for number in 1.. {
        buffer.clear();
        input.by_ref().take(MAX_LINE as u64 + 2).read_until(b'\n', &mut buffer)?;
        if buffer.is_empty() {
            break;
        }
        let was_confirmed = confirmed.next()?;
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
            let (mark, text) = spool(&buffer, &mut input)?;
            Line { number, mark, text: Text::Long(text), _room: None }
        };
        if sender.blocking_send(Ok(line)).is_err() {
            break;
        }
    }
    Ok(())
}

/// Copies a long line into a temporary file.
fn spool(start: &[u8], input: &mut Box<dyn BufRead + Send>) -> io::Result<(Mark, SpooledTempFile)> {
    let mut file = tempfile::spooled_tempfile(0);
    let mut digest = Sha256::new();
    let mut write = |bytes: &[u8]| {
        digest.update(bytes);
        file.write_all(bytes)
    };
    write(start)?;
    loop {
        let bytes = input.fill_buf()?;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let length = end.unwrap_or(bytes.len());
        write(&bytes[..length])?;
        let is_last = end.is_some() || bytes.is_empty();
        input.consume(length + usize::from(end.is_some()));
        if is_last {
            return Ok((Mark::of(digest.finalize().into()), file));
        }
    }
}
