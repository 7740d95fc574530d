//! Traces → a file of lines, which goes on after an interruption without a gap or a double.
//!
//! The lines are in the order of the keys. While the export runs they are in `FILE.part`, and `FILE.part.checkpoint` says up to
//! which key and byte they are safe on the disk. The next run cuts the file there and goes on behind that key. Compressed files
//! have a frame per checkpoint; frames one behind the other are one file (RFC 1952, 2.2; RFC 8878, 3.1).

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    pin::Pin,
    time::{Duration, Instant},
};

use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::{Counts, End, Format, Options, read};
use crate::{progress::Progress, storage::TraceReader as Source};

/// How often the lines are made safe.
const CHECKPOINT: Duration = Duration::from_secs(2);

/// What was made safe so far.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Checkpoint {
    /// What is exported: another export must not go on from here.
    of: String,
    /// The last key whose line is in the file.
    key: Option<String>,
    /// The file's length then.
    bytes: u64,
    counts: Counts,
}

/// Exports until all is done, or `stop` is ready.
pub async fn export(
    options: &Options,
    source: &Source,
    counts: &mut Counts,
    mut progress: Progress,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<End, String> {
    let failed = |error: io::Error| format!("{}: {error}", options.output.display());
    let of = format!(
        "{} {:?} {:?} {:?} {:?}",
        source.identity(),
        options.selection,
        options.model,
        options.format,
        options.tuning
    );
    let mut output = Output::open(&options.output, &of).map_err(failed)?;
    *counts = output.checkpoint.counts.clone();
    let mut seen = HashSet::new();
    if options.tuning.dedupe {
        seen = output.hashes().map_err(failed)?;
    }
    let entries =
        source.list(options.selection.times(), output.checkpoint.key.clone()).map_err(|error| format!("{error:#}"));
    let mut reads = std::pin::pin!(read(options, source, entries));
    loop {
        let next = tokio::select! {
            biased;
            () = &mut stop => {
                output.save(counts).map_err(failed)?;
                return Ok(End::Interrupted);
            }
            next = reads.next() => next,
        };
        let (entry, read) = match next {
            Some(Ok(next)) => next,
            Some(Err(error)) => {
                output.save(counts).map_err(failed)?;
                return Err(error);
            }
            None => break,
        };
        if let Some(trace) = counts.trace_of(&entry, read) {
            let line = match options.format {
                Format::Openai => options.tuning.example(&trace),
                _ => Some(one_line(&trace)),
            };
            match line.filter(|line| !options.tuning.dedupe || seen.insert(hash(line))) {
                Some(line) => {
                    output.write(&line).map_err(failed)?;
                    counts.exported += 1;
                }
                None => counts.left_out += 1,
            }
        }
        output.done(entry.key, counts).map_err(failed)?;
        progress.update(counts.all());
    }
    progress.finish();
    output.finish().map_err(failed)?;
    Ok(End::Done)
}

/// The trace without the line breaks between its tokens. JSON has none within them (RFC 8259, 7).
fn one_line(trace: &[u8]) -> Vec<u8> {
    trace.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect()
}

/// What tells equal lines: 16 bytes of their SHA-256.
fn hash(line: &[u8]) -> [u8; 16] {
    *Sha256::digest(line).first_chunk().expect("16 are less than 32")
}

/// The file that is written.
struct Output {
    path: PathBuf,
    checkpoint: Checkpoint,
    encoder: Option<Encoder>,
    saved: Instant,
}

/// What compresses, by the file's name; standard output has no checkpoint.
enum Encoder {
    Stdout(BufWriter<io::Stdout>),
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Encoder {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Stdout(writer) => writer,
            Self::Plain(writer) => writer,
            Self::Gzip(writer) => writer,
            Self::Zstd(writer) => writer,
        }
    }

    /// Ends the frame, and brings it to the disk. Gives the file's length.
    fn finish(self) -> io::Result<u64> {
        let writer = match self {
            Self::Stdout(mut writer) => return writer.flush().map(|()| 0),
            Self::Plain(writer) => writer,
            Self::Gzip(writer) => writer.finish()?,
            Self::Zstd(writer) => writer.finish()?,
        };
        let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_data()?;
        file.stream_position()
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(suffix);
    path.into()
}

impl Output {
    /// Goes on where an earlier run of this export stopped, or begins.
    fn open(path: &Path, of: &str) -> io::Result<Self> {
        let (path, saved) = (path.to_owned(), Instant::now());
        let mut checkpoint = Checkpoint { of: of.to_owned(), ..Checkpoint::default() };
        if path == Path::new("-") {
            return Ok(Self { path, checkpoint, encoder: None, saved });
        }
        let refused = |why| Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        if path.exists() {
            return refused("it is there already: delete it, or name another file");
        }
        if let Ok(json) = fs::read(with_suffix(&path, ".part.checkpoint")) {
            checkpoint = serde_json::from_slice(&json)?;
            if checkpoint.of != of {
                return refused("FILE.part is of an export with other options: delete it, or name another file");
            }
        }
        let part = File::options().create(true).write(true).truncate(false).open(with_suffix(&path, ".part"))?;
        if part.metadata()?.len() < checkpoint.bytes {
            return refused("FILE.part is shorter than its checkpoint says: delete both");
        }
        part.set_len(checkpoint.bytes)?;
        Ok(Self { path, checkpoint, encoder: None, saved })
    }

    /// The hashes of the lines that are written already.
    fn hashes(&self) -> io::Result<HashSet<[u8; 16]>> {
        if self.path == Path::new("-") {
            return Ok(HashSet::new());
        }
        let part = BufReader::new(File::open(with_suffix(&self.path, ".part"))?);
        let part: Box<dyn io::Read> = match self.path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Box::new(MultiGzDecoder::new(part)),
            Some("zst") => Box::new(zstd::Decoder::with_buffer(part)?),
            _ => Box::new(part),
        };
        let lines = BufReader::new(part).split(b'\n');
        lines.map(|line| Ok(hash(&line?))).collect()
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => {
                let encoder = if self.path == Path::new("-") {
                    Encoder::Stdout(BufWriter::new(io::stdout()))
                } else {
                    let mut part = File::options().write(true).open(with_suffix(&self.path, ".part"))?;
                    part.seek(SeekFrom::End(0))?;
                    let part = BufWriter::with_capacity(1 << 16, part);
                    match self.path.extension().and_then(|extension| extension.to_str()) {
                        Some("gz") => Encoder::Gzip(GzEncoder::new(part, Compression::default())),
                        Some("zst") => Encoder::Zstd(zstd::Encoder::new(part, zstd::DEFAULT_COMPRESSION_LEVEL)?),
                        _ => Encoder::Plain(part),
                    }
                };
                none.insert(encoder)
            }
        };
        encoder.writer().write_all(line)?;
        encoder.writer().write_all(b"\n")
    }

    /// All up to this key is written; makes it safe if it is time.
    fn done(&mut self, key: String, counts: &Counts) -> io::Result<()> {
        self.checkpoint.key = Some(key);
        if self.saved.elapsed() >= CHECKPOINT { self.save(counts) } else { Ok(()) }
    }

    fn save(&mut self, counts: &Counts) -> io::Result<()> {
        self.saved = Instant::now();
        if let Some(encoder) = self.encoder.take() {
            self.checkpoint.bytes = encoder.finish()?;
        }
        if self.path == Path::new("-") {
            return Ok(());
        }
        self.checkpoint.counts = counts.clone();
        save(&with_suffix(&self.path, ".part.checkpoint"), &self.checkpoint)
    }

    /// Gives the file its name.
    fn finish(mut self) -> io::Result<()> {
        if let Some(encoder) = self.encoder.take() {
            encoder.finish()?;
        }
        if self.path == Path::new("-") {
            return Ok(());
        }
        fs::rename(with_suffix(&self.path, ".part"), &self.path)?;
        match fs::remove_file(with_suffix(&self.path, ".part.checkpoint")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Replaces a file of state in one step.
pub fn save(path: &Path, state: &impl Serialize) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, state)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
