//! Records the confirmed lines of a file, so that the next run does not send them again.
//!
//! A checkpoint begins with two lines of text: its format and the [`Identity`] of the import. A record per line follows, at an
//! offset given by the line's number: the first 16 bytes of the SHA-256 of a confirmed line, or zeros. A record is written
//! after the answer. It identifies the confirmed bytes, so a line that was changed, inserted or moved is sent again. So is a
//! line whose record was torn by a crash. Only one record is in memory, whatever the size of the file.

use std::{
    collections::HashSet,
    fmt,
    fs::{self, File},
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use uuid::Uuid;

use super::identity::Identity;

const RECORD: usize = 16;

/// The first line of a checkpoint.
const FORMAT: &str = "attest import checkpoint 2\n";

/// The longest identity that is read, in bytes.
const LONGEST_IDENTITY: u64 = 64 * 1024;

/// The largest number of records that are compared at once; each needs about 100 bytes of memory.
const COMPARED: u64 = 256 * 1024;

/// Identifies a line by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark([u8; RECORD]);

impl Mark {
    pub fn of(digest: [u8; 32]) -> Self {
        Self(*digest.first_chunk().expect("16 are less than 32"))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).fmt(f)
    }
}

/// The checkpoint of one import.
pub struct Checkpoint {
    file: File,
    /// `None` for a checkpoint that ends with the run.
    path: Option<PathBuf>,
    /// Offset of the first record, in bytes.
    records: u64,
}

/// The state of a checkpoint when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    New,
    Resumed,
    /// The folder of the earlier run is gone, so the records were discarded.
    DestinationGone,
}

impl Checkpoint {
    /// Opens or creates the checkpoint at `path`. A file that is not a checkpoint of this import is refused and not changed.
    pub fn open(path: &Path, identity: &Identity) -> Result<(Self, Opened)> {
        let shown = path.display();
        let failed = || format!("cannot write the checkpoint {shown} (--state names another folder for it)");
        let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = open.with_context(failed)?;
        let json = serde_json::to_string(identity).expect("texts are JSON");
        let header = format!("{FORMAT}{json}\n");
        let mut opened = Opened::New;

        let mut found = Vec::new();
        (&file).take(FORMAT.len() as u64 + LONGEST_IDENTITY).read_to_end(&mut found).with_context(failed)?;
        // A crash may have torn the header, in which case there are no records.
        let is_torn = found.len() >= FORMAT.len() && header.as_bytes().starts_with(&found);
        if !found.is_empty() && !is_torn {
            let Some(earlier) = parse_header(&found) else {
                bail!("{shown} is not a checkpoint of an import: move it away, or name another folder with --state");
            };
            // Without a record, nothing was confirmed, for example because the URL was mistyped.
            let header = found.splitn(3, |byte| *byte == b'\n');
            let has_records = header.last().is_some_and(|records| !records.is_empty());
            if has_records && !earlier.is_same_import(identity) {
                bail!(
                    "{shown} belongs to an import {earlier}, and this one is {identity}: \
                     delete it, or name another folder with --state. No trace is stored twice either way"
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
        Ok((Self { file, path: Some(path.to_owned()), records: header.len() as u64 }, opened))
    }

    /// Creates a checkpoint that ends with this run.
    pub fn temporary() -> Result<Self> {
        Ok(Self { file: tempfile::tempfile().context("cannot write a temporary file")?, path: None, records: 0 })
    }

    /// Reads the marks that earlier runs confirmed, in the order of the lines.
    pub fn reader(&self) -> io::Result<Reader> {
        Ok(Reader { file: Some(BufReader::new(Positioned { file: self.file.try_clone()?, at: self.records })) })
    }

    /// Records that the line of this number, from 1, is confirmed.
    pub fn confirm(&self, number: u64, mark: Mark) -> io::Result<()> {
        self.file.write_all_at(&mark.0, self.records + (number - 1) * RECORD as u64)
    }

    /// Counts the confirmed lines, of the first `lines`, that are equal to an earlier one.
    pub fn repeated(&self, lines: u64) -> io::Result<u64> {
        let parts = lines / COMPARED + 1;
        let mut repeated = 0;
        for part in 0..parts {
            let mut seen = HashSet::new();
            let mut records = self.reader()?;
            for _ in 0..lines {
                let Some(mark) = records.next()? else { break };
                let place = u64::from_le_bytes(*mark.0.first_chunk().expect("8 are less than 16"));
                if mark.0 != [0; RECORD] && place % parts == part && !seen.insert(mark) {
                    repeated += 1;
                }
            }
        }
        Ok(repeated)
    }

    /// Writes the records to disk, so that they survive a crash of the machine. Without records, the file is deleted.
    pub fn finish(&self) -> io::Result<()> {
        match &self.path {
            Some(path) if self.file.metadata()?.len() <= self.records => fs::remove_file(path),
            _ => self.file.sync_data(),
        }
    }
}

fn parse_header(found: &[u8]) -> Option<Identity> {
    let identity = found.strip_prefix(FORMAT.as_bytes())?;
    let end = identity.iter().position(|byte| *byte == b'\n')?;
    serde_json::from_slice(&identity[..end]).ok()
}

/// Reads the records of a checkpoint in the order of the lines.
pub struct Reader {
    file: Option<BufReader<Positioned>>,
}

impl Reader {
    /// A reader of no records.
    pub fn none() -> Self {
        Self { file: None }
    }

    /// Returns the record of the next line; `None` behind the last.
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

/// A file that is read from its own position, because clones of a file share theirs.
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
