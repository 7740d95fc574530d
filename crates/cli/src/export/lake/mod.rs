//! A lake: Parquet files with one row per trace, however often the export is killed or repeated.
//!
//! A run lists the traces, leaves out those that the state has recorded, and sorts the rest by day into files of keys in the
//! state folder. Then it reads day by day. After each Parquet file it records the keys of that file. A resumed run writes an
//! unrecorded file again under the same name. File names contain the random id of their run, so two runs never share one. The
//! state records keys, not times, so it does not depend on a clock.

use std::{path::PathBuf, pin::Pin, sync::Arc};

use anyhow::Result;
use clap::{
    Args,
    builder::{PathBufValueParser, TypedValueParser},
};

use super::{
    completion::{Completion, RESUME},
    counts::ExportCounts,
    paths,
    traces::ReadOptions,
};
use crate::progress::Progress;
use destination::{Destination, LakeLocation};
use run::{LakeRun, Listing};
use state::State;

mod columns;
mod destination;
mod parquet_file;
mod run;
mod state;

/// The options of the format Parquet.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A lake has a folder per day, in UTC, of the time when a trace was stored. Its files have about 128 MB each. A later run of the
same command adds the traces that the lake does not have yet, and resumes an interrupted run.")]
pub struct LakeOptions {
    #[command(flatten)]
    read: ReadOptions,
    /// The folder to write, or s3://BUCKET/PREFIX
    #[arg(long, short, value_name = "DIR", value_parser = PathBufValueParser::new().try_map(LakeLocation::parse))]
    output: LakeLocation,
    /// The folder that records which traces are in the lake [default: below DIR/.attest; none for S3]
    #[arg(long)]
    state: Option<PathBuf>,
}

impl LakeOptions {
    /// Exports until every trace is processed or `stop` is ready.
    pub async fn export(
        &self,
        counts: &mut ExportCounts,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Completion> {
        let traces = self.read.open().await?;
        // The paths are checked before a folder is created, so a typo in one of them creates nothing.
        let state = self.state.as_deref().map(paths::canonical).transpose()?;
        let destination = Destination::open(&self.output).await?;
        let mut state = State::open(state, traces.origin(), &destination).await?;
        let is_temporary = state.is_temporary();
        let mut progress = Progress::new(destination.name(), "traces", None, Arc::default(), self.read.quiet);
        let work = async {
            loop {
                let mut run = LakeRun::begin(&traces, &destination, &mut state, counts)?;
                let is_resumed = run.list().await? == Listing::Resumed;
                for day in run.days()? {
                    run.write(&day, counts, &mut progress).await?;
                }
                run.end()?;
                // A resumed run has an old listing, which lacks newer traces.
                if !is_resumed {
                    return anyhow::Ok(());
                }
            }
        };
        let result = tokio::select! {
            biased;
            () = &mut stop => None,
            result = work => Some(result),
        };
        progress.finish();
        let advice = match state.run_id() {
            Some(id) if is_temporary => format!(
                "without --state it cannot be resumed: delete the lake's files day=*/{id}-* before you run it again"
            ),
            _ => RESUME.to_owned(),
        };
        match result {
            None => Ok(Completion::Interrupted { advice }),
            Some(Err(error)) => Err(error.context(format!("the export is not complete; {advice}"))),
            Some(Ok(())) => Ok(Completion::Complete),
        }
    }
}
