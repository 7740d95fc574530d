//! Remembers recent pages of results, so that going from one trace to the next does not repeat a search.

use std::{
    cmp::Reverse,
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use attest_query::Query;
use attest_storage::TraceReader;

use super::{
    scan::{Batch, Scan},
    search::{ROWS, Row, Search, Totals},
    selection::Selection,
    workers::Workers,
};

/// The number of remembered pages. A page has at most 50 rows of about 2 KB, so all of them need about 6 MB.
const PAGES: usize = 64;

/// The largest number of pages that are read from the first one on to find the page before a trace.
const WALKED: usize = 100;

/// The rows of one page, as far as a search has found them.
#[derive(Debug, Default)]
pub struct PageRows {
    pub rows: Vec<Row>,
    /// The totals from the start of the page on, including later pages.
    pub totals: Totals,
    /// The cursor of the next page, or of the rest of this one. `None` at the end.
    pub next: Option<String>,
}

impl PageRows {
    /// Adds the hits of a batch until the page is full. Returns the number of rows before it.
    fn add(&mut self, batch: Batch, is_of_a_lake: bool) -> usize {
        self.totals.add(&batch);
        let before = self.rows.len();
        if before == ROWS {
            return before;
        }
        self.next = Some(batch.cursor);
        for hit in batch.hits.into_iter().take(ROWS - before) {
            self.rows.push(hit.row);
            if self.rows.len() == ROWS {
                self.next = Some(hit.cursor);
            }
        }
        if is_of_a_lake {
            self.rows[before..].sort_by_key(|row| Reverse(row.entry.stored)); // a lake is ordered by days
        }
        before
    }

    /// Returns whether the search has found more traces than the page has rows.
    pub fn has_more(&self) -> bool {
        self.totals.found > self.rows.len()
    }

    fn end(&mut self) {
        if !self.has_more() {
            self.next = None;
        }
    }
}

/// A search for the rows of one page.
pub struct PageSearch {
    pub page: PageRows,
    pub scan: Scan,
    q: String,
    from: String,
    pub is_of_a_lake: bool,
    results: Results,
}

impl PageSearch {
    /// Searches the next traces. Returns the number of rows before them, or `None` after the last trace.
    pub async fn next(&mut self) -> Result<Option<usize>> {
        let Some(batch) = self.scan.next().await? else {
            self.page.end();
            self.remember(None);
            return Ok(None);
        };
        let before = self.page.add(batch, self.is_of_a_lake);
        if self.page.rows.len() == ROWS {
            self.scan.count_only();
        }
        if self.page.rows.len() > before {
            self.remember(None);
        }
        Ok(Some(before))
    }

    fn remember(&self, complete: Option<Complete>) -> ResultPage {
        let keys = self.page.rows.iter().map(|row| row.entry.key.clone()).collect();
        let (q, from, next) = (self.q.clone(), self.from.clone(), self.page.next.clone());
        let page = ResultPage { q, from, keys, next, complete };
        self.results.remember(page.clone());
        page
    }

    /// Remembers the rows of a search that has read everything.
    pub fn complete(mut self) -> Complete {
        let rows = std::mem::take(&mut self.page.rows);
        let keys = rows.iter().map(|row| row.entry.key.clone()).collect();
        let complete = Complete {
            rows: rows.into(),
            totals: self.page.totals,
            next: self.page.next.clone(),
            version: self.scan.version,
        };
        let (q, from, next) = (self.q, self.from, self.page.next);
        self.results.remember(ResultPage { q, from, keys, next, complete: Some(complete.clone()) });
        complete
    }
}

/// A page of a search that has read everything.
#[derive(Debug, Clone)]
pub struct Complete {
    pub rows: Arc<[Row]>,
    pub totals: Totals,
    pub next: Option<String>,
    version: Option<u64>,
}

#[derive(Debug, Clone)]
struct ResultPage {
    q: String,
    from: String,
    keys: Arc<[String]>,
    next: Option<String>,
    complete: Option<Complete>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Previous,
    Next,
}

/// Where a neighbouring trace is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Neighbour {
    /// A trace on the page that starts at the cursor `from`.
    Trace { key: String, from: String },
    /// A page that is searched only when the user opens it.
    Page { from: String },
}

