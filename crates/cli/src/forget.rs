//! `forget`: deletes traces from their bucket and from its lake, and writes a receipt.

mod options;
mod pending;
mod place;
mod receipt;
mod selection;

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context, Result, ensure};
use attest_lake::{
    LakeFile, LakeLocation, Table, append,
    files::{self, delete_staged, unreferenced},
    maintain::{gone, remove},
    race::win,
    sync::complete,
};
use attest_terminal::{Output, ask, fail, note, run_lock::RunLock};
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::HumanCount;
use jiff::Timestamp;

pub use self::options::ForgetOptions;
use self::{
    pending::{Pending, persist},
    place::ForgetPlace,
    receipt::{ELSEWHERE, ForgetReceipt, NotSearched},
    selection::{Selection, digest_of_places, keys_of},
};
use crate::lake::source::{require, source_of};

/// The largest number of keys that are listed before the confirmation prompt.
const SHOWN: usize = 20;

/// The number of files that are searched concurrently. Each may have several 8 MB batches in memory.
const CONCURRENT: usize = 4;

enum ForgetOutcome {
    /// With `--dry-run`.
    Found(FoundTraces),
    Forgotten(Box<ForgetReceipt>),
    /// An earlier run wrote the receipt, but was stopped before it deleted its list.
    CompletedBefore,
    Refused,
}

pub async fn run(options: ForgetOptions) -> ExitCode {
    match forget(&options).await {
        Ok(ForgetOutcome::Forgotten(receipt)) => {
            report(&receipt);
            note!("The receipt is {}", options.receipt.display());
            // An object that was not searched may contain the text.
            if receipt.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) }
        }
        Ok(ForgetOutcome::Found(found)) => match list(&found) {
            Ok(()) if found.unreadable.is_empty() => ExitCode::SUCCESS,
            Ok(()) => ExitCode::from(2),
            Err(error) => fail(&error, 2),
        },
        Ok(ForgetOutcome::CompletedBefore) => {
            note!("an earlier run is complete. The receipt is {}", options.receipt.display());
            ExitCode::SUCCESS
        }
        Ok(ForgetOutcome::Refused) => {
            note!("nothing was deleted");
            ExitCode::FAILURE
        }
        Err(error) => fail(&error, 2),
    }
}

fn report(receipt: &ForgetReceipt) {
    note!(
        "forgot {} traces: {} versions, {} rows and {} files are deleted",
        HumanCount(receipt.keys.len() as u64),
        HumanCount(receipt.deleted_versions),
        HumanCount(receipt.removed_rows as u64),
        HumanCount(receipt.deleted_files),
    );
    for key in &receipt.absent {
        note!("{key} did not exist");
    }
    report_unsearched(&receipt.unreadable);
    for file in &receipt.files_of_others {
        note!("{file} below the lake belongs to another program, and was not searched");
    }
}

fn report_unsearched(objects: &[NotSearched]) {
    for NotSearched { key, version, reason } in objects {
        let version = version.as_ref().map(|version| format!("the version {version} of ")).unwrap_or_default();
        note!("{version}{key} was not searched: {reason}");
    }
}

/// Prints what a run would delete.
fn list(found: &FoundTraces) -> Result<()> {
    report_unsearched(&found.unreadable);
    let keys: BTreeSet<_> = found.keys.union(&found.old_keys).collect();
    note!("{} traces and {} old files match; nothing was deleted", HumanCount(keys.len() as u64), found.old_files);
    let mut output = Output::default();
    keys.into_iter().try_for_each(|key| writeln!(output, "{key}"))?;
    Ok(output.flush()?)
}

/// A bucket, its lake, and the traces to forget.
struct Run<'a> {
    options: &'a ForgetOptions,
    place: ForgetPlace,
    table: Table,
    selection: Selection,
    begun: Timestamp,
}

#[derive(Default)]
struct FoundTraces {
    /// The keys of objects and rows.
    keys: BTreeSet<String>,
    /// The keys of noncurrent object versions.
    old_keys: BTreeSet<String>,
    old_files: usize,
    unreadable: Vec<NotSearched>,
}

