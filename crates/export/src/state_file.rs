//! State files: JSON documents that are replaced atomically and read only if this program wrote them.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use local_aws::files::open_own;
use serde::{Serialize, de::DeserializeOwned};

/// Reads a state file. Returns `None` if the file does not exist. Fails if its content is not a `T`.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let mut json = Vec::new();
    match open_own(File::options().read(true), path).and_then(|mut file| file.read_to_end(&mut json)) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let state = serde_json::from_slice(&json).with_context(|| {
        format!(
            "{} was not written by this version of the export, so it is not changed: move it, or choose another path",
            path.display()
        )
    })?;
    Ok(Some(state))
}

pub fn save(path: &Path, state: &impl Serialize) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let folder = path.parent().map(PathBuf::from).unwrap_or_default();
    let mut file = tempfile::Builder::new().prefix(".attest-").tempfile_in(folder).with_context(failed)?;
    serde_json::to_writer(&mut file, state).with_context(failed)?;
    file.as_file().sync_all().with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(())
}

/// Fails if a state belongs to a different export.
pub fn check_owner(path: &Path, of_state: &str, of_this_run: &str, advice: &str) -> Result<()> {
    if of_state != of_this_run {
        bail!("{} belongs to another export: {of_state}. This run is: {of_this_run}. {advice}", path.display());
    }
    Ok(())
}
