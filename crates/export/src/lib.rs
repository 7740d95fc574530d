//! `attest export`: writes stored traces as JSON Lines or as fine-tuning examples.

use std::process::{self, ExitCode};

use attest_query::Field;
use attest_terminal::{fail, note, shutdown::stop_signal};
use clap::{Args, Subcommand};

use completion::{Completion, RESUME};
use counts::ExportCounts;
use fine_tuning::FineTuningOptions;
use json_lines::JsonLinesOptions;

mod completion;
mod compression;
mod counts;
mod fine_tuning;
mod json_lines;
mod line_export;
mod line_output;
mod part_file;
mod paths;
mod state_file;
mod traces;

pub use traces::{ReadOptions, ReadTrace, Traces};

/// The command line of `attest export`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_long_help = format!("\
Without a subcommand, the export writes JSON Lines: one trace per line, in the order of the keys. Each line has the
bytes of the stored trace without the line breaks between its tokens. FILE is compressed if its name ends with .gz or
.zst; `-` is standard output.

An interrupted export leaves FILE.part and FILE.part.checkpoint. Run the same command again to resume it.

Exit status:
  0  every selected trace is exported, except those that the format of the examples cannot express
  1  some objects are not traces or cannot be read, and were left out
  2  the export failed or was stopped: run the same command again to resume

{}", Field::help())
)]
pub struct ExportOptions {
    #[command(subcommand)]
    format: Option<FileFormat>,
    #[command(flatten)]
    json_lines: JsonLinesOptions,
}

/// A format with its own options.
#[derive(Debug, Subcommand)]
enum FileFormat {
    /// Write fine-tuning examples, one conversation per line, in the format of OpenAI's chat models
    FineTuning(Box<FineTuningOptions>),
}

/// Exports traces and prints the counts to standard error.
pub async fn run(options: ExportOptions) -> ExitCode {
    let mut counts = ExportCounts::default();
    let stop = std::pin::pin!(stop_signal());
    let result = match options.format {
        Some(FileFormat::FineTuning(options)) => options.export(&mut counts, stop).await,
        None => options.json_lines.export(&mut counts, stop).await,
    };
    if result.is_ok() || counts.total() > 0 {
        note!("{}\n", counts.to_string().trim_end());
    }
    match result {
        Ok(Completion::Complete) if counts.not_traces == 0 && counts.unreadable.is_empty() => ExitCode::SUCCESS,
        Ok(Completion::Complete) => ExitCode::FAILURE,
        Ok(Completion::Interrupted) => {
            note!("stopped: {RESUME}");
            // A thread that reads from a slow file system must not delay the exit. Everything is saved and unlocked.
            process::exit(2)
        }
        Err(error) => fail(&error, 2),
    }
}
