//! Identifies an import, so that a checkpoint never serves another one.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use uuid::Uuid;

/// The file that identifies a folder of traces. No key has this path, because keys have no `~` in theirs.
const FOLDER_ID: &str = "~id";

/// The place where traces are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    Url(String),
    Bucket {
        name: String,
        region: Option<String>,
        /// URL of the S3 if it is not AWS's own.
        endpoint: Option<String>,
    },
    Folder {
        /// The canonical path.
        path: String,
        /// Tells the folder from a later one with the same path.
        id: String,
    },
}

impl Destination {
    /// Identifies the folder of traces at `path`, which is created if it does not exist.
    pub fn folder(path: &Path) -> Result<Self> {
        let failed = || format!("cannot store into {}", path.display());
        fs::create_dir_all(path).with_context(failed)?;
        let path = path.canonicalize().with_context(failed)?;
        let id = folder_id(&path).with_context(failed)?;
        Ok(Self::Folder { path: text(&path), id })
    }

    /// Whether this is the same place, although its contents may be gone.
    fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Folder { path, .. }, Self::Folder { path: other, .. }) => path == other,
            _ => self == other,
        }
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Bucket { name, .. } => write!(f, "the bucket {name}"),
            Self::Folder { path, .. } => write!(f, "the folder {path}"),
        }
    }
}

/// Returns a path as text. Bytes that are not UTF-8 are escaped, so that two paths never have the same text.
pub fn text(path: &Path) -> String {
    path.to_str().map_or_else(|| path.as_os_str().as_encoded_bytes().escape_ascii().to_string(), ToOwned::to_owned)
}

fn folder_id(folder: &Path) -> io::Result<String> {
    let path = folder.join(FOLDER_ID);
    loop {
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(text.trim().to_owned()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {
                let mut file = NamedTempFile::new_in(folder)?;
                writeln!(file, "{}", Uuid::new_v4())?;
                file.as_file().sync_all()?;
                match file.persist_noclobber(&path) {
                    Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => return Err(error.error),
                    _ => {} // this run or another one wrote it
                }
            }
        }
    }
}

/// Everything that decides what a confirmed line means. How fast lines are sent, and the API key, do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The canonical path, if the checkpoint is not beside the file.
    pub file: Option<String>,
    pub destination: Destination,
    /// Format of the lines, if they are not traces.
    pub from: Option<String>,
}

impl Identity {
    /// Whether both identify the same import, although the destination's contents may be gone.
    pub fn is_same_import(&self, other: &Self) -> bool {
        self.file == other.file && self.from == other.from && self.destination.is_same_place(&other.destination)
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "of {file} ")?;
        }
        write!(f, "into {}", self.destination)?;
        self.from.as_ref().map_or(Ok(()), |from| write!(f, " with --from {from}"))
    }
}
