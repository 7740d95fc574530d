//! `forget`: deletes traces from their bucket and from its lake, and writes a receipt.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufRead, IsTerminal},
    path::{Display, Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use attest::key::Key;
use attest_lake::{
    Location as LakeLocation, Table,
    find::find,
    maintain::{gone, purge, remove},
    objects::{Bucket, Objects},
};
use attest_storage::{Location, aws_config};
use attest_terminal::{ask, fail, note};
use clap::Args;
use indicatif::HumanCount;
use jiff::Timestamp;
use local_aws::s3::FileStore;
use serde::Serialize;

use crate::{
    lake::{Folder, duckdb},
    location::LocationOptions,
};

/// The number of keys that are shown before the question.
const SHOWN: usize = 20;

/// The copies that this command does not reach.
const ELSEWHERE: [&str; 6] = [
    "log lines of the function, which contain keys",
    "replicas and backups of the bucket",
    "exported files, and copies of the lake",
    "results of queries",
    "unfinished uploads to the lake's bucket, which a lifecycle rule deletes",
    "entries of the lake's log before this version, which contain the smallest and largest key of each file",
];

/// The options of `forget`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The command finds the traces, shows them, and asks. Then it deletes their objects with all versions, removes their rows from the
lake, deletes the old files of the lake that contain them, checks that none is left, and writes a receipt without content. If it
fails or is stopped, run it again with --keys and the file of keys that it leaves beside the receipt.

A query that reads one of the old files while they are deleted fails, and must be repeated.

Exit status:
  0  none of the traces is left
  1  nothing was deleted, because the answer was not yes
  2  the command failed")]
pub struct Options {
    /// Forget the traces with the keys in this file, one per line; `-` is standard input, and requires --yes
    #[arg(long, value_name = "FILE", required_unless_present_any = ["text", "condition"], conflicts_with_all = ["text", "condition"])]
    keys: Option<PathBuf>,
    /// Forget all traces of the lake that contain this text (case matters)
    #[arg(long)]
    text: Option<String>,
    /// Forget all traces of the lake for which this condition holds, such as "model = 'gpt-4o'"; requires the DuckDB CLI
    #[arg(long = "where", value_name = "SQL", conflicts_with = "text")]
    condition: Option<String>,
    #[command(flatten)]
    location: LocationOptions,
    /// The lake: a folder, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "LAKE")]
    lake: String,
    /// The file for the receipt, which must not exist
    #[arg(long, value_name = "FILE", default_value = "forgotten.json")]
    receipt: PathBuf,
    /// Delete without asking
    #[arg(long)]
    yes: bool,
}

/// The record of a deletion, without content.
#[derive(Debug, Serialize)]
struct Receipt {
    begun: Timestamp,
    completed: Timestamp,
    source: String,
    lake: String,
    /// The version of the table from which on the rows are gone.
    lake_version: u64,
    deleted_versions: u64,
    removed_rows: usize,
    deleted_files: u64,
    keys: BTreeSet<String>,
    not_covered: [&'static str; 6],
}

/// Forgets, and prints the result.
pub async fn run(options: Options) -> ExitCode {
    match forget(&options).await {
        Ok(Some(receipt)) => {
            note!(
                "forgot {} traces: {} versions, {} rows and {} files are deleted. The receipt is {}",
                HumanCount(receipt.keys.len() as u64),
                HumanCount(receipt.deleted_versions),
                HumanCount(receipt.removed_rows as u64),
                HumanCount(receipt.deleted_files),
                options.receipt.display()
            );
            ExitCode::SUCCESS
        }
        Ok(None) => {
            note!("nothing was deleted");
            ExitCode::FAILURE
        }
        Err(error) => fail(&error, 2),
    }
}

/// The place of the objects, which can also delete them.
enum Place {
    Bucket(Bucket),
    Folder(FileStore, Folder),
}

impl Place {
    async fn open(location: &Location) -> Result<Self> {
        let path = match location {
            Location::Bucket(bucket) => return Ok(Self::Bucket(Bucket::new(&aws_config().await?, bucket.clone()))),
            Location::Folder(path) => path,
        };
        let folder = path.display();
        ensure!(path.is_dir(), "there is no folder {folder}");
        let store = FileStore::open(path).with_context(|| format!("cannot open the folder {folder}"))?;
        Ok(Self::Folder(store.clone(), Folder::new(store)))
    }

    fn objects(&self) -> &dyn Objects {
        match self {
            Self::Bucket(bucket) => bucket,
            Self::Folder(_, folder) => folder,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Bucket(bucket) => format!("s3://{}", bucket.name()),
            Self::Folder(store, _) => store.root().display().to_string(),
        }
    }

    async fn delete(&self, key: &str) -> Result<u64> {
        match self {
            Self::Bucket(bucket) => Ok(bucket.delete_versions(key).await?),
            Self::Folder(store, _) => {
                let (store, name) = (store.clone(), key.to_owned());
                let deleted = tokio::task::spawn_blocking(move || store.delete(&name)).await?;
                Ok(u64::from(deleted.with_context(|| format!("cannot delete {key}"))?))
            }
        }
    }
}

async fn forget(options: &Options) -> Result<Option<Receipt>> {
    let begun = Timestamp::now();
    let place = Place::open(&options.location.location()).await?;
    let table = Table::open_existing(&LakeLocation::open(&options.lake).await?).await;
    let table = table.with_context(|| format!("cannot open the lake {}", options.lake))?;
    let keys = keys(options, &table).await?;
    match &options.keys {
        Some(file) => ensure!(!keys.is_empty(), "{} contains no key", source_of_keys(file)),
        None => ensure!(
            !keys.is_empty(),
            "no trace of the lake matches. If the lake is not up to date, run `attest lake sync` first"
        ),
    }
    if !options.yes && !confirm(&keys, &place.name(), &options.lake)? {
        return Ok(None);
    }
    // The receipt must not fail after the deletion, and must not replace another one.
    let receipt = File::options().create_new(true).write(true).open(&options.receipt);
    let receipt = receipt.with_context(|| format!("cannot create the receipt {}", options.receipt.display()))?;
    // Rows that are gone cannot be found by their text again, so a repetition needs the keys.
    let list = options.receipt.with_extension("keys.txt");
    let lines: String = keys.iter().flat_map(|key| [key, "\n"]).collect();
    fs::write(&list, lines).with_context(|| format!("cannot write the keys to {}", list.display()))?;
    match delete(options, &place, &table, keys, begun).await {
        Ok(forgotten) => {
            let _ = fs::remove_file(&list);
            serde_json::to_writer_pretty(&receipt, &forgotten).context("cannot write the receipt")?;
            receipt.sync_all().context("cannot write the receipt")?;
            Ok(Some(forgotten))
        }
        Err(error) => {
            let _ = fs::remove_file(&options.receipt);
            Err(error.context(format!("not complete: run the command again with --keys {}", list.display())))
        }
    }
}

async fn keys(options: &Options, table: &Table) -> Result<BTreeSet<String>> {
    if let Some(file) = &options.keys {
        let text = if file == Path::new("-") { io::read_to_string(io::stdin()) } else { fs::read_to_string(file) };
        let text = text.with_context(|| format!("cannot read the keys in {}", source_of_keys(file)))?;
        return text.lines().filter(|line| !line.is_empty()).map(key).collect();
    }
    matching(options, table).await
}

/// Returns the keys of the traces in the lake that match the text or the condition.
async fn matching(options: &Options, table: &Table) -> Result<BTreeSet<String>> {
    if let Some(condition) = &options.condition {
        return duckdb::keys(&options.lake, condition).await?.iter().map(|line| key(line)).collect();
    }
    let text = options.text.as_deref().unwrap_or_default();
    ensure!(!text.is_empty(), "an empty text would select all traces");
    Ok(find(table, text).await?.into_iter().map(|entry| entry.key).collect())
}

fn source_of_keys(file: &Path) -> Display<'_> {
    if file == Path::new("-") { Path::new("standard input").display() } else { file.display() }
}

/// Reads a line of a file of keys. A line that is not a key shows that the file contains something else.
fn key(line: &str) -> Result<String> {
    ensure!(Key::read(line).is_some(), "{line:?} is not the key of a trace: nothing was deleted");
    Ok(line.to_owned())
}

fn confirm(keys: &BTreeSet<String>, source: &str, lake: &str) -> Result<bool> {
    ensure!(io::stdin().is_terminal(), "standard input is not a terminal: add --yes to delete without asking");
    for key in keys.iter().take(SHOWN) {
        note!("  {key}");
    }
    if keys.len() > SHOWN {
        note!("  and {} more", HumanCount((keys.len() - SHOWN) as u64));
    }
    ask(format_args!(
        "Delete these {} traces from {source} and {lake} for good? Type yes: ",
        HumanCount(keys.len() as u64)
    ))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

async fn delete(
    options: &Options,
    place: &Place,
    table: &Table,
    keys: BTreeSet<String>,
    begun: Timestamp,
) -> Result<Receipt> {
    let (mut deleted_versions, mut failures) = (0, Vec::new());
    for key in &keys {
        match place.delete(key).await {
            Ok(versions) => deleted_versions += versions,
            // One object that S3 protects must not keep the others.
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    // A key that still has an object keeps its row: the lake stays equal to the bucket.
    let absent = gone(place.objects(), keys.iter().cloned()).await?;
    let stored: Vec<&String> = absent.iter().filter(|(_, stored)| stored.is_some()).map(|(key, _)| key).collect();
    let removed = remove(table, &absent).await?;
    let deleted_files = purge(table, &keys).await?;
    ensure!(
        failures.is_empty(),
        "{} of {} traces are not deleted:\n{}",
        failures.len(),
        keys.len(),
        failures.join("\n")
    );
    ensure!(stored.is_empty(), "{} was stored again meanwhile", stored[0]);
    let left = table.load().await?.rows_of(&keys).await?;
    ensure!(left.is_empty(), "{} rows are left in the lake", left.len());
    if options.keys.is_none() {
        let left = matching(options, table).await?;
        ensure!(
            left.is_empty(),
            "{} matching traces were added meanwhile: run it again with --text or --where too",
            left.len()
        );
    }
    Ok(Receipt {
        begun,
        completed: Timestamp::now(),
        source: place.name(),
        lake: options.lake.clone(),
        lake_version: removed.version,
        deleted_versions,
        removed_rows: removed.removed.len(),
        deleted_files,
        keys,
        not_covered: ELSEWHERE,
    })
}
