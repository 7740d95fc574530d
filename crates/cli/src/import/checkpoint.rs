//! What is confirmed of a file, so that the next run does not ask again.
//!
//! A checkpoint is a header, which names the endpoint, and a record per line at a place that follows from the line's
//! number: 16 bytes of the SHA-256 of a line that was confirmed, else zeros. A record is written after the answer, and
//! says what it confirms: a line that was changed, inserted or moved since is asked again, and so is one whose record was
//! torn by a crash. No more than one record is in memory, whatever the file's size.

use std::{
    collections::HashSet,
    fmt,
    fs::{self, File},
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

use sha2::{Digest, Sha256};
use uuid::Uuid;

const BYTES: usize = 16;
const HEADER: usize = 32;

/// How many records are compared at once: some 100 bytes of memory each.
const COMPARED: u64 = 256 * 1024;

/// What names a line by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark([u8; BYTES]);

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

/// The checkpoint of one file and one endpoint.
pub struct Checkpoint {
    file: File,
}

impl Checkpoint {
    /// Opens the checkpoint in `path`, for what is sent to `target`. One that is for another target is begun anew.
    pub fn open(path: &Path, target: &str) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Self::begin(File::options().read(true).write(true).create(true).truncate(false).open(path)?, target)
    }

    /// A checkpoint that ends with this run.
    pub fn temporary() -> io::Result<Self> {
        Self::begin(tempfile::tempfile()?, "")
    }

    fn begin(file: File, target: &str) -> io::Result<Self> {
        let header: [u8; HEADER] = Sha256::digest(format!("attest checkpoint 1\n{target}")).into();
        let mut found = [0; HEADER];
        let is_ours = file.read_exact_at(&mut found, 0).is_ok() && found == header;
        if !is_ours {
            file.set_len(0)?;
            file.write_all_at(&header, 0)?;
        }
        Ok(Self { file })
    }

    /// What earlier runs confirmed, line by line.
    pub fn reader(&self) -> io::Result<Reader> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(HEADER as u64))?;
        Ok(Reader(Some(BufReader::new(file))))
    }

    /// Says that this line, of this number from 1, is confirmed.
    pub fn confirm(&self, number: u64, mark: Mark) -> io::Result<()> {
        self.file.write_all_at(&mark.0, HEADER as u64 + (number - 1) * BYTES as u64)
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
                if mark.0 != [0; BYTES] && place % parts == part && !seen.insert(mark) {
                    repeated += 1;
                }
            }
        }
        Ok(repeated)
    }

    /// Makes what was confirmed outlive a crash of the machine.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Reads the records of a checkpoint in the order of the lines.
pub struct Reader(Option<BufReader<File>>);

impl Reader {
    /// No records.
    pub fn none() -> Self {
        Self(None)
    }

    /// The next line's record, while there is one.
    pub fn next(&mut self) -> io::Result<Option<Mark>> {
        let Some(file) = &mut self.0 else { return Ok(None) };
        let mut record = [0; BYTES];
        match file.read_exact(&mut record) {
            Ok(()) => Ok(Some(Mark(record))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.0 = None;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
