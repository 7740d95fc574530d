//! The Parquet files below a lake: those of the table's versions, leftovers of writers, and files of other programs.
//!
//! A file belongs to the lake if its path is one that this program generates, or if the log lists it. Nothing else is
//! deleted, and no link is followed, because another program may keep its files in the same folder.

use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsStr,
    fs, io,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::civil::Date;
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path};
use parquet::arrow::ArrowWriter;
use serde::Deserialize;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::{
    Entry, Error, LakeLocation, Object, Result, Snapshot, Table,
    columns::{Columns, schema},
    location::{LOG, LakePlace, PREFIX},
    parquet_file::{ParquetFile, TraceBatches},
};

/// The number of log entries that are read concurrently.
const CONCURRENT: usize = 16;

/// A Parquet file of the lake or, in a bucket, a noncurrent version of one.
#[derive(Clone)]
pub struct LakeFile(pub(crate) ParquetFile);

impl LakeFile {
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.path.as_ref()
    }

    /// Reads the rows from `from_row` on, in batches of about 8 MB.
    pub async fn traces(&self, from_row: usize) -> Result<TraceBatches> {
        self.0.traces(from_row).await
    }

    pub async fn keys(&self) -> Result<Vec<Entry>> {
        self.0.keys().await
    }

    /// Returns whether the file may contain one of these keys. `false` is certain, and costs one or two requests.
    pub async fn may_contain(&self, keys: &BTreeSet<String>) -> Result<bool> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        Ok(!keys.is_empty() && self.0.may_contain(&keys).await?)
    }

    /// Writes traces that the table lacks into a new file in `folder`, so that they can be searched like rows. Leaves
    /// out objects that are not traces.
    pub fn of_traces(folder: &FilePath, traces: impl IntoIterator<Item = Object>) -> Result<Self> {
        let mut columns = Columns::default();
        for object in traces {
            columns.push(&object);
        }
        let name = format!("{PREFIX}{}.parquet", Uuid::new_v4());
        let failed = |error| Error::Parquet(name.clone(), error);
        let file = fs::File::create_new(folder.join(&name))?;
        let mut writer = ArrowWriter::try_new(file, Arc::new(schema()), None).map_err(failed)?;
        writer.write(&columns.take()).map_err(failed)?;
        writer.close().map_err(failed)?;
        let size = fs::metadata(folder.join(&name))?.len();
        let store = Arc::new(LocalFileSystem::new_with_prefix(folder)?);
        Ok(Self(ParquetFile { store, path: Path::from(name), size, version: None }))
    }

    pub async fn copy_to(&self, path: &FilePath) -> Result<()> {
        self.0.copy_to(path).await
    }
}

/// The files below the lake to which the newest version does not refer.
#[derive(Default)]
pub struct Unreferenced {
    pub files: Vec<LakeFile>,
    /// The paths of other programs' files, which are never deleted.
    pub foreign: Vec<String>,
}

/// Finds the files that the newest version does not refer to. In a bucket, includes noncurrent versions.
pub async fn unreferenced(table: &Table) -> Result<Unreferenced> {
    let newest = table.load().await?;
    let kept = referenced(&newest)?;
    let location = table.location();
    let mut found = stored(location).await?;
    if let Some(link) = found.links.first() {
        return Err(Error::Link(link.display().to_string()));
    }
    found.files.retain(|file| !kept.contains(&file.path));
    if let LakePlace::Bucket(bucket, prefix) = &location.place {
        for version in
            bucket.all_versions(prefix).await?.into_iter().filter(|version| !version.is_latest && !version.is_marker)
        {
            let path = version.key.strip_prefix(prefix.as_str()).and_then(|path| Path::parse(path).ok());
            if let Some(path) = path.filter(is_data) {
                let (size, modified) = (version.size, SystemTime::UNIX_EPOCH);
                found.files.push(StoredFile { path, size, modified, version: Some(version.id) });
            }
        }
    }
    let mut owned = Ownership::default();
    let mut unreferenced = Unreferenced::default();
    for file in found.files {
        if owned.contains(&newest, &file.path).await? {
            unreferenced.files.push(file.open(location));
        } else {
            unreferenced.foreign.push(file.path.to_string());
        }
    }
    Ok(unreferenced)
}

