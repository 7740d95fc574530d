//! Opens the files to import.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use attest_storage::JsonLines;

/// A file from the command line; `-` is standard input.
#[derive(Debug, Clone)]
pub struct InputFile {
    pub path: PathBuf,
    /// Size of the file on disk; `None` for a stream, such as a pipe.
    pub size: Option<u64>,
    /// The number of bytes read from the file so far, before decompression.
    pub read: Arc<AtomicU64>,
}

impl InputFile {
    /// Checks that the file exists. If it is not a stream, also checks that it is JSON Lines. Writes nothing.
    pub fn check(path: &Path) -> Result<Self> {
        let mut file = Self { path: path.to_owned(), size: None, read: Arc::default() };
        if file.is_stdin() {
            return Ok(file);
        }
        let metadata = fs::metadata(path).context("cannot read it")?;
        if metadata.is_dir() {
            bail!("it is a folder: name the files in it");
        }
        if metadata.is_file() && !file.is_device() {
            file.open()?;
            file.size = Some(metadata.len());
            file.read.store(0, Ordering::Relaxed);
        }
        Ok(file)
    }

    fn is_stdin(&self) -> bool {
        self.path == Path::new("-")
    }

    /// Returns whether the path is a device or an open file, next to which no file can be created.
    fn is_device(&self) -> bool {
        self.path.starts_with("/dev") || self.path.starts_with("/proc")
    }

    pub fn is_stream(&self) -> bool {
        self.size.is_none()
    }

    /// Returns the base name for checkpoints and rejected lines. Streams may have paths such as `/dev/fd/63`.
    pub fn name(&self) -> &OsStr {
        if self.is_stdin() || self.path == Path::new("/dev/stdin") {
            return OsStr::new("stdin");
        }
        if self.is_device() {
            return OsStr::new("pipe");
        }
        self.path.file_name().unwrap_or(self.path.as_os_str())
    }

    /// Opens the decompressed text.
    pub fn open(&self) -> Result<Box<dyn BufRead + Send>> {
        let input: Box<dyn Read + Send> = if self.is_stdin() {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(&self.path).context("cannot read it")?)
        };
        Ok(JsonLines::open(input, &self.read)?.text)
    }
}
