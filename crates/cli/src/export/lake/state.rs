//! The state of a lake: which traces are in it, and how far an unfinished run is.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
    fs::{self, File},
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use uuid::Uuid;

use super::{
    super::{counts::ExportCounts, state_file},
    destination::{Destination, create_folder},
};
use crate::run_lock::RunLock;

/// The first 16 bytes of the SHA-256 of a key.
pub type KeyHash = [u8; 16];

/// The contents of `lake.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: StateFormat,
    /// Identifies the export. Only the same export may continue.
    export_id: String,
    /// The number of hashes in `recorded.keys` that are valid.
    recorded: u64,
    /// The file that was added last. If the lake does not have it, the state is not that of this lake.
    last_file: Option<String>,
    run: Option<Run>,
}

#[derive(Debug, Serialize, Deserialize)]
enum StateFormat {
    #[serde(rename = "attest export lake 1")]
    V1,
}

/// A run that has begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// A random UUID, the first part of file names.
    pub id: String,
    pub is_listed: bool,
    /// The days that have begun.
    pub days: BTreeMap<String, Day>,
    pub counts: ExportCounts,
}

/// The progress of one day.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Day {
    /// The number of processed keys of the day.
    pub keys: usize,
    /// The number of files they are in.
    pub files: u32,
}

/// The state folder of one export, locked for this run.
pub struct State {
    folder: PathBuf,
    saved: Saved,
    /// Whether the state is deleted at the end of this run.
    is_temporary: bool,
    _lock: RunLock,
    _temporary: Option<TempDir>,
}

impl State {
    /// Opens the state in `folder` for an export of the traces that `origin` describes.
    ///
    /// The default state of a folder is in the lake itself, below `.attest`, so it moves with the lake. A bucket has none.
    pub async fn open(folder: Option<PathBuf>, origin: &str, destination: &Destination) -> Result<Self> {
        let mut temporary = None;
        let mut export_id = format!("lake from {origin}");
        let folder = match (folder, destination) {
            (Some(folder), _) => {
                create_folder(&folder)?;
                let _ = write!(export_id, " to {}", destination.name());
                folder
            }
            (None, Destination::Folder(lake)) => {
                let folder = lake.join(".attest").join(Uuid::from_bytes(hash(&export_id)).to_string());
                fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
                folder
            }
            (None, Destination::Bucket { .. }) => {
                let folder = tempfile::tempdir().context("cannot create a temporary folder for the state")?;
                temporary.insert(folder).path().to_owned()
            }
        };
        let lock = RunLock::acquire(&folder.join("lake.lock"), &format!("the state {}", folder.display()))?;
        let path = folder.join("lake.json");
        let saved = match state_file::load::<Saved>(&path)? {
            Some(saved) => {
                let advice = format!("Choose another --state than {}", folder.display());
                state_file::check_owner(&path, &saved.export_id, &export_id, &advice)?;
                saved
            }
            None => {
                check_empty(&folder)?;
                let saved = Saved { format: StateFormat::V1, export_id, recorded: 0, last_file: None, run: None };
                state_file::save(&path, &saved)?;
                saved
            }
        };
        if let Some(file) = &saved.last_file
            && !destination.has(file).await
        {
            bail!(
                "the lake {} does not have {file}, which the state {} records: to export everything again, delete both",
                destination.name(),
                folder.display()
            );
        }
        let is_temporary = temporary.is_some();
        let state = Self { folder, saved, is_temporary, _lock: lock, _temporary: temporary };
        state.cut_recorded()?;
        Ok(state)
    }

    /// Returns whether no later run can continue from this state.
    pub fn is_temporary(&self) -> bool {
        self.is_temporary
    }

    /// Returns the id of the unfinished run, which the names of its files begin with.
    pub fn run_id(&self) -> Option<&str> {
        self.saved.run.as_ref().map(|run| run.id.as_str())
    }

