//! Reconciles the table with the stored traces.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    time::{Duration, Instant},
};

use attest::unreadable::Unreadable;
use futures_util::TryStreamExt;
use jiff::{Timestamp, civil::Date};
use tempfile::TempDir;

use crate::{
    Added, DataFile, Entry, Error, Result, Table, append,
    entry::Entries,
    maintain::{self, Maintained, gone, maintain},
    objects::Objects,
    race::win,
};

/// The number of listed keys that are buffered before they are written to the file of their day.
const BUFFERED: usize = 10_000;

#[derive(Debug, Default)]
pub struct Synced {
    pub listed: u64,
    pub added: Added,
    pub maintained: Maintained,
    /// The number of files that were deleted because nothing refers to them.
    pub deleted_files: u64,
    /// Whether all work was done before the deadline.
    pub is_complete: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncStep {
    /// The number of traces listed so far.
    Listed(u64),
    /// The number of listed traces that are in the table by now.
    Compared(u64),
}

/// Adds the traces that the table lacks, and removes the rows whose object does not exist. Starts no new work after
/// `deadline`.
///
/// Keeps no state, so a killed synchronisation is repeated from the start. Synchronisations may run concurrently with
/// each other and with the ingest function.
pub async fn sync(
    table: &Table,
    objects: &dyn Objects,
    retention: Duration,
    deadline: Option<Instant>,
    progress: impl FnMut(SyncStep) + Send,
) -> Result<Synced> {
    let Completed { listed, added, extra, is_complete } = complete(table, objects, deadline, progress).await?;
    let mut synced = Synced { listed, added, is_complete, ..Synced::default() };
    if is_complete {
        // An object that was stored after the listing also has a row that was not listed, so each object is looked up.
        synced.maintained = maintain(table, &gone(objects, extra).await?).await?;
        synced.deleted_files = maintain::vacuum(table, retention, &synced.maintained.replaced).await?;
    }
    Ok(synced)
}

#[derive(Debug, Default)]
pub struct Completed {
    pub listed: u64,
    pub added: Added,
    /// The keys of rows whose object was not listed.
    pub extra: BTreeSet<String>,
    /// Whether all work was done before the deadline.
    pub is_complete: bool,
}

/// Adds the traces that the table lacks, and nothing else. Fails if access to all objects is denied.
pub async fn complete(
    table: &Table,
    objects: &dyn Objects,
    deadline: Option<Instant>,
    progress: impl FnMut(SyncStep) + Send,
) -> Result<Completed> {
    let mut shared = None;
    let completed = compare(table, objects, deadline, progress, &mut shared).await?;
    // Only objects that the table lacks are read. If all of them are unreadable objects of others, an object that has a
    // row shows whether access is lost.
    if completed.added.is_denied() && !is_readable(objects, shared).await? {
        completed.added.require_access()?;
    }
    Ok(completed)
}

async fn is_readable(objects: &dyn Objects, key: Option<String>) -> Result<bool> {
    let Some(key) = key else { return Ok(false) };
    match objects.read(&key).await {
        Err(Error::Unreadable(_, reason, _)) => Ok(reason != Unreadable::Denied),
        read => Ok(read?.is_some()),
    }
}

/// Adds the traces that the table lacks. Sets `shared` to a listed key that already had a row.
async fn compare(
    table: &Table,
    objects: &dyn Objects,
    deadline: Option<Instant>,
    mut progress: impl FnMut(SyncStep) + Send,
    shared: &mut Option<String>,
) -> Result<Completed> {
    let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let mut completed = Completed::default();
    let listing = Listing::spool(objects, &is_over, |listed| {
        completed.listed = listed;
        progress(SyncStep::Listed(listed));
    })
    .await?;
    let Some(listing) = listing else { return Ok(completed) };
    let mut days = listing.days()?;
    days.extend(table.load().await?.files().iter().map(|file| file.day));
    let mut compared = 0;
    for day in days {
        let listed = listing.day(day)?;
        let (known, _) = win(table, async |snapshot| {
            let files: Vec<DataFile> = snapshot.files().iter().filter(|file| file.day == day).cloned().collect();
            Ok(Some(snapshot.keys(files).await?.into_iter().collect::<Entries>()))
        })
        .await?;
        *shared = shared.take().or_else(|| known.shared_with(&listed).cloned());
        let missing: Vec<String> = listed.missing_in(&known).cloned().collect();
        for keys in missing.chunks(BUFFERED) {
            if is_over() {
                return Ok(completed);
            }
            completed.added.add(append(table, objects, keys.to_vec()).await?);
        }
        completed.extra.extend(known.missing_in(&listed).cloned());
        compared += listed.len() as u64;
        progress(SyncStep::Compared(compared));
    }
    completed.is_complete = true;
    Ok(completed)
}

/// The listed entries, in one temporary file per day, because a bucket may have more keys than fit into memory.
struct Listing {
    folder: TempDir,
}

impl Listing {
    /// Lists all objects. Returns `None` if the deadline passes first.
    async fn spool(
        objects: &dyn Objects,
        is_over: impl Fn() -> bool,
        mut progress: impl FnMut(u64),
    ) -> Result<Option<Self>> {
        let listing = Self { folder: tempfile::tempdir()? };
        let mut entries = objects.list();
        let (mut listed, mut buffered) = (0, Vec::with_capacity(BUFFERED));
        while let Some(entry) = entries.try_next().await? {
            buffered.push(entry);
            if buffered.len() == BUFFERED {
                listed += buffered.len() as u64;
                listing.write(&mut buffered)?;
                progress(listed);
                if is_over() {
                    return Ok(None);
                }
            }
        }
        listed += buffered.len() as u64;
        listing.write(&mut buffered)?;
        progress(listed);
        Ok(Some(listing))
    }

    fn write(&self, entries: &mut Vec<Entry>) -> Result<()> {
        let mut days: HashMap<Date, Vec<u8>> = HashMap::new();
        for entry in entries.drain(..) {
            let line = (&entry.key, entry.stored.as_second(), &entry.etag);
            let line = serde_json::to_vec(&line).expect("texts and a number are JSON");
            days.entry(entry.day()).or_default().extend([&line[..], b"\n"].concat());
        }
        for (day, lines) in days {
            let mut file = File::options().create(true).append(true).open(self.folder.path().join(day.to_string()))?;
            file.write_all(&lines)?;
        }
        Ok(())
    }

    fn days(&self) -> Result<BTreeSet<Date>> {
        let mut days = BTreeSet::new();
        for entry in fs::read_dir(self.folder.path())? {
            days.extend(entry?.file_name().to_str().and_then(|name| name.parse::<Date>().ok()));
        }
        Ok(days)
    }

    fn day(&self, day: Date) -> Result<Entries> {
        let file = match File::open(self.folder.path().join(day.to_string())) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Entries::default()),
            file => file?,
        };
        let entry = |line: std::io::Result<String>| {
            let (key, second, etag) = serde_json::from_str(&line?)?;
            let stored = Timestamp::from_second(second).map_err(std::io::Error::other)?;
            Ok(Entry { key, stored, etag })
        };
        Ok(BufReader::new(file).lines().map(entry).collect::<std::io::Result<_>>()?)
    }
}
