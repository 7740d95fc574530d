//! Makes the table equal to the stored traces.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io::{BufRead, BufReader, Write},
};

use futures_util::TryStreamExt;
use jiff::{Timestamp, civil::Date};
use tempfile::TempDir;

use crate::{
    Added, DataFile, Error, Result, Table, append,
    columns::Entry,
    maintain::{self, Maintained, gone, maintain},
    objects::Objects,
    table::MAX_LOST_RACES,
};

/// The number of listed keys that are collected before they are written to the files of their days.
const BUFFERED: usize = 10_000;

/// The outcome of a synchronisation.
#[derive(Debug, Default)]
pub struct Synced {
    /// The number of traces that were listed.
    pub listed: u64,
    /// The traces that were added.
    pub added: Added,
    /// The rows that were removed, and the files that were replaced.
    pub maintained: Maintained,
    /// The number of files that were deleted, because nothing refers to them.
    pub deleted_files: u64,
}

/// A step of a synchronisation, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// This many traces are listed so far.
    Listed(u64),
    /// This many traces of all that are listed are in the table.
    Compared(u64),
}

/// Adds the traces that the table lacks, and removes the rows whose object does not exist.
///
/// It keeps no state: a killed synchronisation is repeated, and two may run at once, also beside the ingest function.
pub async fn sync(
    table: &Table,
    objects: &dyn Objects,
    retention: std::time::Duration,
    mut progress: impl FnMut(Step) + Send,
) -> Result<Synced> {
    let mut synced = Synced::default();
    let listing = Listing::spool(objects, |listed| {
        synced.listed = listed;
        progress(Step::Listed(listed));
    })
    .await?;
    let mut days = listing.days()?;
    days.extend(table.load().await?.files().iter().map(|file| file.day));
    let (mut compared, mut extra) = (0, BTreeSet::new());
    for day in days {
        let listed = listing.day(day)?;
        let known = known(table, day).await?;
        let missing: Vec<String> = listed.difference(&known).map(|entry| entry.key.clone()).collect();
        for keys in missing.chunks(BUFFERED) {
            synced.added.add(append(table, objects, keys.to_vec()).await?);
        }
        extra.extend(known.difference(&listed).map(|entry| entry.key.clone()));
        compared += listed.len() as u64;
        progress(Step::Compared(compared));
    }
    // An object that was stored after the listing has a row that was not listed, so each object is looked up.
    synced.maintained = maintain(table, &gone(objects, extra).await?).await?;
    synced.deleted_files = maintain::vacuum(table, retention, &synced.maintained.replaced).await?;
    Ok(synced)
}

/// Reads the entries of a day's partition.
async fn known(table: &Table, day: Date) -> Result<HashSet<Entry>> {
    for _ in 0..MAX_LOST_RACES {
        let snapshot = table.load().await?;
        let files: Vec<DataFile> = snapshot.files().iter().filter(|file| file.day == day).cloned().collect();
        match snapshot.keys(files).await {
            Err(error) if error.is_deleted_file() => {}
            known => return known,
        }
    }
    Err(Error::Contention(MAX_LOST_RACES))
}

/// The listed entries, in a temporary file per day: a bucket may have more keys than memory holds.
struct Listing {
    folder: TempDir,
}

impl Listing {
    async fn spool(objects: &dyn Objects, mut progress: impl FnMut(u64)) -> Result<Self> {
        let listing = Self { folder: tempfile::tempdir()? };
        let mut entries = objects.list();
        let (mut listed, mut buffered) = (0, Vec::with_capacity(BUFFERED));
        while let Some(entry) = entries.try_next().await? {
            buffered.push(entry);
            if buffered.len() == BUFFERED {
                listed += buffered.len() as u64;
                listing.write(&mut buffered)?;
                progress(listed);
            }
        }
        listed += buffered.len() as u64;
        listing.write(&mut buffered)?;
        progress(listed);
        Ok(listing)
    }

    fn write(&self, entries: &mut Vec<Entry>) -> Result<()> {
        let mut days: HashMap<Date, Vec<u8>> = HashMap::new();
        for Entry { key, stored } in entries.drain(..) {
            let day = Entry { key: String::new(), stored }.day();
            let line = serde_json::to_vec(&(key, stored.as_second())).expect("a text and a number are JSON");
            days.entry(day).or_default().extend([&line[..], b"\n"].concat());
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

    fn day(&self, day: Date) -> Result<HashSet<Entry>> {
        let file = match File::open(self.folder.path().join(day.to_string())) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashSet::new()),
            file => file?,
        };
        let mut entries = HashSet::new();
        for line in BufReader::new(file).lines() {
            let (key, second) = serde_json::from_str(&line?).map_err(std::io::Error::from)?;
            let stored = Timestamp::from_second(second).map_err(std::io::Error::other)?;
            entries.insert(Entry { key, stored });
        }
        Ok(entries)
    }
}
