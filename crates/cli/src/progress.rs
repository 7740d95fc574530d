//! Progress on standard error: a bar on a terminal, else a line every few seconds.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// How often progress is said where there is no terminal.
const SAID: Duration = Duration::from_secs(5);

/// The progress of one command.
pub struct Progress {
    name: String,
    unit: &'static str,
    bar: ProgressBar,
    read: Arc<AtomicU64>,
    said: Instant,
    start: Instant,
    is_bar: bool,
    is_quiet: bool,
}

impl Progress {
    /// Progress through something of this size, if that is known, of which `read` is behind us. `unit` is what is counted.
    pub fn new(name: String, unit: &'static str, size: Option<u64>, read: Arc<AtomicU64>, is_quiet: bool) -> Self {
        let is_bar = !is_quiet && io::stderr().is_terminal();
        let bar = match (is_bar, size) {
            (false, _) => ProgressBar::hidden(),
            (true, Some(size)) => {
                let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3}%  {msg}  {eta} left");
                ProgressBar::new(size).with_style(style.expect("the template is right"))
            }
            (true, None) => ProgressBar::new_spinner(),
        };
        bar.set_prefix(name.clone());
        Self { name, unit, bar, read, said: Instant::now(), start: Instant::now(), is_bar, is_quiet }
    }

    /// Says that `count` are done so far.
    pub fn update(&mut self, count: u64) {
        if self.is_quiet || !self.is_bar && self.said.elapsed() < SAID {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate is not exact")]
        let rate = count as f64 / self.start.elapsed().as_secs_f64().max(0.001);
        let message = format!("{} {}, {rate:.0}/s", HumanCount(count), self.unit);
        if self.is_bar {
            self.bar.set_position(self.read.load(Ordering::Relaxed));
            self.bar.set_message(message);
        } else {
            self.said = Instant::now();
            eprintln!("{}: {message}", self.name);
        }
    }

    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
