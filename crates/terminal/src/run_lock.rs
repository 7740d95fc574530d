//! Locks the files that a command writes.
//!
//! Two runs that write the same output or checkpoint would destroy each other's work. A run therefore locks a file next
//! to its output. The operating system releases the lock when the process ends, even after a crash.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result, anyhow, bail};
use local_aws::files::open_own;

/// A lock that is held until it is dropped. Dropping it removes the lock file.
#[derive(Debug)]
pub struct RunLock {
    path: PathBuf,
    _file: File,
}

impl RunLock {
    /// Acquires the lock file `path`, or fails with the id of the process that holds it. Errors call the locked
    /// resource `what`.
    pub fn acquire(path: &Path, what: &str) -> Result<Self> {
        let not_a_lock =
            || anyhow!("{} is not a lock file: move it, or choose another path than {what}", path.display());
        loop {
            let failed = || format!("cannot lock {what} with {}", path.display());
            let file = open_own(File::options().create(true).read(true).write(true), path);
            let mut file = match file {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(not_a_lock()),
                file => file.with_context(failed)?,
            };
            let locked = file.try_lock();
            let mut text = Vec::new();
            Read::by_ref(&mut file).take(32).read_to_end(&mut text).with_context(failed)?;
            if !text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'\n') {
                return Err(not_a_lock());
            }
            match locked {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let holder = String::from_utf8_lossy(&text);
                    let holder = holder.trim();
                    let holder =
                        if holder.is_empty() { "another process".to_owned() } else { format!("process {holder}") };
                    bail!("{what} is in use by {holder}: wait until it ends, or stop it");
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
            }
            // The previous holder may have removed the file between opening and locking it.
            let held = file.metadata().with_context(failed)?;
            if fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino())) {
                file.set_len(0).with_context(failed)?;
                file.rewind().with_context(failed)?;
                writeln!(file, "{}", process::id()).with_context(failed)?;
                return Ok(Self { path: path.to_owned(), _file: file });
            }
        }
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // The lock is still held here, so no other run can hold this file.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_refused_with_the_holder_and_succeeds_after_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("out.lock");
        let first = RunLock::acquire(&path, "out").expect("it is free");
        let error = RunLock::acquire(&path, "out").expect_err("the first run holds it").to_string();
        assert!(error.contains(&format!("process {}", process::id())), "{error}");
        drop(first);
        RunLock::acquire(&path, "out").expect("it is free again");
        assert!(!path.exists());
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, important) = (folder.path().join("out.lock"), folder.path().join("important"));
        for text in ["", "4711\n", "notes"] {
            fs::write(&important, text).expect("the folder is writable");
            std::os::unix::fs::symlink(&important, &path).expect("the folder is writable");
            let error = RunLock::acquire(&path, "out").expect_err("it is a link").to_string();
            assert!(error.contains("is not a lock file"), "{error}");
            assert_eq!(fs::read(&important).expect("the file exists"), text.as_bytes());
            fs::remove_file(&path).expect("the link is left");
        }
    }

    #[test]
    fn a_file_that_is_not_a_lock_is_left_unchanged() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("out.lock");
        fs::write(&path, "notes").expect("the folder is writable");
        RunLock::acquire(&path, "out").expect_err("the file belongs to somebody else");
        assert_eq!(fs::read(&path).expect("the file exists"), b"notes");
        // A killed run leaves its lock file behind, which must not block the next one.
        fs::write(&path, "4711\n").expect("the folder is writable");
        RunLock::acquire(&path, "out").expect("no process holds it");
    }
}