impl FoundTraces {
    /// Fails if nothing was found, and an earlier run has left nothing to delete.
    fn require_any(&self, pending: &BTreeSet<String>) -> Result<()> {
        let is_any = !(pending.is_empty() && self.keys.is_empty() && self.old_keys.is_empty()) || self.old_files > 0;
        if !is_any {
            report_unsearched(&self.unreadable);
        }
        ensure!(is_any, "no trace of the lake matches");
        Ok(())
    }
}

async fn forget(options: &ForgetOptions) -> Result<ForgetOutcome> {
    crate::lake::keep_private();
    let lock = options.receipt.with_extension("lock");
    let lock = || RunLock::acquire(&lock, &format!("the receipt {}", options.receipt.display()));
    // A dry run writes no receipt.
    let _lock = if options.dry_run { None } else { Some(lock()?) };
    let location = options.location.location();
    let place = ForgetPlace::open(&location).await?;
    let table = Table::open_existing(&LakeLocation::open(&options.lake).await?).await;
    let table = table.with_context(|| format!("cannot open the lake {}", options.lake))?;
    let source = source_of(&location).await?;
    require(&table, &source).await?;
    let selection = Selection::of(options).await?;
    let places = |salt: &str| digest_of_places(&source, table.location(), salt);
    let pending = if options.dry_run { None } else { Some(Pending::begin(options, &selection, places)?) };
    if let Some(None) = pending {
        return Ok(ForgetOutcome::CompletedBefore);
    }
    table.upgrade().await?;
    let run = Run { options, place, table, selection, begun: Timestamp::now() };
    let found = run.find().await?;
    let Some(mut pending) = pending.flatten() else {
        found.require_any(&BTreeSet::new())?;
        return Ok(ForgetOutcome::Found(found));
    };
    pending.keys.extend(found.keys.iter().chain(&found.old_keys).cloned());
    found.require_any(&pending.keys)?;
    if !options.yes && !run.confirm(&pending.keys, found.old_files)? {
        return Ok(ForgetOutcome::Refused);
    }
    pending.write()?;
    let receipt = match run.delete(&pending, found).await {
        Ok(receipt) => receipt,
        Err(error) if error.is::<NothingThere>() => {
            pending.delete();
            return Err(error);
        }
        Err(error) => {
            let path = pending.path().display();
            return Err(error.context(format!("not complete: run the command again with --keys {path}")));
        }
    };
    let json = serde_json::to_vec_pretty(&receipt)?;
    persist(&options.receipt, &json, false)
        .with_context(|| format!("cannot write the receipt {}: run the command again", options.receipt.display()))?;
    pending.delete();
    Ok(ForgetOutcome::Forgotten(Box::new(receipt)))
}

/// None of the keys has an object, a row or an old file.
#[derive(Debug)]
struct NothingThere(usize, String);

impl fmt::Display for NothingThere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "none of the {} keys exists in {} or its lake", self.0, self.1)
    }
}

impl std::error::Error for NothingThere {}