/// Deletes an unreferenced file with all its versions, or a noncurrent version.
pub async fn delete(table: &Table, file: &LakeFile) -> Result<()> {
    let ParquetFile { path, version, .. } = &file.0;
    match (&table.location().place, version) {
        (LakePlace::Folder(_), _) => delete_current(table.location(), path).await,
        (LakePlace::Bucket(bucket, prefix), None) => match bucket.delete_versions(&format!("{prefix}{path}")).await? {
            // This S3 has no versions, so there was nothing to delete by version.
            0 => delete_current(table.location(), path).await,
            _ => Ok(()),
        },
        (LakePlace::Bucket(bucket, prefix), Some(version)) => {
            bucket.delete_version(&format!("{prefix}{path}"), version).await
        }
    }
}

/// Deletes a file. Succeeds if it does not exist, because another run may have deleted it.
pub(crate) async fn delete_current(location: &LakeLocation, path: &Path) -> Result<()> {
    match location.store.delete(path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn referenced(snapshot: &Snapshot) -> Result<HashSet<Path>> {
    snapshot.files().iter().map(|file| snapshot.path(file)).collect()
}

pub(crate) struct StoredFile {
    pub(crate) path: Path,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
    version: Option<String>,
}

impl StoredFile {
    fn open(self, location: &LakeLocation) -> LakeFile {
        let Self { path, size, version, .. } = self;
        LakeFile(ParquetFile { store: Arc::clone(&location.store), path, size, version })
    }
}

/// The Parquet files of a lake, and links that may lead to more of them.
#[derive(Default)]
pub(crate) struct LakeFiles {
    pub(crate) files: Vec<StoredFile>,
    links: Vec<PathBuf>,
}

/// Lists the Parquet files below the lake, except those of its log.
pub(crate) async fn stored(location: &LakeLocation) -> Result<LakeFiles> {
    if let LakePlace::Folder(folder) = &location.place {
        let folder = folder.clone();
        return spawn_blocking(move || {
            let mut found = LakeFiles::default();
            let failed = |error| Error::Folder(folder.display().to_string(), error);
            walk(&folder, &folder, &mut found).map_err(failed)?;
            Ok(found)
        })
        .await?;
    }
    let files = location.store.list(None).try_filter(|file| std::future::ready(is_data(&file.location)));
    let files = files.map_ok(|file| StoredFile {
        path: file.location,
        size: file.size,
        modified: file.last_modified.into(),
        version: None,
    });
    Ok(LakeFiles { files: files.try_collect().await?, links: Vec::new() })
}

fn is_data(path: &Path) -> bool {
    path.extension() == Some("parquet") && !path.prefix_matches(&Path::from(LOG))
}

/// Collects files without following links, unlike the listing of `object_store`.
fn walk(root: &FilePath, folder: &FilePath, found: &mut LakeFiles) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let relative = relative.to_str().and_then(|relative| Path::parse(relative).ok());
        let is_of_a_day = folder == root && day_of(&entry.file_name()).is_some();
        match entry.file_type()? {
            kind if kind.is_dir() && relative != Some(Path::from(LOG)) => walk(root, &path, found)?,
            kind if kind.is_symlink() && is_of_a_day => found.links.push(path),
            kind if kind.is_file() => {
                let Some(path) = relative.filter(is_data) else { continue };
                // It may have been deleted since.
                let Ok(metadata) = entry.metadata() else { continue };
                found.files.push(StoredFile {
                    path,
                    size: metadata.len(),
                    modified: metadata.modified()?,
                    version: None,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn day_of(name: &OsStr) -> Option<Date> {
    name.to_str()?.strip_prefix("day=")?.parse().ok()
}

/// Returns whether this program generates such paths: `day=2026-11-22/attest-UUID.parquet`.
fn is_own(path: &Path) -> bool {
    let mut parts = path.parts();
    let (Some(day), Some(name), None) = (parts.next(), parts.next(), parts.next()) else { return false };
    let name = name.as_ref().strip_prefix(PREFIX).and_then(|name| name.strip_suffix(".parquet"));
    day_of(day.as_ref().as_ref()).is_some() && name.is_some_and(|name| Uuid::parse_str(name).is_ok())
}

/// Distinguishes the lake's files from those of other programs.
#[derive(Default)]
pub(crate) struct Ownership {
    named: Option<HashSet<Path>>,
}

impl Ownership {
    /// Returns whether the file belongs to the lake. Reads the whole log once, at the first file whose path alone does
    /// not decide it.
    pub(crate) async fn contains(&mut self, newest: &Snapshot, path: &Path) -> Result<bool> {
        if is_own(path) {
            return Ok(true);
        }
        if self.named.is_none() {
            self.named = Some(named(newest).await?);
        }
        Ok(self.named.as_ref().is_some_and(|named| named.contains(path)))
    }
}

/// A log action (Delta Transaction Log Protocol, "Actions").
#[derive(Deserialize)]
struct Action {
    add: Option<File>,
    remove: Option<File>,
}

#[derive(Deserialize)]
struct File {
    path: String,
}

/// Returns the paths of all files that any log entry adds or removes.
async fn named(newest: &Snapshot) -> Result<HashSet<Path>> {
    let store = &newest.table().location().store;
    let entries = store.list(Some(&Path::from(LOG)));
    let entries = entries.try_filter(|entry| std::future::ready(entry.location.extension() == Some("json")));
    let entries: Vec<Path> = entries.map_ok(|entry| entry.location).try_collect().await?;
    let names = stream::iter(entries).map(|entry| async move {
        let text = match store.get(&entry).await {
            // Another program may have deleted an old entry.
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            entry => entry?.bytes().await?,
        };
        let actions = text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        let files = actions.flat_map(|Action { add, remove }| [add, remove]).flatten().map(|file| file.path);
        Ok::<_, Error>(files.collect())
    });
    let names: Vec<Vec<String>> = names.buffer_unordered(CONCURRENT).try_collect().await?;
    newest.paths(names.iter().flatten())
}

/// Deletes the incomplete data files that killed writers left in a folder, if they are older than `before`.
///
/// `LocalFileSystem` writes to `NAME.parquet#N` before it renames the file, and does not list such names. In a bucket,
/// a killed writer leaves an unfinished upload, which a lifecycle rule deletes.
pub async fn delete_staged(location: &LakeLocation, before: SystemTime) -> Result<u64> {
    let LakePlace::Folder(folder) = location.place.clone() else { return Ok(0) };
    spawn_blocking(move || {
        let mut deleted = 0;
        for day in fs::read_dir(&folder)? {
            let day = day?;
            if day_of(&day.file_name()).is_some() && day.file_type()?.is_dir() {
                for file in fs::read_dir(day.path())? {
                    let file = file?;
                    if is_staged(&file.file_name()) && file.file_type()?.is_file() {
                        deleted += u64::from(delete_older(&file, before)?);
                    }
                }
            }
        }
        Ok(deleted)
    })
    .await?
    .map_err(|error| Error::Folder(location.to_string(), error))
}

/// Returns whether the name is that of an incomplete file, written by this or an earlier version of the program.
fn is_staged(name: &OsStr) -> bool {
    let Some((name, number)) = name.to_str().and_then(|name| name.rsplit_once(".parquet#")) else { return false };
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let is_id = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    !name.is_empty() && name.bytes().all(is_id) && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn delete_older(file: &fs::DirEntry, before: SystemTime) -> io::Result<bool> {
    let is_old = file.metadata().and_then(|metadata| metadata.modified()).map(|modified| modified < before);
    match is_old.and_then(|is_old| if is_old { fs::remove_file(file.path()).map(|()| true) } else { Ok(false) }) {
        // Its writer has renamed it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        deleted => deleted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_files_are_told_from_others_by_their_place_and_name() {
        let name = format!("{PREFIX}{}.parquet", Uuid::nil());
        assert!(is_own(&Path::from(format!("day=2026-11-22/{name}"))));
        for other in [
            name.clone(),
            format!("backup/day=2026-11-22/{name}"),
            format!("day=tuesday/{name}"),
            format!("day=2026-11-22/copies/{name}"),
            "day=2026-11-22/attest-report.parquet".to_owned(),
            format!("day=2026-11-22/{}.parquet", Uuid::nil()),
        ] {
            assert!(!is_own(&Path::from(&*other)), "{other}");
        }
        for (staged, is_own) in [
            (format!("{name}#1"), true),
            ("0b0e6d5c.parquet#1".to_owned(), true),
            ("report.parquet#1".to_owned(), false),
            (".parquet#1".to_owned(), false),
            (format!("{name}#1.bak"), false),
        ] {
            assert_eq!(is_staged(OsStr::new(&staged)), is_own, "{staged}");
        }
    }
}
