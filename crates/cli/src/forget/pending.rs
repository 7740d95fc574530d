//! Writes the key list of an unfinished run, and the receipt of a finished one.
//!
//! A repeated run needs the keys, because removed rows can no longer be found by their text. The list is written before
//! the first deletion, and deleted after the receipt is written. Both are written atomically, and neither replaces
//! another file.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::NamedTempFile;
use uuid::Uuid;

use super::{
    ForgetOptions,
    selection::{Selection, digest},
};

/// The prefix of the first line. It is not a key, because no key starts with `#`.
const MARK: &str = "# attest forget ";

pub struct Pending {
    path: PathBuf,
    /// The id of the run, which its receipt repeats.
    pub run: String,
    /// A digest of the selection, which distinguishes a repeated run from another one.
    asked: String,
    /// A digest of the places that the run deletes from. A resumed run must name the same places.
    places: String,
    pub keys: BTreeSet<String>,
    pub is_resumed: bool,
    /// Whether a user's file has this path. It is left alone.
    is_foreign: bool,
}

impl Pending {
    /// Starts a run, or continues the run whose list is next to the receipt. Returns `None` if that run is complete.
    pub fn begin(
        options: &ForgetOptions,
        selection: &Selection,
        places: impl Fn(&str) -> String,
    ) -> Result<Option<Self>> {
        let path = options.receipt.with_extension("keys.txt");
        let new = |is_foreign| {
            let run = Uuid::new_v4().to_string();
            let (asked, places) = (digest(options, selection, &run), places(&run));
            Self { path: path.clone(), run, asked, places, keys: BTreeSet::new(), is_resumed: false, is_foreign }
        };
        let is_named = options.keys.as_deref().is_some_and(|keys| is_same_file(keys, &path));
        let text = match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                ensure!(
                    options.receipt.symlink_metadata().is_err(),
                    "the receipt {} exists",
                    options.receipt.display()
                );
                return Ok(Some(new(false)));
            }
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let mark = text.lines().next().and_then(|line| line.strip_prefix(MARK));
        let Some([run, asked, in_places]) =
            mark.and_then(|mark| <[&str; 3]>::try_from(mark.split(' ').collect::<Vec<_>>()).ok())
        else {
            ensure!(
                is_named && options.receipt.symlink_metadata().is_err(),
                "{} exists, and is not a list of this command: move it, or choose another --receipt",
                path.display()
            );
            return Ok(Some(new(true)));
        };
        if !is_named && asked != digest(options, selection, run) {
            bail!(
                "a run for other traces left the keys in {0}: complete it with --keys {0}, or choose another --receipt",
                path.display()
            );
        }
        ensure!(
            in_places == places(run),
            "a run in another place or lake left the keys in {}: give its options, or choose another --receipt",
            path.display()
        );
        if options.receipt.symlink_metadata().is_ok() {
            ensure!(
                run_of(&options.receipt).as_deref() == Some(run),
                "the receipt {} exists",
                options.receipt.display()
            );
            // The earlier run was stopped after its receipt was complete, so only its list is left.
            fs::remove_file(&path).with_context(|| format!("cannot delete {}", path.display()))?;
            return Ok(None);
        }
        let keys = text.lines().skip(1).map(str::to_owned).collect();
        let (run, asked, places) = (run.to_owned(), asked.to_owned(), in_places.to_owned());
        Ok(Some(Self { run, asked, places, keys, path, is_resumed: true, is_foreign: false }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the list atomically, readable only by its owner.
    pub fn write(&self) -> Result<()> {
        if self.is_foreign {
            return Ok(());
        }
        let mut text = format!("{MARK}{} {} {}\n", self.run, self.asked, self.places);
        self.keys.iter().for_each(|key| text.extend([key, "\n"]));
        let written = persist(&self.path, text.as_bytes(), self.is_resumed);
        written.with_context(|| format!("cannot write the keys to {}", self.path.display()))
    }

    pub fn delete(&self) {
        if !self.is_foreign {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes a new file atomically. With `replaces`, replaces a file that this command has written.
pub fn persist(path: &Path, bytes: &[u8], replaces: bool) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    if replaces {
        file.persist(path)?
    } else {
        file.persist_noclobber(path)?
    };
    File::open(folder)?.sync_all()
}

/// Reads a regular file. Fails for a link, which may lead to a file of another program.
fn read(path: &Path) -> io::Result<String> {
    if !path.symlink_metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    fs::read_to_string(path)
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other)
}

/// Returns the id of the run that wrote a receipt.
fn run_of(receipt: &Path) -> Option<String> {
    let receipt: Value = serde_json::from_slice(&fs::read(receipt).ok()?).ok()?;
    Some(receipt.get("run")?.as_str()?.to_owned())
}
