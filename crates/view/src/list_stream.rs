//! Streams pages while traces are being searched.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use attest_mapping::Prices;
use maud::Markup;

use super::{
    body::{Gone, Writer},
    commands::TerminalCommand,
    pages::{ListEnd, Outcome, list_end, list_row, progress},
    results::{Complete, PageSearch},
    search::{ROWS, Search, Totals},
    stop::Stop,
};

/// The time after which a search first shows its progress.
const FIRST_PROGRESS: Duration = Duration::from_millis(200);

/// The longest time without writing a byte, because only a write shows that the client is gone.
const SILENCE: Duration = Duration::from_millis(500);

pub struct ListStream {
    pub search: Search,
    pub page: PageSearch,
    /// The totals of this search over all traces, if its first page has counted them.
    pub totals: Option<Totals>,
    /// Whether the search continues after the page's last row, in order to count.
    pub is_counted: bool,
    pub exports: Vec<TerminalCommand>,
    pub stop: Stop,
    pub prices: Arc<Prices>,
}

impl ListStream {
    /// Writes the rows and the totals, between the page's halves `before` and `after`.
    pub async fn write(mut self, writer: Writer, before: String, after: String) -> Result<(), Gone> {
        writer.write(before).await?;
        let outcome = self.write_rows(&writer).await?;
        let Self { search, page, totals, exports, .. } = self;
        let (total, is_complete) = (page.scan.total, matches!(outcome, Outcome::Complete));
        let (rows, found, next) = (page.page.rows.len(), page.page.totals, page.page.next.clone());
        let next = next.as_deref();
        if is_complete {
            page.complete();
        }
        let end = ListEnd { search: &search, rows, found, total, all: totals, next, outcome, exports: &exports };
        writer.write(list_end(&end).into_string()).await?;
        writer.write(after).await?;
        writer.end().await;
        Ok(())
    }

    async fn write_rows(&mut self, writer: &Writer) -> Result<Outcome, Gone> {
        let mut clock = ProgressClock::new();
        loop {
            if self.stop.is_requested() {
                return Ok(Outcome::Stopped);
            }
            if !self.is_counted && self.page.page.rows.len() == ROWS && self.page.page.has_more() {
                return Ok(Outcome::Listed);
            }
            let before = match self.page.next().await {
                Ok(Some(before)) => before,
                Ok(None) => return Ok(Outcome::Complete),
                Err(error) => return Ok(Outcome::Failed(error)),
            };
            let mut html = String::new();
            for (place, row) in self.page.page.rows.iter().enumerate().skip(before) {
                html.push_str(&list_row(row, place, &self.search, &self.prices));
            }
            if clock.is_due() {
                let page = &self.page.page;
                let next = page.next.as_deref().filter(|_| page.rows.len() == ROWS);
                html.push_str(
                    &progress(page.totals, self.page.scan.total, next, &self.search, self.stop.number).into_string(),
                );
            }
            clock.write(writer, html).await?;
        }
    }
}

/// Writes a page of a search that has already read everything.
pub async fn known_page(
    page: Complete,
    all: Option<Totals>,
    search: &Search,
    prices: &Prices,
    exports: &[TerminalCommand],
    writer: Writer,
    (before, after): (String, String),
) -> Result<(), Gone> {
    writer.write(before).await?;
    let rows = page.rows.iter().enumerate().map(|(place, row)| list_row(row, place, search, prices));
    writer.write(rows.collect::<String>()).await?;
    let (rows, next) = (page.rows.len(), page.next.as_deref());
    let end = ListEnd { search, rows, found: page.totals, total: None, all, next, outcome: Outcome::Complete, exports };
    writer.write(list_end(&end).into_string()).await?;
    writer.write(after).await?;
    writer.end().await;
    Ok(())
}

/// Decides when to show progress. It is shown less and less often, because each time adds an element to the page.
pub struct ProgressClock {
    start: Instant,
    next: Duration,
    written: Instant,
}

impl ProgressClock {
    pub fn new() -> Self {
        let start = Instant::now();
        Self { start, next: FIRST_PROGRESS, written: start }
    }

    pub fn is_due(&mut self) -> bool {
        let elapsed = self.start.elapsed();
        let is_due = elapsed >= self.next;
        if is_due {
            self.next = elapsed + FIRST_PROGRESS.max(elapsed / 20);
        }
        is_due
    }

    /// Writes HTML, or a line break if nothing has been written for [`SILENCE`].
    pub async fn write(&mut self, writer: &Writer, mut html: String) -> Result<(), Gone> {
        if html.is_empty() && self.written.elapsed() < SILENCE {
            return Ok(());
        }
        if html.is_empty() {
            html.push('\n');
        }
        self.written = Instant::now();
        writer.write(html).await
    }
}

/// Splits a page where its streamed part goes.
pub fn halves(page: &Markup) -> (String, String) {
    let (before, after) = page.0.split_once(super::pages::STREAMED).unwrap_or((&page.0, ""));
    (before.to_owned(), after.to_owned())
}
