//! Finds the objects in a folder, and caches listings that serve several requests.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::io::Errno;

use super::{error::FileStoreError, key_codec::key_of};

/// The version of every object, as in a bucket without versioning.
pub(super) const NULL_VERSION: &str = "null";

/// The smallest number of files that is worth a thread.
const SMALLEST_SHARE: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectInfo {
    pub key: String,
    /// The object's size in bytes.
    pub size: u64,
    pub modified: SystemTime,
}

impl ObjectInfo {
    /// Returns an entity tag that changes whenever the file changes. It does not require reading the file.
    ///
    /// As in the entity tag of a multipart upload, the hyphen shows clients that the tag is not the MD5 of the object.
    #[must_use]
    pub fn e_tag(&self) -> String {
        let since_epoch = self.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{:x}-{:x}", since_epoch.as_nanos(), self.size)
    }
}

#[derive(Debug)]
pub(super) struct ListingSnapshot {
    taken: Instant,
    objects: Arc<Vec<ObjectInfo>>,
}

#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Option<ListingSnapshot>>);

impl Cache {
    /// Returns the latest listing, unless it is older than `max_age`.
    pub(super) fn get(&self, max_age: Duration) -> Option<Arc<Vec<ObjectInfo>>> {
        let snapshot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.as_ref().filter(|snapshot| snapshot.taken.elapsed() < max_age).map(|snapshot| snapshot.objects.clone())
    }

    pub(super) fn set(&self, objects: Vec<ObjectInfo>) -> Arc<Vec<ObjectInfo>> {
        let objects = Arc::new(objects);
        let snapshot = ListingSnapshot { taken: Instant::now(), objects: Arc::clone(&objects) };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
        objects
    }

    /// Returns the latest listing, or creates a new one if it is older than `max_age`. Concurrent callers share one
    /// walk.
    pub(super) fn get_or_take(
        &self,
        max_age: Duration,
        take: impl FnOnce() -> Result<Vec<ObjectInfo>, FileStoreError>,
    ) -> Result<Arc<Vec<ObjectInfo>>, FileStoreError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = kept.as_ref().filter(|snapshot| snapshot.taken.elapsed() < max_age) {
            return Ok(Arc::clone(&snapshot.objects));
        }
        let objects = Arc::new(take()?);
        *kept = Some(ListingSnapshot { taken: Instant::now(), objects: Arc::clone(&objects) });
        Ok(objects)
    }
}

enum FolderEntry {
    Folder(PathBuf, String),
    Object(ObjectInfo),
}

/// Finds every object below `root`, in no particular order. Skips the directory `skipped`.
pub(super) fn walk(root: &Path, skipped: &str) -> Result<Vec<ObjectInfo>, FileStoreError> {
    let mut found = Vec::new();
    if !root.is_dir() {
        return Err(FileStoreError::NoFolder(root.to_owned()));
    }
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in read_folder(&folder, &prefix, skipped)? {
            match entry {
                FolderEntry::Folder(path, prefix) => folders.push((path, prefix)),
                FolderEntry::Object(object) => found.push(object),
            }
        }
    }
    Ok(found)
}

/// Reads one directory. Reads file metadata on all processors, because it dominates the listing time. Skips files and
/// directories that are deleted in the meantime.
fn read_folder(folder: &Path, prefix: &str, skipped: &str) -> io::Result<Vec<FolderEntry>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?.collect::<io::Result<Vec<_>>>()?,
    };
    let read = |entry: &fs::DirEntry| match read_entry(entry, folder, prefix, skipped) {
        Err(error) if leads_nowhere(&error) => Ok(None),
        read => read,
    };
    let read_all = |entries: &[fs::DirEntry]| -> io::Result<Vec<_>> {
        entries.iter().filter_map(|of| read(of).transpose()).collect()
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = entries.len().div_ceil(threads).max(SMALLEST_SHARE);
    if entries.len() <= share {
        return read_all(&entries);
    }
    thread::scope(|scope| {
        let shares: Vec<_> = entries.chunks(share).map(|entries| scope.spawn(move || read_all(entries))).collect();
        let shares: io::Result<Vec<Vec<_>>> =
            shares.into_iter().map(|share| share.join().unwrap_or_else(|panic| resume_unwind(panic))).collect();
        Ok(shares?.into_iter().flatten().collect())
    })
}

/// Reads the metadata of a directory entry. Returns `None` if it is neither an object nor a folder of objects.
fn read_entry(entry: &fs::DirEntry, folder: &Path, prefix: &str, skipped: &str) -> io::Result<Option<FolderEntry>> {
    let Ok(name) = entry.file_name().into_string() else { return Ok(None) };
    let is_link = entry.file_type()?.is_symlink();
    // Reading follows links, so the listing must follow them too.
    let metadata = || if is_link { fs::metadata(entry.path()) } else { entry.metadata() };
    if entry.file_type()?.is_dir() || is_link && metadata()?.is_dir() {
        let is_own = name != skipped && !(is_link && leads_up(&entry.path(), folder)?);
        return Ok(is_own.then(|| FolderEntry::Folder(entry.path(), format!("{prefix}{name}/"))));
    }
    let Some(key) = key_of(&format!("{prefix}{name}")) else { return Ok(None) };
    let metadata = metadata()?;
    Ok(Some(FolderEntry::Object(ObjectInfo { key, size: metadata.len(), modified: metadata.modified()? })))
}

/// Returns whether the error means that the entry was deleted or is a dangling link.
fn leads_nowhere(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || Errno::from_io_error(error) == Some(Errno::LOOP)
}

/// Returns whether a link leads to a folder that contains it. Following it would never end.
fn leads_up(link: &Path, folder: &Path) -> io::Result<bool> {
    let id = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    let target = id(link)?;
    // The path contains the symbolic links that the walk has followed, so its ancestors are the folders that the walk
    // is in.
    Ok(folder.ancestors().any(|ancestor| id(ancestor).is_ok_and(|id| id == target)))
}