#[derive(Debug, Clone)]
pub struct Results {
    traces: TraceReader,
    workers: Workers,
    recent: Arc<Mutex<VecDeque<ResultPage>>>,
}

impl Results {
    pub fn new(traces: TraceReader, workers: Workers) -> Self {
        Self { traces, workers, recent: Arc::default() }
    }

    /// Starts the search for a page's rows.
    pub async fn begin(&self, query: &Query, q: &str, from: &str) -> Result<PageSearch> {
        let scan = Scan::begin(&self.workers, Selection::new(&self.traces, query), from, ROWS).await?;
        let (q, from, results) = (q.to_owned(), from.to_owned(), self.clone());
        Ok(PageSearch { page: PageRows::default(), scan, q, from, is_of_a_lake: has_lake(&self.traces), results })
    }

    /// Remembers a complete result as a single page, so that the links between its traces need no further search.
    pub fn remember_all(&self, q: &str, keys: Vec<String>) {
        let (q, from) = (q.to_owned(), String::new());
        self.remember(ResultPage { q, from, keys: keys.into(), next: None, complete: None });
    }

    /// Returns a remembered page of a search that has read everything, unless the traces have changed since.
    pub fn unchanged(&self, search: &Search, version: Option<u64>) -> Option<Complete> {
        let page = self.remembered(|page| page.q == search.q && page.from == search.from)?;
        page.complete.filter(|complete| version.is_some() && complete.version == version)
    }

    /// Returns what the first page of a search found in all traces.
    pub fn totals(&self, q: &str) -> Option<Totals> {
        Some(self.remembered(|page| page.q == q && page.from.is_empty())?.complete?.totals)
    }

    /// Returns the neighbours of a trace that was opened from a page of results. Never searches the contents of traces:
    /// if the search is no longer remembered, its neighbours are found when the user goes to them.
    pub async fn neighbours(&self, key: &str, search: &Search) -> Result<[Option<Neighbour>; 2]> {
        let is_search = Query::parse(&search.q)?.needs_content();
        let known = self.remembered(|page| page.q == search.q && page.position(key).is_some());
        let page = match known {
            Some(page) if is_search => page,
            _ if is_search => {
                let from = || Some(Neighbour::Page { from: search.from.clone() });
                return Ok([from(), from()]);
            }
            _ => self.page_of(key, search).await?,
        };
        let Some(at) = page.position(key) else { return Ok([None, None]) };
        let trace = |at: usize| page.keys.get(at).map(|key| page.trace(key));
        let before = || (!page.from.is_empty()).then(|| Neighbour::Page { from: page.from.clone() });
        let after = || page.next.clone().filter(|next| !self.is_known_end(&page.q, next));
        Ok([
            at.checked_sub(1).map_or_else(before, trace),
            trace(at + 1).or_else(|| after().map(|from| Neighbour::Page { from })),
        ])
    }

    /// Goes from a trace to its neighbour, even on another page. Returns a page to show if that page has no trace.
    pub async fn step(&self, key: &str, search: &Search, direction: Direction) -> Result<Neighbour> {
        let page = self.page_of(key, search).await?;
        let at = page.position(key);
        match direction {
            Direction::Next => {
                if let Some(next) = at.and_then(|at| page.keys.get(at + 1)) {
                    return Ok(page.trace(next));
                }
                let Some(next) = page.next else { return Ok(page.trace(key)) };
                let page = self.page(&page.q, &next).await?;
                Ok(match page.keys.first() {
                    Some(first) => page.trace(first),
                    None => Neighbour::Trace { key: key.to_owned(), from: search.from.clone() },
                })
            }
            Direction::Previous => {
                if let Some(before) = at.and_then(|at| page.keys.get(at.checked_sub(1)?)) {
                    return Ok(page.trace(before));
                }
                if page.from.is_empty() {
                    return Ok(page.trace(key)); // the first trace
                }
                let mut from = page.from;
                for _ in 0..PAGES {
                    let before = self.remembered(|other| other.q == page.q && other.continues_at(&from));
                    let Some(before) = before else { break };
                    if let Some(last) = before.keys.last() {
                        return Ok(before.trace(last));
                    }
                    from = before.from; // no trace on that page: try the page before it
                }
                self.walk(key, &page.q, &from).await
            }
        }
    }

