//! Locks a folder that stores objects, and prepares its folder of temporary files.

use std::{
    fs::{self, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tempfile::NamedTempFile;
use uuid::Uuid;

use super::error::FileStoreError;
use crate::files::{create_own_folder, open_own};

/// The folder of temporary files. No key has a path inside it.
pub(super) const INCOMING: &str = "~incoming";

/// The lock file. Every process that stores into the folder holds a shared lock on it; emptying `~incoming` requires
/// an exclusive one.
const LOCK: &str = "~lock";

/// The longest wait for another process to empty `~incoming` at its start.
const EMPTIED: Duration = Duration::from_secs(2);

/// Acquires the shared lock and creates `~incoming`. Empties it first if no other process stores into the folder.
pub(super) fn lock(root: &Path) -> Result<fs::File, FileStoreError> {
    let (path, incoming) = (root.join(LOCK), root.join(INCOMING));
    let lock = open_own(fs::File::options().read(true).write(true).create(true), &path);
    let lock = lock.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => FileStoreError::NotOwn(path.clone()),
        _ => error.into(),
    })?;
    if lock.metadata()?.len() > 0 {
        return Err(FileStoreError::NotOwn(path)); // the lock file is always empty
    }
    if incoming.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
        return Err(FileStoreError::NotOwn(incoming));
    }
    if incoming.exists() && lock.try_lock().is_ok() {
        fs::remove_dir_all(&incoming)?;
    }
    lock_shared(&lock, path)?;
    create_own_folder(&incoming)?;
    Ok(lock)
}

/// Acquires the shared lock, or fails if another process does not release an exclusive one soon.
fn lock_shared(lock: &fs::File, path: PathBuf) -> Result<(), FileStoreError> {
    let start = Instant::now();
    loop {
        match lock.try_lock_shared() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if start.elapsed() < EMPTIED => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::WouldBlock) => return Err(FileStoreError::Locked(path)),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// Checks that a file can be renamed atomically without replacing another file, by a hard link or by a system call.
pub(super) fn check_links(incoming: &Path) -> Result<(), FileStoreError> {
    let name = incoming.join(format!("check-{}", Uuid::new_v4()));
    let named = NamedTempFile::new_in(incoming)?.persist_noclobber(&name);
    named.map_err(|error| match FileStoreError::from(error.error) {
        FileStoreError::AccessDenied(error) | FileStoreError::PathTooLong(error) | FileStoreError::Io(error) => {
            FileStoreError::NoHardLinks(error)
        }
        error => error,
    })?;
    Ok(fs::remove_file(name)?)
}
