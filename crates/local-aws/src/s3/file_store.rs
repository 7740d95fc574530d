//! Stores the objects of a bucket as files in a folder.
//!
//! An object survives a crash of the process and of the machine once its write is confirmed. The store writes it to a
//! temporary file in `~incoming` and syncs that file. Then it links the file atomically under its name and syncs the
//! folder. The link fails if the name is taken. No error leaves a temporary file behind, and the next start deletes
//! what a killed process left in `~incoming`. Files are readable by their owner only, because traces are private.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use s3s::path::check_bucket_name;
use tempfile::{NamedTempFile, PersistError};

use super::{
    error::FileStoreError,
    identity::{self, ID_KEY},
    key_codec::path_of,
    listing::{Cache, ObjectInfo, walk},
    metadata::{self, Metadata},
    store_lock::{INCOMING, check_links, lock},
};
use crate::files::create_own_folder;

/// The longest time for which a newest-first listing is reused.
const NEWEST_AGE: Duration = Duration::from_secs(1);

/// The longest time for which a listing serves its later pages.
const PAGES_AGE: Duration = Duration::from_mins(1);

/// The largest number of attempts to write an object while its folder is deleted concurrently.
const ATTEMPTS: usize = 100;

/// A bucket in a folder. Clones share one listing cache.
///
/// All functions block on the file system: in async code, call them in `tokio::task::spawn_blocking`.
#[derive(Debug, Clone)]
pub struct FileStore {
    bucket: String,
    root: PathBuf,
    newest: Arc<Cache>,
    pages: Arc<Cache>,
    /// The shared lock, or `None` if the store is read-only.
    lock: Option<Arc<Mutex<fs::File>>>,
}

/// An object that is written but has no key yet. Dropping it deletes the file.
#[derive(Debug)]
pub(super) struct Staged(NamedTempFile);

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// An object with its file open, so that it can be read even after a deletion.
#[derive(Debug)]
pub(super) struct OpenObject {
    pub(super) info: ObjectInfo,
    file: fs::File,
}

impl OpenObject {
    pub(super) fn metadata(&self) -> Option<Metadata> {
        metadata::load(&self.file)
    }

    fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.info.size).unwrap_or_default());
        self.range(0..self.info.size)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn range(&mut self, range: Range<u64>) -> io::Result<io::Take<&fs::File>> {
        self.file.seek(SeekFrom::Start(range.start))?;
        Ok((&self.file).take(range.end - range.start))
    }

    /// Returns the file, positioned at the start of a range.
    pub(super) fn into_file(mut self, start: u64) -> io::Result<fs::File> {
        self.file.seek(SeekFrom::Start(start))?;
        Ok(self.file)
    }
}

impl FileStore {
    /// Opens the bucket in the folder `root`. Creates the folder if it does not exist. The folder's name is the
    /// bucket's name.
    pub fn open(root: &Path) -> Result<Self, FileStoreError> {
        create_own_folder(root)?;
        let store = Self::read_only(root)?;
        let lock = lock(&store.root)?;
        check_links(&store.root.join(INCOMING))?;
        Ok(Self { lock: Some(Arc::new(Mutex::new(lock))), ..store })
    }

