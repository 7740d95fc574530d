//! Progress on standard error: a bar on a terminal, otherwise a line every few seconds.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::note;

/// The interval between printed lines if standard error is not a terminal.
const INTERVAL: Duration = Duration::from_secs(5);

pub struct Progress {
    name: String,
    unit: &'static str,
    bar: ProgressBar,
    read: Arc<AtomicU64>,
    printed: Instant,
    start: Instant,
    is_bar: bool,
    is_quiet: bool,
}

impl Progress {
    /// Starts to show progress. `size` is the total amount to read, if known, and `read` the amount read so far. `unit`
    /// is the plural of what [`Progress::update`] counts.
    pub fn new(name: String, unit: &'static str, size: Option<u64>, read: Arc<AtomicU64>, is_quiet: bool) -> Self {
        let is_bar = !is_quiet && io::stderr().is_terminal();
        let bar = match (is_bar, size) {
            (false, _) => ProgressBar::hidden(),
            (true, Some(size)) => {
                let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3}%  {msg}  {eta} left");
                ProgressBar::new(size).with_style(style.expect("the template is valid"))
            }
            (true, None) => ProgressBar::new_spinner(),
        };
        bar.set_prefix(name.clone());
        Self { name, unit, bar, read, printed: Instant::now(), start: Instant::now(), is_bar, is_quiet }
    }

    pub fn update(&mut self, count: u64) {
        if self.is_quiet || !self.is_bar && self.printed.elapsed() < INTERVAL {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate is not exact")]
        let rate = count as f64 / self.start.elapsed().as_secs_f64().max(0.001);
        let message = format!("{} {}, {rate:.0}/s", HumanCount(count), self.unit);
        if self.is_bar {
            self.bar.set_position(self.read.load(Ordering::Relaxed));
            self.bar.set_message(message);
        } else {
            self.printed = Instant::now();
            note!("{}: {message}", self.name);
        }
    }

    /// Prints a permanent line above the bar, even if the progress is hidden.
    pub fn print(&self, line: &str) {
        self.bar.suspend(|| note!("{line}"));
    }

    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
