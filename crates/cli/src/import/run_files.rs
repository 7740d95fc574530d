//! The files that importing a file creates, and their lock.

use std::{
    ffi::OsString,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use attest_terminal::run_lock::RunLock;
use sha2::{Digest, Sha256};

use super::{
    checkpoint::{Checkpoint, Mark, Opened},
    identity::{self, Destination, Identity},
    input::InputFile,
    rejected::Rejected,
};

/// Names the files that importing a file creates, next to it or in the `--state` folder.
pub struct RunFiles {
    /// The prefix of all names.
    base: PathBuf,
    /// A stream has a checkpoint only in the `--state` folder.
    has_checkpoint: bool,
    /// The input's canonical path, unless the files are next to it.
    file: Option<String>,
    is_stream: bool,
}

impl RunFiles {
    pub fn new(file: &InputFile, state: Option<&Path>) -> Result<Self> {
        let is_stream = file.is_stream();
        let Some(state) = state else {
            let base = if is_stream { PathBuf::from(file.name()) } else { file.path.clone() };
            return Ok(Self { base, has_checkpoint: !is_stream, file: None, is_stream });
        };
        if !state.is_dir() {
            // Do not create its parents, because a typo should not create a tree.
            DirBuilder::new()
                .mode(0o700)
                .create(state)
                .with_context(|| format!("cannot create the folder {} for --state", state.display()))?;
        }
        // Files with the same name in different folders have separate checkpoints.
        let path = if is_stream { PathBuf::from(file.name()) } else { file.path.canonicalize()? };
        let digest = Mark::of(Sha256::digest(path.as_os_str().as_encoded_bytes()).into()).to_string();
        let mut name = file.name().to_owned();
        name.push(format!(".{}", &digest[..8]));
        Ok(Self { base: state.join(name), has_checkpoint: true, file: Some(identity::text(&path)), is_stream })
    }

    fn path(&self, suffix: &str) -> PathBuf {
        let mut path = OsString::from(&self.base);
        path.push(suffix);
        path.into()
    }

    /// Locks the files for one run. Returns `None` if two runs would share no files.
    pub fn lock(&self, file: &InputFile) -> Result<Option<RunLock>> {
        if !self.has_checkpoint {
            return Ok(None);
        }
        let lock = RunLock::acquire(&self.path(".import.lock"), &format!("the import of {}", file.path.display()));
        match lock {
            Err(error) if error.is::<io::Error>() => {
                Err(error.context("choose another folder for the files of this run with --state"))
            }
            lock => lock.map(Some),
        }
    }

    /// Returns whether an earlier run recorded confirmations by an endpoint that reported its store's id.
    pub fn has_records_of_a_store(&self) -> bool {
        self.has_checkpoint && Checkpoint::has_records_of_a_store(&self.path(".checkpoint"))
    }

    pub fn checkpoint(&self, destination: &Destination, from: Option<String>) -> Result<(Checkpoint, Opened)> {
        if !self.has_checkpoint {
            return Ok((Checkpoint::temporary()?, Opened::New));
        }
        let identity = Identity { file: self.file.clone(), destination: destination.clone(), from };
        Checkpoint::open(&self.path(".checkpoint"), &identity)
    }

    /// Returns the files for rejected lines. They are created at the first rejection.
    pub fn rejected(&self) -> Rejected {
        Rejected::new(self.base.clone(), self.is_stream)
    }
}