    /// Opens the bucket in an existing folder without ever changing its objects.
    pub fn read_only(root: &Path) -> Result<Self, FileStoreError> {
        let canonical = root.canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FileStoreError::NoFolder(root.to_owned()),
            _ => error.into(),
        })?;
        let bucket = canonical.file_name().and_then(|name| name.to_str()).filter(|name| check_bucket_name(name));
        let bucket = bucket.ok_or(FileStoreError::InvalidBucketName)?.to_owned();
        Ok(Self { bucket, root: canonical, newest: Arc::default(), pages: Arc::default(), lock: None })
    }

    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Returns the folder's id, which a later folder with the same path does not have. Creates it if necessary.
    ///
    /// Returns `None` if there is no id and this user may not create it.
    pub fn id(&self) -> Result<Option<String>, FileStoreError> {
        identity::of(&self.root).map_err(|error| self.failed(error))
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the time of the last change to the folder itself.
    pub(super) fn modified(&self) -> Result<SystemTime, FileStoreError> {
        fs::metadata(&self.root).and_then(|metadata| metadata.modified()).map_err(|error| self.failed(error))
    }

    /// Stores an object atomically. Returns `None` if the key is taken and `replace` is false.
    ///
    /// Recreates the bucket's folder if it was deleted in the meantime.
    pub fn write(&self, key: &str, object: &[u8], replace: bool) -> Result<Option<ObjectInfo>, FileStoreError> {
        let mut staged = self.stage(&Metadata::new())?;
        staged.write_all(object)?;
        self.commit(staged, key, replace)
    }

    /// Opens a file for an object that has no key yet.
    pub(super) fn stage(&self, metadata: &Metadata) -> Result<Staged, FileStoreError> {
        let lock = self.lock.as_ref().ok_or(FileStoreError::ReadOnly)?;
        let incoming = self.root.join(INCOMING);
        let opened = match NamedTempFile::new_in(&incoming) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.restore(lock)?;
                NamedTempFile::new_in(incoming)
            }
            opened => opened,
        };
        let file = opened.map_err(|error| self.failed(error))?;
        metadata::save(file.as_file(), metadata);
        Ok(Staged(file))
    }

    /// Gives a staged object its key. Returns `None` if the key is taken and `replace` is false.
    pub(super) fn commit(
        &self,
        mut staged: Staged,
        key: &str,
        replace: bool,
    ) -> Result<Option<ObjectInfo>, FileStoreError> {
        let path = self.path(key);
        let folder = path.parent().expect("the path of an object begins with the root");
        staged.0.as_file().sync_all()?;
        let metadata = staged.0.as_file().metadata()?;
        let info = ObjectInfo { key: key.to_owned(), size: metadata.len(), modified: metadata.modified()? };
        let mut is_taken = false;
        for attempt in 1.. {
            // Created just before the name, because a concurrent deletion removes empty folders.
            let created = create_own_folder(folder);
            let has_folder = created.is_ok();
            let named = match created {
                Ok(()) if replace => staged.0.persist(&path),
                Ok(()) => staged.0.persist_noclobber(&path),
                Err(error) => Err(PersistError { error, file: staged.0 }),
            };
            let Err(PersistError { error, file }) = named else { break };
            is_taken = has_folder && error.kind() == io::ErrorKind::AlreadyExists && path.is_file();
            if is_taken {
                break;
            }
            // A concurrent deletion removed the folder, perhaps while `create_dir_all` ran, or the object that had the
            // key.
            let in_the_way = path.ancestors().find(|path| path.symlink_metadata().is_ok());
            let is_gone = in_the_way.is_none_or(|found| found != path && found.is_dir());
            let is_lost = match error.kind() {
                io::ErrorKind::NotFound => true,
                io::ErrorKind::AlreadyExists => is_gone,
                _ => false,
            };
            if !is_lost {
                return Err(FileStoreError::of_path(error, &path));
            }
            if attempt == ATTEMPTS {
                return Err(self.failed(error)); // a later request may succeed
            }
            staged = self.stage_again(file)?;
        }
        // Also syncs folders that a concurrent write created, because that write may not have synced them yet.
        self.sync_up(folder).map_err(|error| self.failed(error))?;
        Ok((!is_taken).then_some(info))
    }

    /// Copies a staged object whose file was deleted with its folder. The open file still has the bytes.
    fn stage_again(&self, mut file: NamedTempFile) -> Result<Staged, FileStoreError> {
        if file.path().exists() {
            return Ok(Staged(file));
        }
        let mut next = self.stage(&metadata::load(file.as_file()).unwrap_or_default())?;
        file.rewind()?;
        io::copy(file.as_file_mut(), &mut next.0)?;
        next.0.as_file().sync_all()?;
        Ok(next)
    }

    /// Recreates the folder of the bucket after somebody deleted it.
    fn restore(&self, held: &Mutex<fs::File>) -> Result<(), FileStoreError> {
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.root.join(INCOMING).is_dir() {
            create_own_folder(&self.root).map_err(|error| self.failed(error))?;
            // The current lock belongs to the deleted file.
            *held = lock(&self.root)?;
        }
        Ok(())
    }

    /// Returns the bytes of an object and the time at which it was stored, or `None` if there is no object.
    pub fn read(&self, key: &str) -> Result<Option<(Vec<u8>, SystemTime)>, FileStoreError> {
        let Some(mut object) = self.open_object(key)? else { return Ok(None) };
        Ok(Some((object.bytes()?, object.info.modified)))
    }

    /// Returns the size and the time of an object, or `None` if there is no object.
    pub fn info(&self, key: &str) -> Result<Option<ObjectInfo>, FileStoreError> {
        Ok(self.open_object(key)?.map(|object| object.info))
    }

    /// Opens an object without reading it, or returns `None` if there is no object.
    pub(super) fn open_object(&self, key: &str) -> Result<Option<OpenObject>, FileStoreError> {
        let file = match fs::File::open(self.path(key)) {
            Err(error) if is_missing(&error) => return Ok(None),
            file => file.map_err(|error| FileStoreError::of_path(error, &self.path(key)))?,
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(FileStoreError::of_path(io::ErrorKind::IsADirectory.into(), &self.path(key)));
        }
        let info = ObjectInfo { key: key.to_owned(), size: metadata.len(), modified: metadata.modified()? };
        Ok(Some(OpenObject { info, file }))
    }

    /// Deletes an object and the folders that it leaves empty. Returns `false` if there was no object.
    pub fn delete(&self, key: &str) -> Result<bool, FileStoreError> {
        if self.lock.is_none() {
            return Err(FileStoreError::ReadOnly);
        }
        let path = self.path(key);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if is_missing(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let folders = path.ancestors().skip(1).take_while(|folder| *folder != self.root);
        // `remove_dir` refuses a folder that is not empty, and a write that loses its folder creates it again.
        let _ = folders.map(fs::remove_dir).find(Result::is_err);
        let folder = path.parent().expect("the path of an object begins with the root");
        self.sync_up(folder)?;
        Ok(true)
    }

    /// Returns all objects in key order, by Unicode code point as in S3. With `after`, returns only those whose key
    /// follows it.
    pub fn list(&self, after: Option<&str>) -> Result<Vec<ObjectInfo>, FileStoreError> {
        let mut objects = walk(&self.root, INCOMING)?;
        if let Some(after) = after {
            objects.retain(|object| object.key.as_str() > after);
        }
        objects.sort_unstable();
        Ok(objects)
    }

    /// Returns all objects, the newest first. Objects with the same time are in key order. The listing is at most a
    /// second old.
    pub fn newest_first(&self) -> Result<Arc<Vec<ObjectInfo>>, FileStoreError> {
        self.newest.get_or_take(NEWEST_AGE, || {
            let mut objects = walk(&self.root, INCOMING)?;
            objects.sort_unstable_by(|one, other| (other.modified, &one.key).cmp(&(one.modified, &other.key)));
            Ok(objects)
        })
    }

    /// Returns the listing for a page: a new one for the first page, and the same one for later pages.
    pub(super) fn pages(&self, is_first: bool) -> Result<Arc<Vec<ObjectInfo>>, FileStoreError> {
        match self.pages.get(PAGES_AGE).filter(|_| !is_first) {
            Some(objects) => Ok(objects),
            None => Ok(self.pages.set(self.list(None)?)),
        }
    }

    /// Converts a file system error. Reports a missing bucket folder as [`FileStoreError::NoFolder`].
    fn failed(&self, error: io::Error) -> FileStoreError {
        match FileStoreError::from(error) {
            FileStoreError::Io(_) if !self.root.is_dir() => FileStoreError::NoFolder(self.root.clone()),
            error => error,
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        if key == ID_KEY { self.root.join(identity::FILE) } else { self.root.join(path_of(key)) }
    }

    /// Syncs a folder and its parents, up to the bucket's folder. A folder that no longer exists needs no sync.
    fn sync_up(&self, folder: &Path) -> io::Result<()> {
        folder.ancestors().take_while(|folder| folder.starts_with(&self.root)).try_for_each(|folder| {
            match sync(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                synced => synced,
            }
        })
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Syncs a folder, so that the names in it survive a crash of the machine (fsync(2)).
#[cfg(unix)]
fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Does nothing: on other systems, a folder cannot be opened, and the file system persists its names.
#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(store: &FileStore) -> usize {
        fs::read_dir(store.root.join(INCOMING)).expect("it exists").count()
    }

    #[test]
    fn files_of_a_killed_process_are_deleted_only_once_no_process_stores_here() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let first = FileStore::open(&root.path().join("traces")).expect("a bucket");
        fs::write(first.root.join(INCOMING).join("half"), "{").expect("it can be written");
        let second = FileStore::open(&root.path().join("traces")).expect("the same bucket");
        assert_eq!(incoming(&second), 1, "the first may still be writing it");
        drop((first, second));
        assert_eq!(incoming(&FileStore::open(&root.path().join("traces")).expect("the same bucket")), 0);
    }

    #[test]
    fn a_folder_whose_name_is_not_a_valid_bucket_name_is_rejected() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for name in ["t", "My Traces", "-traces"] {
            let error = FileStore::open(&root.path().join(name)).map(drop).expect_err("S3 would refuse every request");
            assert!(error.to_string().contains("3 to 63"), "{error}");
        }
    }

    #[test]
    fn a_write_that_fails_or_finds_its_name_taken_leaves_no_temporary_file() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let store = FileStore::open(&root.path().join("traces")).expect("a bucket");
        fs::create_dir(store.path("taken-by-a-folder")).expect("it can be created");
        assert!(store.write("taken-by-a-folder", b"{}", true).is_err());
        assert!(store.write("a/b", b"{}", false).expect("it is written").is_some());
        assert!(store.write("a/b", b"[]", false).expect("it exists").is_none());
        assert_eq!(fs::read(store.path("a/b")).expect("it exists"), b"{}");
        assert_eq!(incoming(&store), 0);
    }
}
