//! Imports one file: reads lines, keeps requests in flight, and records their outcomes.

use std::{pin::pin, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{select, sync::mpsc, task::JoinSet, time::sleep};

use super::{
    checkpoint::{Checkpoint, Reader},
    counts::Counts,
    input::InputFile,
    lines::{self, Line, Text},
    options::Options,
    outcome::Outcome,
    rejected::Rejected,
    stop::Stop,
    target::Target,
};
use crate::progress::Progress;

/// The time limit of requests in flight after the first signal.
const GRACE: Duration = Duration::from_secs(10);

/// The largest number of reasons that a dry run shows.
const SHOWN: u64 = 100;

/// The way in which a file's import ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Done,
    Stopped,
}

pub struct FileImport<'a> {
    options: &'a Options,
    file: InputFile,
    target: Arc<Target>,
    checkpoint: Option<Checkpoint>,
    /// `None` in a dry run, which writes nothing.
    rejected: Option<Rejected>,
    progress: Progress,
    counts: Counts,
    in_flight: JoinSet<(Line, Result<Outcome>)>,
    last_line: u64,
}

impl<'a> FileImport<'a> {
    pub fn new(
        options: &'a Options,
        file: InputFile,
        target: Arc<Target>,
        checkpoint: Option<Checkpoint>,
        rejected: Option<Rejected>,
    ) -> Self {
        let name = file.path.display().to_string();
        let progress = Progress::new(name, "lines", file.size, Arc::clone(&file.read), options.quiet);
        let counts = Counts { is_dry_run: options.dry_run, ..Counts::default() };
        Self { options, file, target, checkpoint, rejected, progress, counts, in_flight: JoinSet::new(), last_line: 0 }
    }

    /// Imports the file until its end, an error or a signal. The counts are correct in each case.
    pub async fn run(&mut self, stop: &Stop, warned: &mut mpsc::UnboundedReceiver<String>) -> Result<End> {
        let end = self.import(stop, warned).await;
        self.in_flight.abort_all();
        if let Some(paths) = self.rejected.as_ref().and_then(Rejected::written) {
            let (reasons, lines) = (paths.reasons.display(), paths.lines.display());
            self.progress
                .print(&format!("{reasons}: reasons for refused lines; {lines}: those lines, to fix and import"));
        }
        if let Some(checkpoint) = &self.checkpoint {
            if matches!(end, Ok(End::Done)) {
                let repeated = checkpoint.repeated(self.last_line).context("cannot read the checkpoint")?;
                self.counts.repeated = Some(repeated);
            }
            checkpoint.finish().context("cannot write the checkpoint")?;
        }
        if let (Ok(End::Done), Some(rejected)) = (&end, &self.rejected) {
            rejected.remove_earlier().context("cannot delete the rejected lines of an earlier run")?;
        }
        end
    }

    /// Removes the progress bar and returns the counts.
    pub fn finish(self) -> Counts {
        self.progress.finish();
        self.counts
    }

    async fn import(&mut self, stop: &Stop, warned: &mut mpsc::UnboundedReceiver<String>) -> Result<End> {
        let earlier = match &self.checkpoint {
            Some(checkpoint) if !self.options.dry_run => checkpoint.reader().context("cannot read the checkpoint")?,
            _ => Reader::none(),
        };
        let mut lines = lines::read(self.file.clone(), earlier, !self.options.dry_run);
        let mut deadline = pin!(None);
        let mut is_reading = !stop.is_requested();
        while is_reading || !self.in_flight.is_empty() {
            select! {
                line = lines.recv(), if is_reading && self.in_flight.len() < self.options.concurrency.into() => match line {
                    Some(line) => self.start(line?),
                    None => is_reading = false,
                },
                Some(done) = self.in_flight.join_next() => {
                    let (line, outcome) = done.context("a request ended early")?;
                    let number = line.number;
                    self.record(line, outcome.with_context(|| format!("line {number}"))?)?;
                }
                Some(warning) = warned.recv() => self.progress.print(&format!("warning: {warning}")),
                () = stop.requested(1), if deadline.is_none() => {
                    is_reading = false;
                    deadline.set(Some(sleep(GRACE)));
                }
                () = stop.requested(2) => return Ok(End::Stopped),
                () = async { deadline.as_mut().as_pin_mut().expect("it is set").await }, if deadline.is_some() => {
                    return Ok(End::Stopped);
                }
            }
            self.progress.update(self.counts.lines);
        }
        Ok(if stop.is_requested() { End::Stopped } else { End::Done })
    }

    /// Sends a line to the target unless an earlier run confirmed it.
    fn start(&mut self, line: Line) {
        self.last_line = line.number;
        self.counts.lines += 1;
        if let Text::Confirmed = line.text {
            self.counts.skipped += 1;
            return;
        }
        let (target, from) = (Arc::clone(&self.target), self.options.from);
        self.in_flight.spawn(async move {
            let outcome = target.give(&line, from).await;
            (line, outcome)
        });
    }

    fn record(&mut self, mut line: Line, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::Rejected(problem) => {
                if problem["status"] == 409 {
                    self.counts.conflicts += 1;
                } else {
                    self.counts.refused += 1;
                }
                match &mut self.rejected {
                    Some(rejected) => rejected.write(&mut line, problem)?,
                    None => self.show(line.number, &problem),
                }
                return Ok(());
            }
            Outcome::Stored => self.counts.stored += 1,
            Outcome::AlreadyThere => self.counts.already_there += 1,
        }
        let Some(checkpoint) = &self.checkpoint else { return Ok(()) };
        let identified = self.target.store().map_or(Ok(()), |store| checkpoint.identify(store));
        identified.and_then(|()| checkpoint.confirm(line.number, line.mark)).context("cannot write the checkpoint")
    }

    fn show(&self, number: u64, problem: &serde_json::Value) {
        let name = self.file.path.display();
        match self.counts.refused + self.counts.conflicts {
            ..=SHOWN => self.progress.print(&format!("{name}:{number}: {problem}")),
            count if count == SHOWN + 1 => self.progress.print(&format!("{name}: more lines would be refused")),
            _ => {}
        }
    }
}