    /// Returns the unfinished run, or begins one with these counts.
    pub fn begin(&mut self, counts: &ExportCounts) -> Result<Run> {
        if let Some(run) = &self.saved.run {
            return Ok(run.clone());
        }
        let id = Uuid::new_v4().to_string();
        let run = Run { id, is_listed: false, days: BTreeMap::new(), counts: counts.clone() };
        self.save(Some(run.clone()))?;
        Ok(run)
    }

    /// Saves the progress of the run.
    pub fn save(&mut self, run: Option<Run>) -> Result<()> {
        self.saved.run = run;
        state_file::save(&self.folder.join("lake.json"), &self.saved)
    }

    /// Records that keys were processed, and that `file` was added if they have rows.
    pub fn record(&mut self, keys: &[KeyHash], file: Option<String>, run: &Run) -> Result<()> {
        let path = self.folder.join("recorded.keys");
        let append = || {
            let mut file = File::options().create(true).append(true).open(&path)?;
            file.write_all(keys.as_flattened())?;
            file.sync_data()
        };
        append().with_context(|| format!("cannot write {}", path.display()))?;
        self.saved.recorded += keys.len() as u64;
        self.saved.last_file = file.or(self.saved.last_file.take());
        self.save(Some(run.clone()))
    }

    /// Returns the hashes of all recorded keys: 16 to 40 bytes of memory each.
    pub fn recorded(&self) -> Result<HashSet<KeyHash>> {
        let path = self.folder.join("recorded.keys");
        if self.saved.recorded == 0 {
            return Ok(HashSet::new());
        }
        let read = || {
            let mut file = BufReader::new(File::open(&path)?);
            let mut next = || {
                let mut hash = KeyHash::default();
                file.read_exact(&mut hash)?;
                Ok(hash)
            };
            (0..self.saved.recorded).map(|_| next()).collect::<std::io::Result<_>>()
        };
        read().with_context(|| format!("cannot read {}", path.display()))
    }

    /// Cuts off the hashes that were written, but not recorded, because the run was killed in between.
    fn cut_recorded(&self) -> Result<()> {
        let path = self.folder.join("recorded.keys");
        let failed = || format!("cannot write {}", path.display());
        let bytes = self.saved.recorded * size_of::<KeyHash>() as u64;
        if !path.exists() && bytes == 0 {
            return Ok(());
        }
        let file = File::options().write(true).open(&path).with_context(failed)?;
        let length = file.metadata().with_context(failed)?.len();
        ensure!(length >= bytes, "{} is shorter than lake.json records: delete the state and the lake", path.display());
        file.set_len(bytes).with_context(failed)
    }

    /// Deletes and creates the folder of the lists of keys, one per day.
    pub fn clear_keys(&self) -> Result<PathBuf> {
        let keys = self.keys();
        if keys.exists() {
            fs::remove_dir_all(&keys).with_context(|| format!("cannot delete {}", keys.display()))?;
        }
        create_folder(&keys)?;
        Ok(keys)
    }

    /// Returns the folder of the lists of keys.
    pub fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// Returns the path of the Parquet file that is being written.
    pub fn parquet(&self) -> PathBuf {
        self.folder.join("parquet.part")
    }

    /// Ends the run.
    pub fn end(&mut self) -> Result<()> {
        self.save(None)?;
        let _ = fs::remove_file(self.parquet()); // does not exist if nothing was new
        let keys = self.keys();
        fs::remove_dir_all(&keys).with_context(|| format!("cannot delete {}", keys.display()))
    }
}

/// Fails if a folder that is to become a state has files of somebody else.
fn check_empty(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let name = entry.with_context(|| format!("cannot read {}", folder.display()))?.file_name();
        if name != "lake.lock" && !name.to_string_lossy().starts_with(".attest-") {
            bail!("{} is not empty and not the state of a lake: choose a new folder for --state", folder.display());
        }
    }
    Ok(())
}

/// Returns the hash of a key.
pub fn hash(key: &str) -> KeyHash {
    *Sha256::digest(key).first_chunk().expect("a SHA-256 has 32 bytes")
}