    /// Walks from the first result to the trace before `key`, or to the end of the page before `from`.
    async fn walk(&self, key: &str, q: &str, from: &str) -> Result<Neighbour> {
        let mut before = Neighbour::Page { from: String::new() };
        let mut cursor = String::new();
        for _ in 0..WALKED {
            let page = self.page(q, &cursor).await?;
            let end = page.position(key).unwrap_or(page.keys.len());
            if let Some(last) = page.keys[..end].last() {
                before = page.trace(last);
            }
            if end < page.keys.len() || page.continues_at(from) {
                return Ok(before);
            }
            let Some(next) = page.next else { break };
            cursor = next;
        }
        Ok(Neighbour::Page { from: String::new() })
    }

    /// Returns the page that shows a trace: the page it was opened from, or another one if new traces moved it.
    async fn page_of(&self, key: &str, search: &Search) -> Result<ResultPage> {
        let page = self.page(&search.q, &search.from).await?;
        if page.position(key).is_some() {
            return Ok(page);
        }
        if let Some(page) = self.remembered(|page| page.q == search.q && page.position(key).is_some()) {
            return Ok(page);
        }
        if let Some(next) = &page.next {
            let next = self.page(&search.q, next).await?;
            if next.position(key).is_some() {
                return Ok(next);
            }
        }
        Ok(page)
    }

    /// Returns a page, preferably a remembered one. The first page of a listing is always read, because that is cheap.
    async fn page(&self, q: &str, from: &str) -> Result<ResultPage> {
        let query = Query::parse(q)?;
        let is_listing = from.is_empty() && !query.needs_content();
        if let Some(page) = self.remembered(|page| page.q == q && page.from == from).filter(|_| !is_listing) {
            return Ok(page);
        }
        let mut search = self.begin(&query, q, from).await?;
        while search.page.rows.len() < ROWS || !search.page.has_more() {
            if search.next().await?.is_none() {
                break;
            }
        }
        Ok(search.remember(None))
    }

    /// Returns whether a remembered page shows that no trace follows the cursor.
    fn is_known_end(&self, q: &str, from: &str) -> bool {
        self.remembered(|page| page.q == q && page.from == from && page.keys.is_empty() && page.next.is_none())
            .is_some()
    }

    fn remembered(&self, is_wanted: impl Fn(&ResultPage) -> bool) -> Option<ResultPage> {
        self.recent().iter().find(|page| is_wanted(page)).cloned()
    }

    fn remember(&self, page: ResultPage) {
        let mut recent = self.recent();
        recent.retain(|other| (&other.q, &other.from) != (&page.q, &page.from));
        recent.push_front(page);
        recent.truncate(PAGES);
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<ResultPage>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner) // every change leaves a valid list
    }
}

impl ResultPage {
    fn position(&self, key: &str) -> Option<usize> {
        self.keys.iter().position(|other| other == key)
    }

    fn continues_at(&self, from: &str) -> bool {
        self.next.as_deref() == Some(from)
    }

    fn trace(&self, key: &str) -> Neighbour {
        Neighbour::Trace { key: key.to_owned(), from: self.from.clone() }
    }
}

#[cfg(feature = "lake")]
fn has_lake(traces: &TraceReader) -> bool {
    traces.lake().is_some()
}

#[cfg(not(feature = "lake"))]
const fn has_lake(_: &TraceReader) -> bool {
    false
}
