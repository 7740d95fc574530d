//! Records the confirmed lines of a file, so that the next run does not send them again.
//!
//! A checkpoint starts with two lines of text: its format and the [`Identity`] of the import. One record per imported
//! line follows, at an offset that depends on the line's number. A record is the first 16 bytes of a confirmed line's
//! SHA-256, or zeros, and is written after the response. It identifies the confirmed bytes, so a line that was changed,
//! inserted or moved is sent again. A line is also sent again if a crash tore its record. Only one record is in memory
//! at a time, regardless of the file size.

use std::{
    collections::HashSet,
    fmt,
    fs::{self, File},
    io::{self, BufReader, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use local_aws::files::open_own;
use uuid::Uuid;

use super::identity::{Destination, Identity};

const RECORD: usize = 16;

/// The first line of a checkpoint.
const FORMAT: &str = "attest import checkpoint 3\n";

/// The maximum length of an identity, in bytes.
const LONGEST_IDENTITY: u64 = 64 * 1024;

/// The largest number of records that are compared in one pass. Each record needs about 100 bytes of memory.
const COMPARED: u64 = 256 * 1024;

/// Identifies a line by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark([u8; RECORD]);

impl Mark {
    pub fn of(digest: [u8; 32]) -> Self {
        Self(*digest.first_chunk().expect("a SHA-256 has 32 bytes"))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).fmt(f)
    }
}

pub struct Checkpoint {
    file: File,
    /// `None` for a temporary checkpoint.
    path: Option<PathBuf>,
    /// Offset of the first record, in bytes.
    records: u64,
    /// The import's identity, while the id of the endpoint's store is unknown.
    unidentified: Mutex<Option<Identity>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    New,
    Resumed,
    /// The destination of the earlier run is gone, or another one has taken its name. The records were discarded.
    DestinationGone,
}

impl Checkpoint {
    /// Opens or creates the checkpoint at `path`. Fails if the file is not a checkpoint of this import, and does not
    /// change it.
    pub fn open(path: &Path, identity: &Identity) -> Result<(Self, Opened)> {
        let shown = path.display();
        let failed = || format!("cannot write the checkpoint {shown} (choose another folder for it with --state)");
        let open = open_own(File::options().read(true).write(true).create(true).mode(0o600), path);
        let file = open.with_context(failed)?;
        let header = header(identity);
        let mut opened = Opened::New;

        let mut found = Vec::new();
        (&file).take(FORMAT.len() as u64 + LONGEST_IDENTITY).read_to_end(&mut found).with_context(failed)?;
        // A crash may have torn the header, in which case there are no records.
        let is_torn = found.len() >= FORMAT.len() && header.as_bytes().starts_with(&found);
        if !found.is_empty() && !is_torn {
            let Some(earlier) = parse_header(&found) else {
                bail!("{shown} is not a checkpoint of an import: move it away, or choose another folder with --state");
            };
            let has_records = has_records(&found);
            if has_records && !earlier.is_same_import(identity) {
                bail!(
                    "{shown} belongs to an import {earlier}, and this one is {identity}: \
                     delete it, or choose another folder with --state. In both cases, no trace is stored twice"
                );
            }
            if earlier == *identity {
                opened = Opened::Resumed;
            } else if has_records {
                opened = Opened::DestinationGone;
            }
        }
        if opened != Opened::Resumed {
            file.set_len(0).with_context(failed)?;
            file.write_all_at(header.as_bytes(), 0).with_context(failed)?;
        }
        // While the store is unknown, the records may belong to a different store than later confirmations.
        let unidentified = (opened != Opened::Resumed && !identity.destination.has_store()).then(|| identity.clone());
        let records = header.len() as u64;
        Ok((Self { file, path: Some(path.to_owned()), records, unidentified: Mutex::new(unidentified) }, opened))
    }

    /// Returns whether the records at `path` were confirmed by an endpoint that reported the id of its store.
    pub fn has_records_of_a_store(path: &Path) -> bool {
        let mut found = Vec::new();
        let read = open_own(File::options().read(true), path)
            .and_then(|file| file.take(FORMAT.len() as u64 + LONGEST_IDENTITY).read_to_end(&mut found));
        read.is_ok()
            && has_records(&found)
            && parse_header(&found).is_some_and(|identity| identity.destination.has_store())
    }

    /// Records the id of the endpoint's store, before the first line is confirmed.
    pub fn identify(&self, store: Uuid) -> io::Result<()> {
        let mut unidentified = self.unidentified.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Identity { destination: Destination::Endpoint { url, .. }, file, from }) = unidentified.take() else {
            return Ok(());
        };
        let identity = Identity { destination: Destination::endpoint(url, Some(store)), file, from };
        self.file.write_all_at(header(&identity).as_bytes(), 0)
    }

    pub fn temporary() -> Result<Self> {
        Ok(Self {
            file: tempfile::tempfile().context("cannot write a temporary file")?,
            path: None,
            records: 0,
            unidentified: Mutex::default(),
        })
    }

    /// Reads the marks that earlier runs confirmed, in line order.
    pub fn reader(&self) -> io::Result<CheckpointReader> {
        Ok(CheckpointReader {
            file: Some(BufReader::new(Positioned { file: self.file.try_clone()?, at: self.records })),
        })
    }

    /// Records that line `number`, counted from 1, is confirmed.
    pub fn confirm(&self, number: u64, mark: Mark) -> io::Result<()> {
        self.file.write_all_at(&mark.0, self.records + (number - 1) * RECORD as u64)
    }

    /// Counts the confirmed lines among the first `lines` that are equal to an earlier line.
    pub fn repeated(&self, lines: u64) -> io::Result<u64> {
        let parts = lines / COMPARED + 1;
        let mut repeated = 0;
        for part in 0..parts {
            let mut seen = HashSet::new();
            let mut records = self.reader()?;
            for _ in 0..lines {
                let Some(mark) = records.next()? else { break };
                let place = u64::from_le_bytes(*mark.0.first_chunk().expect("a mark has 16 bytes"));
                if mark.0 != [0; RECORD] && place % parts == part && !seen.insert(mark) {
                    repeated += 1;
                }
            }
        }
        Ok(repeated)
    }

    /// Syncs the records, so that they survive a system crash. Deletes the file if it has no records.
    pub fn finish(&self) -> io::Result<()> {
        match &self.path {
            Some(path) if self.file.metadata()?.len() <= self.records => fs::remove_file(path),
            _ => self.file.sync_data(),
        }
    }
}

