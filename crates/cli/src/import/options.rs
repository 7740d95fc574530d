//! The options of `import`.

use std::{env, path::PathBuf};

use anyhow::{Context, Result, anyhow};
use attest_mapping::Format;
use attest_terminal::{api_key, note};
use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};

use crate::serve::StoreOptions;

/// Options of the command `import`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Each line is one trace. Run the same command again after an interruption: it resumes, and stores nothing twice. A line's
Idempotency-Key is derived from its bytes, and FILE.checkpoint records the confirmed lines. FILE.rejected.jsonl has the
reason for each rejected line, and FILE.rejected-lines.jsonl has those lines, so you can fix and import them. Their
names get a number if a file with that name is not from an earlier run or was changed.

Exit status:
  0  every line is stored
  1  some lines were rejected
  2  the import failed or was stopped; run it again to resume")]
pub struct ImportOptions {
    /// Files in JSON Lines, plain or compressed with gzip or zstd; `-` is standard input
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// URL of the endpoint: the stack's ApiUrl output. Without it, traces are stored where `serve` would store them
    /// with the same options
    #[arg(long)]
    pub url: Option<String>,
    /// API key of the endpoint. A key in the environment is not visible to other users of the machine
    #[arg(long, env = "ATTEST_API_KEY", hide_env_values = true, value_parser = api_key::parse)]
    pub api_key: Option<String>,
    /// The location of the traces in an import without `--url`.
    #[command(flatten)]
    pub store: StoreOptions,
    /// Largest number of requests in flight
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// Longest time for retries while nothing is confirmed, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub retry_for: u32,
    /// Format of the lines if they are a provider's log instead of traces
    #[arg(long, value_name = "FORMAT", value_parser = format())]
    pub from: Option<Format>,
    /// Folder for checkpoints and rejected lines [default: the folder of each file]
    #[arg(long, value_name = "FOLDER")]
    pub state: Option<PathBuf>,
    /// Validate only: send nothing, write no files, and show why lines would be rejected
    #[arg(long)]
    pub dry_run: bool,
    /// Hide the progress
    #[arg(long, short)]
    pub quiet: bool,
}

fn format() -> impl TypedValueParser<Value = Format> {
    let formats = Format::ALL.map(|format| PossibleValue::new(format.name()).help(format.description()));
    PossibleValuesParser::new(formats)
        .map(|name| Format::from_name(&name).expect("the parser accepts only names of formats"))
}

/// The variable that held the API key in earlier versions.
const EARLIER_KEY: &str = "API_KEY";

impl ImportOptions {
    /// Returns the API key of `--url`.
    pub fn api_key(&self) -> Result<String> {
        if let Some(key) = &self.api_key {
            return Ok(key.clone());
        }
        let key = env::var(EARLIER_KEY).ok().filter(|key| !key.is_empty());
        let key = key.context("set ATTEST_API_KEY, or --api-key: --url needs the API key of the endpoint")?;
        note!("warning: set ATTEST_API_KEY: {EARLIER_KEY} will not be read by a later version");
        api_key::parse(&key).map_err(|why| anyhow!("{EARLIER_KEY}: {why}"))
    }
}
