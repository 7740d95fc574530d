use std::path::PathBuf;

use attest_query::{Field, QueryOption};
use attest_storage::LocationOptions;
use clap::Args;

#[derive(Debug, Args)]
#[command(after_long_help = format!("\
With --query, --text and --where, the command first adds the traces to the lake that it lacks. Then it finds the traces, also in
old versions of objects and in old files of the lake, shows them, and asks. It deletes their objects with all versions, removes
their rows from the lake, deletes the old files of the lake that contain them with all versions, checks that none is left, and
writes a receipt without content. If it fails or is stopped, run it again. It continues with the list of keys that it leaves beside
the receipt, and so does --keys with that list.

A query that reads one of the old files while they are deleted fails, and must be repeated.

Exit status:
  0  none of the traces is left in the bucket and the lake; the receipt lists other copies. With --dry-run, all were searched
  1  nothing was deleted, because the answer was not yes
  2  the command failed, or no trace matches, or objects were not searched, because they cannot be read, or are not traces and
     only --text searches their content: the command and the receipt list them

{}", Field::help()))]
pub struct ForgetOptions {
    /// Forget the traces with the keys in this file, one per line; `-` is standard input, and requires --yes
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["query", "text", "condition"],
        conflicts_with_all = ["query", "text", "condition"]
    )]
    pub keys: Option<PathBuf>,
    #[command(flatten)]
    pub selection: QueryOption,
    /// Forget all traces whose JSON contains this text, also within JSON in their strings (case matters)
    #[arg(long, conflicts_with = "query")]
    pub text: Option<String>,
    /// Ignore case in --text
    #[arg(long, requires = "text")]
    pub ignore_case: bool,
    /// Forget all traces for which this condition on the lake's columns holds, such as "model = 'gpt-4o'"; requires the
    /// DuckDB CLI
    #[arg(long = "where", value_name = "SQL", conflicts_with_all = ["query", "text"])]
    pub condition: Option<String>,
    #[command(flatten)]
    pub location: LocationOptions,
    /// The lake: a folder, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "LAKE")]
    pub lake: String,
    /// The file for the receipt, which must not exist
    #[arg(long, value_name = "FILE", default_value = "forgotten.json")]
    pub receipt: PathBuf,
    /// Print the keys of the traces to standard output, one per line, and delete nothing
    #[arg(long, conflicts_with_all = ["keys", "yes"])]
    pub dry_run: bool,
    /// Delete without asking
    #[arg(long)]
    pub yes: bool,
}
