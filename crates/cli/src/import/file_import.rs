//! Imports one file: reads lines, keeps requests in flight, and records their outcomes.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use attest_terminal::progress::Progress;
use indicatif::HumanCount;
use tokio::{
    select,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    checkpoint::{Checkpoint, CheckpointReader},
    counts::LineCounts,
    deferred::Deferred,
    endpoint::Attempt,
    input::InputFile,
    lines::{self, Line, LineText},
    options::ImportOptions,
    outcome::LineOutcome,
    rejected::Rejected,
    stop::ImportStop,
    target::Target,
    window::Window,
};

/// The time limit for requests in flight after the first signal.
const GRACE: Duration = Duration::from_secs(10);

/// The maximum total size of retried lines in flight, in bytes. One line has at most 10 MiB.
const ROOM: usize = 24 * 1024 * 1024;

/// The shortest wait for a line to be due, because timers have a resolution of a millisecond.
const TICK: Duration = Duration::from_millis(1);

/// The maximum number of reasons that a dry run shows.
const SHOWN: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportEnd {
    Done,
    Stopped,
}

pub struct FileImport<'a> {
    options: &'a ImportOptions,
    file: InputFile,
    target: Arc<Target>,
    checkpoint: Option<Checkpoint>,
    /// `None` in a dry run, which writes nothing.
    rejected: Option<Rejected>,
    progress: Progress,
    counts: LineCounts,
    in_flight: JoinSet<(Line, Result<Attempt>)>,
    sending: BTreeSet<u64>,
    window: Window,
    deferred: Deferred,
    /// The number of retried lines in flight, and their total size in bytes.
    sent_again: usize,
    bytes_sent_again: usize,
    last_line: u64,
}

impl<'a> FileImport<'a> {
    pub fn new(
        options: &'a ImportOptions,
        file: InputFile,
        target: Arc<Target>,
        checkpoint: Option<Checkpoint>,
        rejected: Option<Rejected>,
    ) -> Self {
        let name = file.path.display().to_string();
        let progress = Progress::new(name, "lines", file.size, Arc::clone(&file.read), options.quiet);
        let counts = LineCounts { is_dry_run: options.dry_run, ..LineCounts::default() };
        Self {
            options,
            file,
            target,
            checkpoint,
            rejected,
            progress,
            counts,
            in_flight: JoinSet::new(),
            sending: BTreeSet::new(),
            window: Window::new(options.concurrency.into()),
            deferred: Deferred::new(),
            sent_again: 0,
            bytes_sent_again: 0,
            last_line: 0,
        }
    }

    /// Imports the file until its end, an error or a signal. The counts are correct in every case.
    pub async fn run(&mut self, stop: &ImportStop, warned: &mut mpsc::UnboundedReceiver<String>) -> Result<ImportEnd> {
        let end = self.import(stop, warned).await;
        self.in_flight.abort_all();
        if let Some(paths) = self.rejected.as_ref().and_then(Rejected::written) {
            let (reasons, lines) = (paths.reasons.display(), paths.lines.display());
            self.progress
                .print(&format!("{reasons}: reasons for refused lines; {lines}: those lines, to fix and import"));
        }
        if let Some(checkpoint) = &self.checkpoint {
            if matches!(end, Ok(ImportEnd::Done)) {
                let repeated = checkpoint.repeated(self.last_line).context("cannot read the checkpoint")?;
                self.counts.repeated = Some(repeated);
            }
            checkpoint.finish().context("cannot write the checkpoint")?;
        }
        if let (Ok(ImportEnd::Done), Some(rejected)) = (&end, &self.rejected) {
            rejected.remove_earlier().context("cannot delete the rejected lines of an earlier run")?;
        }
        end
    }

    pub fn finish(self) -> LineCounts {
        self.progress.finish();
        self.counts
    }

