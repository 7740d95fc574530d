//! Compression, chosen by file name. A compressed file may consist of several frames, because concatenated frames are
//! valid (RFC 1952, section 2.2; RFC 8878, section 3.1).

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write},
    path::Path,
};

use flate2::{bufread::MultiGzDecoder, write::GzEncoder};

/// The size of the write buffer in bytes.
const BUFFER: usize = 1 << 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Writes one frame at the end of a file, or to a stream.
pub enum FrameWriter<W: Write = File> {
    Plain(BufWriter<W>),
    Gzip(GzEncoder<BufWriter<W>>),
    Zstd(zstd::Encoder<'static, BufWriter<W>>),
}

impl Compression {
    /// Returns the compression for the file extension of `path`.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Self::Gzip,
            Some("zst") => Self::Zstd,
            _ => Self::None,
        }
    }

    /// Starts a frame at the current position of `file`.
    pub fn start_frame<W: Write>(self, file: W) -> io::Result<FrameWriter<W>> {
        let file = BufWriter::with_capacity(BUFFER, file);
        Ok(match self {
            Self::None => FrameWriter::Plain(file),
            Self::Gzip => FrameWriter::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Self::Zstd => FrameWriter::Zstd(zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?),
        })
    }

    /// Reads all frames of `file`.
    pub fn read(self, file: File) -> io::Result<impl BufRead> {
        let file = BufReader::new(file);
        let text: Box<dyn Read> = match self {
            Self::None => Box::new(file),
            Self::Gzip => Box::new(MultiGzDecoder::new(file)),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(file)?),
        };
        Ok(BufReader::new(text))
    }
}

impl<W: Write> FrameWriter<W> {
    pub fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let writer: &mut dyn Write = match self {
            Self::Plain(writer) => writer,
            Self::Gzip(writer) => writer,
            Self::Zstd(writer) => writer,
        };
        writer.write_all(line)?;
        writer.write_all(b"\n")
    }

    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(writer) => writer.flush(),
            Self::Gzip(writer) => writer.flush(),
            Self::Zstd(writer) => writer.flush(),
        }
    }

    pub fn end(self) -> io::Result<W> {
        let writer = match self {
            Self::Plain(writer) => writer,
            Self::Gzip(writer) => writer.finish()?,
            Self::Zstd(writer) => writer.finish()?,
        };
        let mut inner = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        inner.flush()?;
        Ok(inner)
    }
}

impl FrameWriter {
    /// Ends the frame and syncs the file. Returns the length of the file.
    pub fn finish(self) -> io::Result<u64> {
        let mut file = self.end()?;
        file.sync_data()?;
        file.stream_position()
    }
}
