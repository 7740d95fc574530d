//! Pages of results that were found recently. Going from one trace to the next does not repeat a search.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use attest_storage::TraceReader;

use super::{
    find,
    query::Query,
    search::{Found, ROWS, Search},
    workers::Workers,
};

/// The number of remembered pages. A page has at most 50 keys of at most 1,024 bytes, so all of them need at most
/// 3.2 MB.
const PAGES: usize = 64;

/// The largest number of pages that are read from the beginning to find the page before a trace.
const WALKED: usize = 100;

/// The largest number of such pages for a search that reads the contents of traces, which is slower.
const WALKED_WITH_CONTENTS: usize = 5;

#[derive(Debug, Clone)]
struct ResultPage {
    q: String,
    from: String,
    keys: Arc<[String]>,
    next: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Previous,
    Next,
}

/// The place of a neighbouring trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Neighbour {
    /// A trace on the page that begins at the cursor `from`.
    Trace { key: String, from: String },
    /// An adjacent page. It is read only when somebody opens it.
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

    /// Finds the rows of a page, and remembers their keys.
    pub async fn find(&self, query: &Query, search: &Search) -> Result<Found> {
        let found = find::find(&self.traces, &self.workers, query, &search.from, ROWS).await?;
        let keys = found.rows.iter().map(|row| row.entry.key.clone()).collect();
        self.remember(ResultPage { q: search.q.clone(), from: search.from.clone(), keys, next: found.next.clone() });
        Ok(found)
    }

    /// Returns the neighbours of a trace that was opened from a page of results. Asks for at most two pages.
    pub async fn neighbours(&self, key: &str, search: &Search) -> Result<[Option<Neighbour>; 2]> {
        let page = self.page_of(key, search).await?;
        let Some(at) = page.position(key) else { return Ok([None, None]) };
        let trace = |at: usize| page.keys.get(at).map(|key| page.trace(key));
        let before = || (!page.from.is_empty()).then(|| Neighbour::Page { from: page.from.clone() });
        let after = || page.next.clone().filter(|next| !self.is_known_end(&page.q, next));
        Ok([
            at.checked_sub(1).map_or_else(before, trace),
            trace(at + 1).or_else(|| after().map(|from| Neighbour::Page { from })),
        ])
    }

    /// Goes from a trace to its neighbour across the edge of a page. Returns the page to show if it has no trace.
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
                    None if page.next.is_none() => Neighbour::Trace { key: key.to_owned(), from: search.from.clone() },
                    None => Neighbour::Page { from: next },
                })
            }
            Direction::Previous => {
                if let Some(before) = at.and_then(|at| page.keys.get(at.checked_sub(1)?)) {
                    return Ok(page.trace(before));
                }
                let mut from = page.from;
                for _ in 0..PAGES {
                    let before = self.remembered(|other| other.q == page.q && other.continues_at(&from));
                    let Some(before) = before else { break };
                    if let Some(last) = before.keys.last() {
                        return Ok(before.trace(last));
                    }
                    from = before.from; // a page that found nothing
                }
                self.walk(key, &page.q, &from).await
            }
        }
    }

    /// Walks from the beginning of a result to the trace before `key`, or to the end of the page before `from`.
    async fn walk(&self, key: &str, q: &str, from: &str) -> Result<Neighbour> {
        let limit = if Query::parse(q).needs_content() { WALKED_WITH_CONTENTS } else { WALKED };
        let mut before = Neighbour::Page { from: String::new() };
        let mut cursor = String::new();
        for _ in 0..limit {
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

    /// Returns a page: the remembered one, unless listing the newest traces again is cheap.
    async fn page(&self, q: &str, from: &str) -> Result<ResultPage> {
        let query = Query::parse(q);
        let is_listing = from.is_empty() && !query.needs_content();
        if let Some(page) = self.remembered(|page| page.q == q && page.from == from).filter(|_| !is_listing) {
            return Ok(page);
        }
        let (keys, next) = find::find_keys(&self.traces, &self.workers, &query, from).await?;
        let page = ResultPage { q: q.to_owned(), from: from.to_owned(), keys: keys.into(), next };
        self.remember(page.clone());
        Ok(page)
    }

    /// Returns whether it is known that no trace follows the cursor.
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
