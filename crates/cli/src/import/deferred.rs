//! Queues failed lines for a later attempt, so that they do not hold up the lines after them.

use std::{
    collections::VecDeque,
    io::{self, Read, Seek, SeekFrom, Write},
    time::Duration,
};

use bytes::Bytes;
use tempfile::SpooledTempFile;
use tokio::time::Instant;

use super::{checkpoint::Mark, lines::Line, lines::LineText};

/// The size in bytes up to which lines wait in memory rather than in a temporary file.
const IN_MEMORY: usize = 1 << 20;

/// The first and the longest pause before a line is sent again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

struct Waiting {
    number: u64,
    mark: Mark,
    offset: u64,
    length: usize,
    attempts: u32,
    due: Instant,
}

/// The waiting lines, in the order in which they failed.
pub struct Deferred {
    lines: VecDeque<Waiting>,
    texts: SpooledTempFile,
    end: u64,
}

impl Deferred {
    pub fn new() -> Self {
        Self { lines: VecDeque::new(), texts: tempfile::spooled_tempfile(IN_MEMORY), end: 0 }
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.lines.iter().map(|line| line.number)
    }

    /// Returns the time at which the next line may be sent.
    pub fn due(&self) -> Option<Instant> {
        self.lines.iter().map(|line| line.due).min()
    }

    /// Adds a failed line, and frees its memory. `pause` is the pause that the endpoint requests, or `None` if the rate
    /// limiter decides.
    pub fn push(&mut self, line: &Line, pause: Option<Duration>) -> io::Result<()> {
        let LineText::Whole(text) = &line.text else { return Ok(()) }; // nothing else is sent
        let offset = match line.offset {
            Some(offset) => offset, // it has waited before
            None => {
                let offset = self.end;
                self.texts.seek(SeekFrom::Start(offset))?;
                self.texts.write_all(text)?;
                self.end += text.len() as u64;
                offset
            }
        };
        let backoff = PAUSE.0.saturating_mul(1 << line.attempts.min(8)).min(PAUSE.1);
        let due = Instant::now() + pause.map_or(Duration::ZERO, |pause| backoff + pause);
        let (number, mark, length, attempts) = (line.number, line.mark, text.len(), line.attempts + 1);
        self.lines.push_back(Waiting { number, mark, offset, length, attempts, due });
        Ok(())
    }

    /// Removes the first line that is due and has at most `room` bytes.
    pub fn pop(&mut self, room: usize) -> io::Result<Option<Line>> {
        let now = Instant::now();
        let is_ready = |line: &Waiting| line.due <= now && line.length <= room;
        let Some(at) = self.lines.iter().position(is_ready) else { return Ok(None) };
        let Some(Waiting { number, mark, offset, length, attempts, .. }) = self.lines.remove(at) else {
            return Ok(None);
        };
        let mut text = vec![0; length];
        self.texts.seek(SeekFrom::Start(offset))?;
        self.texts.read_exact(&mut text)?;
        Ok(Some(Line::again(number, mark, Bytes::from(text), attempts, offset)))
    }
}