fn header(identity: &Identity) -> String {
    format!("{FORMAT}{}\n", serde_json::to_string(identity).expect("strings serialize to JSON"))
}

/// Returns whether a record follows the header. Without one, nothing was confirmed, for example because the URL was
/// mistyped.
fn has_records(found: &[u8]) -> bool {
    found.splitn(3, |byte| *byte == b'\n').nth(2).is_some_and(|records| !records.is_empty())
}

fn parse_header(found: &[u8]) -> Option<Identity> {
    let identity = found.strip_prefix(FORMAT.as_bytes())?;
    let end = identity.iter().position(|byte| *byte == b'\n')?;
    serde_json::from_slice(&identity[..end]).ok()
}

/// Reads a checkpoint's records in line order.
pub struct CheckpointReader {
    file: Option<BufReader<Positioned>>,
}

impl CheckpointReader {
    pub fn none() -> Self {
        Self { file: None }
    }

    /// Returns the record of the next line, or `None` after the last one.
    pub fn next(&mut self) -> io::Result<Option<Mark>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut record = [0; RECORD];
        match file.read_exact(&mut record) {
            Ok(()) => Ok(Some(Mark(record))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.file = None;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A file with its own read position. Clones of a `File` share one position.
struct Positioned {
    file: File,
    at: u64,
}

impl Read for Positioned {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