    async fn import(&mut self, stop: &ImportStop, warned: &mut mpsc::UnboundedReceiver<String>) -> Result<ImportEnd> {
        let earlier = match &self.checkpoint {
            Some(checkpoint) if !self.options.dry_run => checkpoint.reader().context("cannot read the checkpoint")?,
            _ => CheckpointReader::none(),
        };
        let mut lines = lines::read(self.file.clone(), earlier, !self.options.dry_run);
        let mut deadline = pin!(None);
        let mut is_reading = !stop.is_requested();
        let mut cut = None;
        while is_reading || !self.in_flight.is_empty() || self.deferred.len() > 0 && !stop.is_requested() {
            let is_paused = self.window.paused_until() > Instant::now();
            let has_room = self.in_flight.len() < self.window.size() && !is_paused;
            // New lines are preferred, because lines that failed may fail again.
            if has_room && !stop.is_requested() && lines.is_empty() && self.send_again(is_reading)? {
                continue;
            }
            let due = self.deferred.due().map_or(self.window.paused_until(), |due| due.max(self.window.paused_until()));
            let may_send_again = has_room && self.may_send_again(is_reading) && !stop.is_requested();
            let waits = is_paused || may_send_again && self.deferred.len() > 0;
            select! {
                line = lines.recv(), if is_reading && has_room => match line {
                    Some(Ok(line)) => self.start(line),
                    // Report the error only after the lines before the cut are stored.
                    Some(Err(error)) => (cut, is_reading) = (Some(error), false),
                    None => is_reading = false,
                },
                Some(done) = self.in_flight.join_next() => {
                    let (line, attempt) = done.context("a request ended early")?;
                    let number = line.number;
                    match attempt {
                        Ok(attempt) => self.finish_attempt(line, attempt)?,
                        Err(error) => return Err(self.with_unsent(error, number)),
                    }
                }
                () = sleep_until(due.max(Instant::now() + TICK)), if waits => {}
                Some(warning) = warned.recv() => self.progress.print(&format!("warning: {warning}")),
                () = stop.requested(1), if deadline.is_none() => {
                    is_reading = false;
                    deadline.set(Some(sleep(GRACE)));
                }
                () = stop.requested(2) => return Ok(ImportEnd::Stopped),
                () = async { deadline.as_mut().as_pin_mut().expect("it is set").await }, if deadline.is_some() => {
                    return Ok(ImportEnd::Stopped);
                }
            }
            self.progress.update(self.counts.lines);
        }
        match cut {
            Some(error) => Err(error),
            None => Ok(if stop.is_requested() { ImportEnd::Stopped } else { ImportEnd::Done }),
        }
    }

    /// Limits retries to two at a time while new lines are being read, so that failing lines do not hold up the rest.
    fn may_send_again(&self, is_reading: bool) -> bool {
        !is_reading || self.sent_again < 2
    }

    /// Sends the next line that is due for a retry. Returns `false` if there is none.
    fn send_again(&mut self, is_reading: bool) -> Result<bool> {
        if !self.may_send_again(is_reading) {
            return Ok(false);
        }
        let room = ROOM.saturating_sub(self.bytes_sent_again);
        let line = self.deferred.pop(room).context("cannot read a temporary file")?;
        let Some(line) = line else { return Ok(false) };
        self.sent_again += 1;
        self.bytes_sent_again += line.len();
        self.spawn(line);
        Ok(true)
    }

    fn finish_attempt(&mut self, line: Line, attempt: Attempt) -> Result<()> {
        self.sending.remove(&line.number);
        if line.attempts > 0 {
            self.sent_again -= 1;
            self.bytes_sent_again -= line.len();
        }
        match attempt {
            Attempt::Done(outcome) => {
                self.window.confirm();
                self.record(line, outcome)
            }
            Attempt::Failed(failed) => {
                match failed.pause {
                    None => {} // the rate limiter handles it
                    Some(_) if failed.is_slow => self.window.time_out(failed.sent),
                    Some(_) => self.window.fail(),
                }
                self.deferred.push(&line, failed.pause).context("cannot write a temporary file")
            }
        }
    }

    /// Adds to an error how many lines were read but not stored.
    fn with_unsent(&self, error: anyhow::Error, number: u64) -> anyhow::Error {
        let numbers: Vec<u64> = self.deferred.numbers().chain(self.sending.iter().copied()).collect();
        let first = numbers.iter().min().copied().unwrap_or(number);
        let count = HumanCount(numbers.len() as u64);
        error.context(format!("{count} lines were read and not stored, the first is line {first}"))
    }

    /// Sends a line to the target unless an earlier run confirmed it.
    fn start(&mut self, line: Line) {
        self.last_line = line.number;
        self.counts.lines += 1;
        if let LineText::Confirmed = line.text {
            self.counts.skipped += 1;
            return;
        }
        self.spawn(line);
    }

    fn spawn(&mut self, line: Line) {
        self.sending.insert(line.number);
        let (target, from) = (Arc::clone(&self.target), self.options.from);
        self.in_flight.spawn(async move {
            let attempt = target.give(&line, from).await;
            (line, attempt)
        });
    }

    fn record(&mut self, mut line: Line, outcome: LineOutcome) -> Result<()> {
        match outcome {
            LineOutcome::Rejected(problem) => {
                if problem["status"] == 409 {
                    self.counts.conflicts += 1;
                } else {
                    self.counts.refused += 1;
                }
                match &mut self.rejected {
                    Some(rejected) => rejected.write(&mut line, problem, self.file.read.load(Ordering::Relaxed))?,
                    None => self.show(line.number, &problem),
                }
                return Ok(());
            }
            LineOutcome::Stored => self.counts.stored += 1,
            LineOutcome::AlreadyThere => self.counts.already_there += 1,
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
