//! Streams pages while their traces are searched.

use std::time::{Duration, Instant};

use maud::Markup;

use super::{
    body::{Gone, Writer},
    pages::{self, ListEnd, Outcome, list_end, list_row, progress},
    results::{Complete, PageSearch, Results},
    scan::{Hit, Scan},
    search::{ROWS, Search, Totals},
    session::{self, Figures, Session},
    stop::Stop,
    workers::Workers,
};

/// The time after which a search shows for the first time how far it is.
const FIRST_PROGRESS: Duration = Duration::from_millis(200);

/// The longest time without a byte. Only a write shows that the client is gone.
const SILENCE: Duration = Duration::from_millis(500);

pub struct ListStream {
    pub search: Search,
    pub page: PageSearch,
    /// The totals of this search over all traces, if its first page has counted.
    pub totals: Option<Totals>,
    /// Whether the search goes on behind the last row of the page, and counts.
    pub is_counted: bool,
    pub stop: Stop,
}

impl ListStream {
    /// Writes the rows, and what the search found. The list is between `before` and `after`.
    pub async fn write(mut self, writer: Writer, before: String, after: String) -> Result<(), Gone> {
        writer.write(before).await?;
        let outcome = self.write_rows(&writer).await?;
        let Self { search, page, totals, .. } = self;
        let (total, is_complete) = (page.scan.total, matches!(outcome, Outcome::Complete));
        let (rows, found, next) = (page.page.rows.len(), page.page.totals, page.page.next.clone());
        let next = next.as_deref();
        if is_complete {
            page.complete();
        }
        let end = ListEnd { search: &search, rows, found, total, all: totals, next, outcome };
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
                html.push_str(&list_row(row, place, &self.search));
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

/// Writes a page of a search that has read everything before.
pub async fn known_page(
    page: Complete,
    all: Option<Totals>,
    search: &Search,
    writer: Writer,
    before: String,
    after: String,
) -> Result<(), Gone> {
    writer.write(before).await?;
    let rows = page.rows.iter().enumerate().map(|(place, row)| list_row(row, place, search));
    writer.write(rows.collect::<String>()).await?;
    let (rows, next) = (page.rows.len(), page.next.as_deref());
    let end = ListEnd { search, rows, found: page.totals, total: None, all, next, outcome: Outcome::Complete };
    writer.write(list_end(&end).into_string()).await?;
    writer.write(after).await?;
    writer.end().await;
    Ok(())
}

/// Searches the traces of one session, and shows how far the search is.
pub struct SessionStream {
    pub id: String,
    /// The query that selects the session.
    pub q: String,
    pub scan: Scan,
    pub results: Results,
    pub workers: Workers,
    pub stop: Stop,
}

impl SessionStream {
    pub async fn write(mut self, writer: Writer, before: String, after: String) -> Result<(), Gone> {
        writer.write(before).await?;
        let (mut rows, mut figures, mut found) = (Vec::new(), Figures::default(), Totals::default());
        let mut clock = ProgressClock::new();
        let outcome = loop {
            if self.stop.is_requested() {
                break Outcome::Stopped;
            }
            let batch = match self.scan.next().await {
                Ok(Some(batch)) => batch,
                Ok(None) => break Outcome::Complete,
                Err(error) => break Outcome::Failed(error),
            };
            found.add(&batch);
            for Hit { row, .. } in batch.hits {
                figures.add(&row);
                if rows.len() < session::ROWS {
                    rows.push(row);
                }
            }
            let mut html = String::new();
            if clock.is_due() {
                let progress = progress(found, self.scan.total, None, &Search::default(), self.stop.number);
                html.push_str(&progress.into_string());
            }
            clock.write(&writer, html).await?;
        };
        if matches!(outcome, Outcome::Complete) && rows.len() == figures.traces {
            self.results.remember_all(&self.q, rows.iter().map(|row| row.entry.key.clone()).collect());
        }
        let (id, q, total) = (self.id, self.q, self.scan.total);
        let page = move || pages::session(&Session::new(id, rows, figures), &q, found, total, &outcome).into_string();
        let Ok(page) = self.workers.run(page).await else { return Ok(()) }; // the body ends broken off
        writer.write(page).await?;
        writer.write(after).await?;
        writer.end().await;
        Ok(())
    }
}

/// Decides when to show progress: first often, then ever less often, because each one is an element of the page.
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

    /// Writes HTML, or white space if nothing was written for some time.
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

/// Splits a page at the place of its streamed part.
pub fn halves(page: &Markup) -> (String, String) {
    let (before, after) = page.0.split_once(super::pages::STREAMED).unwrap_or((&page.0, ""));
    (before.to_owned(), after.to_owned())
}
