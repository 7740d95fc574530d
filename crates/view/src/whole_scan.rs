//! Responses that read all traces: a session, the complete overview, and a downloaded result.

use maud::Markup;

use super::{
    body::{Gone, Writer},
    list_stream::ProgressClock,
    pages::{self, Outcome, Overview, progress, reading},
    results::Results,
    scan::{Batch, Hit, Scan},
    search::{Search, Totals},
    session::{self, Figures, Session},
    stop::Stop,
    workers::Workers,
};

/// The maximum number of bytes of a file that are written at once, because several such parts may wait for a slow
/// client.
const FILE_PART: usize = 64 * 1024;

/// Reads until the end, or until the user stops it. `add` returns the progress to show.
async fn read_all(
    scan: &mut Scan,
    stop: &Stop,
    writer: &Writer,
    mut add: impl FnMut(Batch) -> Markup,
) -> Result<Outcome, Gone> {
    let mut clock = ProgressClock::new();
    loop {
        if stop.is_requested() {
            return Ok(Outcome::Stopped);
        }
        let progress = match scan.next().await {
            Ok(Some(batch)) => add(batch),
            Ok(None) => return Ok(Outcome::Complete),
            Err(error) => return Ok(Outcome::Failed(error)),
        };
        let html = if clock.is_due() { progress.into_string() } else { String::new() };
        clock.write(writer, html).await?;
    }
}

/// Searches the traces of one session, and shows the progress.
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
        let total = self.scan.total;
        let outcome = read_all(&mut self.scan, &self.stop, &writer, |batch| {
            found.add(&batch);
            for Hit { row, .. } in batch.hits {
                figures.add(&row);
                if rows.len() < session::ROWS {
                    rows.push(row);
                }
            }
            progress(found, total, None, &Search::default(), self.stop.number)
        });
        let outcome = outcome.await?;
        if matches!(outcome, Outcome::Complete) && rows.len() == figures.traces {
            self.results.remember_all(&self.q, rows.iter().map(|row| row.entry.key.clone()).collect());
        }
        let (id, q) = (self.id, self.q);
        let page = move || pages::session(&Session::new(id, rows, figures), &q, found, total, &outcome).into_string();
        let Ok(page) = self.workers.run(page).await else { return Ok(()) }; // the body ends broken off
        writer.write(page).await?;
        writer.write(after).await?;
        writer.end().await;
        Ok(())
    }
}

/// Reads all traces for the overview, and shows the progress.
pub struct OverviewStream {
    pub overview: Overview,
    pub scan: Scan,
    pub workers: Workers,
    pub stop: Stop,
}

impl OverviewStream {
    pub async fn write(mut self, writer: Writer, before: String, after: String) -> Result<(), Gone> {
        writer.write(before).await?;
        let (mut looked_at, total) = (0, self.scan.total);
        let outcome = read_all(&mut self.scan, &self.stop, &writer, |batch| {
            looked_at += batch.looked_at;
            self.overview.stats.add(batch);
            reading(looked_at, total, self.stop.number)
        });
        match outcome.await? {
            Outcome::Complete => self.overview.stats.complete(),
            Outcome::Failed(error) => self.overview.error = Some(error),
            Outcome::Stopped | Outcome::Listed => {}
        }
        let overview = self.overview;
        let Ok(page) = self.workers.run(move || overview.content().into_string()).await else { return Ok(()) };
        writer.write(page).await?;
        writer.write(after).await?;
        writer.end().await;
        Ok(())
    }
}

/// Writes the lines of all selected traces. A failure breaks the response off, so that no partial file seems complete.
pub async fn write_lines(mut scan: Scan, writer: Writer) -> Result<(), Gone> {
    loop {
        match scan.next().await {
            Ok(Some(batch)) => {
                for part in batch.lines.chunks(FILE_PART) {
                    writer.write(part.to_vec()).await?;
                }
            }
            Ok(None) => break,
            Err(_) => return Ok(()),
        }
    }
    writer.end().await;
    Ok(())
}