impl Run<'_> {
    async fn find(&self) -> Result<FoundTraces> {
        if let Selection::Keys(keys) = &self.selection {
            return Ok(FoundTraces { keys: keys.clone(), ..FoundTraces::default() });
        }
        let mut found = self.find_current().await?;
        found.old_keys = self.place.old_keys(&self.selection, &mut found.unreadable).await?;
        for file in unreferenced(&self.table).await?.files {
            if let Some(keys) = self.search_old(&file, &BTreeSet::new()).await? {
                found.old_files += 1;
                // Such a row's object may be a later one, which does not match.
                let absent = gone(self.place.objects(), keys.difference(&found.keys).cloned()).await?;
                found.keys.extend(absent.into_iter().filter(|(_, stored)| stored.is_none()).map(|(key, _)| key));
            }
        }
        let absent = gone(self.place.objects(), found.old_keys.difference(&found.keys).cloned()).await?;
        found.keys.extend(absent.into_iter().filter(|(_, stored)| stored.is_none()).map(|(key, _)| key));
        Ok(found)
    }

    /// Adds the traces that the lake lacks, and searches all rows.
    async fn find_current(&self) -> Result<FoundTraces> {
        let completed = complete(&self.table, self.place.objects(), None, |_| ()).await;
        let completed = completed.with_context(|| format!("cannot complete the lake {}", self.options.lake))?;
        let (keys, _) = win(&self.table, async |snapshot| {
            let searches = snapshot.lake_files()?.into_iter().map(|file| self.search(file));
            let mut searches = std::pin::pin!(stream::iter(searches).buffer_unordered(CONCURRENT));
            let mut keys = BTreeSet::new();
            while let Some(found) = searches.next().await {
                match found {
                    Ok(found) => keys.extend(found),
                    Err(error) if is_deleted(&error) => return Ok(None),
                    Err(error) => return Ok(Some(Err(error))),
                }
            }
            Ok(Some(Ok(keys)))
        })
        .await?;
        let mut keys = keys?;
        let skipped = completed.added.skipped.iter().filter(|(key, _)| self.selection.may_select(key));
        let mut unreadable: Vec<_> = skipped.map(|(key, reason)| NotSearched::unreadable(key, None, reason)).collect();
        let not_traces = &completed.added.invalid;
        match &self.selection {
            Selection::Content(content) => {
                keys.extend(self.place.matching_objects(not_traces, content, &mut unreadable).await?);
            }
            _ => unreadable.extend(not_traces.iter().map(|key| NotSearched::not_a_trace(key, None))),
        }
        Ok(FoundTraces { keys, unreadable, ..FoundTraces::default() })
    }

    async fn search(&self, file: LakeFile) -> Result<BTreeSet<String>> {
        self.selection.keys_in(&file).await
    }

    /// Returns the keys for which an old file has to be deleted, or `None` if it may stay.
    async fn search_old(&self, file: &LakeFile, keys: &BTreeSet<String>) -> Result<Option<BTreeSet<String>>> {
        let search = async {
            let mut found = keys_of(file, keys).await?;
            if found.is_empty() {
                // Reading the keys detects a file that was not written completely.
                file.keys().await?;
                found = self.selection.keys_in(file).await?;
            }
            Ok(found)
        };
        match search.await {
            Ok(found) => Ok(Some(found).filter(|found: &BTreeSet<String>| !found.is_empty())),
            Err(error) if is_deleted(&error) => Ok(None),
            // A file that cannot be read may contain the text.
            Err(error) if is_broken(&error) => Ok(Some(BTreeSet::new())),
            Err(error) => Err(error),
        }
    }

    fn confirm(&self, keys: &BTreeSet<String>, old_files: usize) -> Result<bool> {
        ensure!(io::stdin().is_terminal(), "standard input is not a terminal: add --yes to delete without asking");
        for key in keys.iter().take(SHOWN) {
            note!("  {key}");
        }
        if keys.len() > SHOWN {
            note!("  and {} more", HumanCount((keys.len() - SHOWN) as u64));
        }
        let traces = HumanCount(keys.len() as u64);
        let (place, lake) = (self.place.name(), &self.options.lake);
        ask(format_args!(
            "Delete these {traces} traces and {old_files} old files from {place} and {lake} for good? Type yes: "
        ))?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(answer.trim() == "yes")
    }

    async fn delete(&self, pending: &Pending, found: FoundTraces) -> Result<ForgetReceipt> {
        let keys = &pending.keys;
        let (mut deleted_versions, mut failures, mut existing) = (0, Vec::new(), BTreeSet::new());
        for key in keys {
            let is_current = !found.keys.contains(key) && found.old_keys.contains(key);
            let deleted =
                if is_current { self.place.delete_noncurrent(key).await } else { self.place.delete(key).await };
            match deleted {
                Ok(versions) => {
                    deleted_versions += versions;
                    if versions > 0 {
                        existing.insert(key.clone());
                    }
                }
                // An object that S3 protects must not prevent the deletion of the others.
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        // A key that still has an object keeps its row, so that the lake matches the bucket.
        let absent = gone(self.place.objects(), keys.iter().cloned()).await?;
        let kept = |key: &String| found.old_keys.contains(key) && !found.keys.contains(key);
        let stored = absent.iter().find(|(key, stored)| stored.is_some() && !kept(key)).map(|(key, _)| key);
        let removed = remove(&self.table, &absent).await?;
        // An object that still exists gets a row for its current version.
        let again = absent.iter().filter(|(_, stored)| stored.is_some()).map(|(key, _)| key.clone()).collect();
        append(&self.table, self.place.objects(), again).await?;
        existing.extend(removed.removed.iter().map(|row| row.key.clone()));
        let doomed: BTreeSet<String> = keys.iter().filter(|key| !kept(key)).cloned().collect();
        let (deleted_files, files_of_others) = self.purge(&doomed, &mut existing).await?;
        ensure!(
            failures.is_empty(),
            "{} of {} traces are not deleted:\n{}",
            failures.len(),
            keys.len(),
            failures.join("\n")
        );
        if let Some(key) = stored {
            anyhow::bail!("{key} was stored again meanwhile");
        }
        let left = self.table.load().await?.rows_of(&doomed).await?;
        ensure!(left.is_empty(), "{} rows are left in the lake", left.len());
        let is_by_key = matches!(self.selection, Selection::Keys(_));
        if is_by_key && !pending.is_resumed && existing.is_empty() {
            return Err(NothingThere(keys.len(), self.place.name()).into());
        }
        if !is_by_key {
            let left = self.find_current().await?.keys;
            ensure!(left.is_empty(), "{} matching traces were stored meanwhile: run the command again", left.len());
        }
        Ok(ForgetReceipt {
            run: pending.run.clone(),
            begun: self.begun,
            completed: Timestamp::now(),
            source: self.place.name(),
            lake: self.options.lake.clone(),
            lake_version: removed.version,
            deleted_versions,
            removed_rows: removed.removed.len(),
            deleted_files,
            keys: keys.clone(),
            absent: if pending.is_resumed { BTreeSet::new() } else { keys.difference(&existing).cloned().collect() },
            unreadable: found.unreadable,
            files_of_others,
            not_covered: ELSEWHERE,
        })
    }

    /// Deletes the old files that contain one of these keys or belong to the selection, whatever their age.
    ///
    /// The rows with these keys must be removed first, so that a commit that is being prepared with one of these files
    /// loses its race.
    async fn purge(&self, keys: &BTreeSet<String>, existing: &mut BTreeSet<String>) -> Result<(u64, Vec<String>)> {
        // An unfinished file cannot be read, so it may contain the text. Its writer then fails, and must run again.
        let mut deleted = delete_staged(self.table.location(), SystemTime::now()).await?;
        let unreferenced = unreferenced(&self.table).await?;
        let searches = unreferenced.files.into_iter().map(|file| async move {
            let found = self.search_old(&file, keys).await?;
            Ok::<_, anyhow::Error>(found.map(|found| (file, found)))
        });
        let mut searches = std::pin::pin!(stream::iter(searches).buffer_unordered(CONCURRENT));
        while let Some(found) = searches.try_next().await? {
            if let Some((file, found)) = found {
                files::delete(&self.table, &file).await?;
                existing.extend(found);
                deleted += 1;
            }
        }
        Ok((deleted, unreferenced.foreign))
    }
}

fn is_deleted(error: &anyhow::Error) -> bool {
    error.downcast_ref::<attest_lake::Error>().is_some_and(attest_lake::Error::is_deleted_file)
}

fn is_broken(error: &anyhow::Error) -> bool {
    error.downcast_ref::<attest_lake::Error>().is_some_and(attest_lake::Error::is_broken_file)
}
