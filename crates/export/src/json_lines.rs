//! JSON Lines: one stored trace per line, unchanged except for line breaks.

use std::{path::PathBuf, pin::Pin};

use anyhow::Result;
use attest_mapping::json::one_line;
use clap::Args;

use super::{
    completion::Completion,
    counts::ExportCounts,
    line_export::{ExportLine, LineFormat, export},
    line_output::output_parser,
    traces::ReadOptions,
};

/// The options of the JSON Lines format.
#[derive(Debug, Args)]
pub struct JsonLinesOptions {
    #[command(flatten)]
    read: ReadOptions,
    /// The file to write; `-` is standard output
    // Clap cannot flatten required options next to a subcommand that negates them, so the type is optional.
    #[arg(long, short, value_name = "FILE", required = true, value_parser = output_parser())]
    output: Option<PathBuf>,
}

impl JsonLinesOptions {
    pub async fn export(
        &self,
        counts: &mut ExportCounts,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Completion> {
        let format = LineFormat {
            name: "JSON Lines".to_owned(),
            dedupe: false,
            line: |trace: &[u8]| ExportLine::Write(one_line(trace)),
        };
        let output = self.output.as_ref().expect("clap requires --output if there is no subcommand");
        export(&self.read, output, &format, counts, stop).await
    }
}
