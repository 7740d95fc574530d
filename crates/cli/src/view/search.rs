//! What is searched for, and the rows of a page that fit it.

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::conversation::{Conversation, Members};
use crate::storage::{Entry, Fingerprint, TimeRange as Times, TraceReader as Source, parse_time};
use attest::key::Key;

/// Rows on a page.
const ROWS: usize = 50;

/// How many traces a page looks through at most; the next page goes on.
const LOOKED_AT: usize = 2_000;

/// How many are read at once.
const CONCURRENCY: usize = 16;

/// A search, as the page's URL has it.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Search {
    /// The beginning of the fingerprint, or of the key.
    pub prefix: String,
    pub id: String,
    pub model: String,
    pub role: String,
    pub text: String,
    pub since: String,
    pub until: String,
    /// The key of a trace that one of these is to be compared with.
    pub with: String,
    /// Where the page begins.
    pub from: String,
}

/// A trace in the list.
pub struct Row {
    pub entry: Entry,
    pub model: String,
    pub words: String,
}

/// What a page shows.
pub struct Found {
    pub traces: Vec<Row>,
    /// How many traces were looked through.
    pub looked_at: usize,
    pub next: Option<String>,
}

impl Search {
    /// The times between which traces were stored; the error is for the user.
    pub fn times(&self) -> Result<Times, String> {
        let bound = |text: &str| {
            if text.is_empty() { Ok(None) } else { parse_time(text).map(Some).map_err(|error| error.to_string()) }
        };
        Ok(Times { since: bound(&self.since)?, until: bound(&self.until)? })
    }

    /// The beginning of keys that is searched for: as it is, if it is one of a key, else as a fingerprint is encoded.
    pub fn key_prefix(&self) -> String {
        let is_of_a_key = Key::read(&format!("{}/-", self.prefix.trim_end_matches('/'))).is_some();
        match Fingerprint::new(&self.prefix) {
            Ok(encoded) if !is_of_a_key => encoded.key_prefix().trim_end_matches('/').to_owned(),
            _ => self.prefix.clone(),
        }
    }

    /// Finds the rows of a page.
    pub async fn run(&self, source: &Source, prefix: &str, times: Times) -> anyhow::Result<Found> {
        let mut found =
            Found { traces: Vec::new(), looked_at: 0, next: Some(self.from.clone()).filter(|from| !from.is_empty()) };
        loop {
            let page = source.page(prefix, found.next.as_deref(), ROWS - found.traces.len()).await?;
            found.looked_at += page.entries.len();
            let entries = page.entries.into_iter().filter(|entry| self.fits_key(entry, times));
            let rows = stream::iter(entries).map(|entry| self.row(source, entry)).buffered(CONCURRENCY);
            found.traces.extend(rows.try_filter_map(|row| async { Ok(row) }).try_collect::<Vec<_>>().await?);
            found.next = page.next;
            if found.traces.len() >= ROWS || found.looked_at >= LOOKED_AT || found.next.is_none() {
                return Ok(found);
            }
        }
    }

    fn fits_key(&self, entry: &Entry, times: Times) -> bool {
        let id = entry.key.rsplit_once('/').map_or("", |(_, id)| id);
        id.contains(&self.id) && times.contains(entry.stored)
    }

    async fn row(&self, source: &Source, entry: Entry) -> anyhow::Result<Option<Row>> {
        let Some(json) = source.get(&entry.key).await? else { return Ok(None) };
        let Conversation { trace, messages } = Conversation::read(&json);
        let model = trace.text("model");
        let text = self.text.to_lowercase();
        let content = |message: &Members<'_>| message.text("content");
        let has_role = self.role.is_empty() || messages.iter().any(|message| message.text("role") == self.role);
        let has_text =
            text.is_empty() || messages.iter().any(|message| content(message).to_lowercase().contains(&text));
        let fits = (self.model.is_empty() || model == self.model) && has_role && has_text;
        let first = messages.iter().find(|message| message.text("role") == "user").or(messages.first());
        let words = first.map(content).unwrap_or_default().split_whitespace().take(30).collect::<Vec<_>>().join(" ");
        Ok(fits.then(|| Row { entry, model, words: words.chars().take(160).collect() }))
    }

    /// The URL of a search that differs from this one.
    pub fn url(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut search = self.clone();
        search.from.clear();
        change(&mut search);
        format!("/?{}", serde_urlencoded::to_string(&search).unwrap_or_default())
    }
}
