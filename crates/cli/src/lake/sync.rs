//! `lake sync`: reconciles a lake with the stored traces.

use std::{
    process::{self, ExitCode},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use attest::unreadable::Unreadable;
use attest_lake::{
    LakeLocation, Table,
    objects::{Bucket, Objects},
    sync::{SyncStep, Synced, sync},
};
use attest_storage::{Location, LocationOptions, aws_config};
use attest_terminal::{fail, note, progress::Progress, shutdown::stop_signal};
use clap::Args;
use indicatif::HumanCount;
use local_aws::s3::FileStore;

use super::{
    Folder,
    source::{claim, source_of},
};

/// The options of `lake sync`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A lake is a Delta table with one row per trace, in a folder or in a bucket. The command lists the stored traces, adds those that
the lake lacks, and removes the rows of traces that no longer exist. It keeps no state. It may be killed, and it may run twice at
once: run it again to complete the lake.

Others may write to the bucket. Objects that are larger than any trace, archived, encrypted with a customer's key, or denied are
left out and counted. If access to all of them is denied, the command fails.

Exit status:
  0  the lake equals the stored traces
  1  some objects are not traces or cannot be read, and were left out
  2  the command failed or was stopped: run it again")]
pub struct SyncOptions {
    #[command(flatten)]
    location: LocationOptions,
    /// The lake: a folder, or s3://BUCKET/PREFIX
    #[arg(long, short, value_name = "LAKE")]
    output: String,
    /// The days after which a replaced file is deleted. With 0, a query that is running may fail
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    retention_days: u32,
    /// Accept traces from another place than the recorded one. Rows of traces that are not in this place are
    /// removed
    #[arg(long)]
    replace_source: bool,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

pub async fn run(options: SyncOptions) -> ExitCode {
    let synced = tokio::select! {
        synced = synchronise(&options) => synced,
        () = stop_signal() => {
            note!("stopped: run the same command again to resume");
            // A thread that reads from a slow file system must not delay the exit.
            process::exit(2)
        }
    };
    match synced {
        Ok(synced) => {
            report(&synced);
            let is_equal = synced.added.invalid.is_empty() && synced.added.skipped.is_empty();
            if is_equal { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => fail(&error, 2),
    }
}

pub async fn objects(location: &Location) -> Result<Box<dyn Objects>> {
    match location {
        Location::Bucket(bucket) => Ok(Box::new(Bucket::new(&aws_config().await?, bucket.clone()))),
        Location::Folder(folder) => {
            let store = FileStore::read_only(folder);
            let store = store.with_context(|| format!("cannot read the folder {}", folder.display()))?;
            Ok(Box::new(Folder::new(store)))
        }
    }
}

async fn synchronise(options: &SyncOptions) -> Result<Synced> {
    super::keep_private();
    let place = options.location.location();
    let objects = objects(&place).await?;
    let location = LakeLocation::open(&options.output).await?;
    let table = Table::open(&location).await.with_context(|| format!("cannot open the lake {}", options.output))?;
    let source = source_of(&place).await?;
    if options.replace_source {
        table.set_source(&source).await?;
    } else {
        let advice = "; if the traces have moved there, add --replace-source";
        claim(&table, &source, &*objects).await.map_err(|error| anyhow!("{error:#}{advice}"))?;
    }
    let retention = Duration::from_hours(24 * u64::from(options.retention_days));
    let progress = |name: &str| Progress::new(name.to_owned(), "traces", None, Arc::default(), options.quiet);
    let (mut listed, mut compared) = (progress("listed"), progress(&options.output));
    let synced = sync(&table, &*objects, retention, None, |step| match step {
        SyncStep::Listed(count) => listed.update(count),
        SyncStep::Compared(count) => compared.update(count),
    });
    let synced = synced.await.with_context(|| format!("cannot complete the lake {}", options.output));
    listed.finish();
    compared.finish();
    synced
}

fn report(synced: &Synced) {
    for key in &synced.added.invalid {
        note!("{key} is not a trace");
    }
    for (key, reason) in synced.added.skipped.iter() {
        note!("{key} cannot be read: {reason}");
    }
    let line = |count: u64, name: &str| note!("{:>13} {name}", HumanCount(count).to_string());
    line(synced.listed, "listed");
    line(synced.added.rows, "added");
    line(synced.maintained.removed.len() as u64, "removed, because their object no longer exists");
    line(synced.added.invalid.len() as u64, "not traces");
    for reason in Unreadable::ALL {
        let count = synced.added.skipped.count(reason);
        if count > 0 {
            line(count, &format!("left out: {reason}"));
        }
    }
    line(synced.maintained.replaced.len() as u64, "files replaced");
    line(synced.deleted_files, "files deleted");
}
