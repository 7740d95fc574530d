//! What is searched for, and the rows of a page that fit it.

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::source::{Entry, Source, time};

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
    /// The beginning of the key, which is the fingerprint.
    pub prefix: String,
    pub id: String,
    pub model: String,
    pub role: String,
    pub text: String,
    pub since: String,
    pub until: String,
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
    /// Finds the rows of a page.
    pub async fn run(&self, source: &Source) -> Result<Found, String> {
        let bound = |text: &str| if text.is_empty() { Ok(None) } else { time(text).map(Some) };
        let (since, until) = (bound(&self.since)?, bound(&self.until)?);
        let mut found =
            Found { traces: Vec::new(), looked_at: 0, next: Some(self.from.clone()).filter(|from| !from.is_empty()) };
        loop {
            let page = source.page(&self.prefix, found.next.as_deref(), ROWS - found.traces.len()).await?;
            found.looked_at += page.entries.len();
            let entries = page.entries.into_iter().filter(|entry| self.fits_key(entry, since, until));
            let rows = stream::iter(entries).map(|entry| self.row(source, entry)).buffered(CONCURRENCY);
            found.traces.extend(rows.try_filter_map(|row| async { Ok(row) }).try_collect::<Vec<_>>().await?);
            found.next = page.next;
            if found.traces.len() >= ROWS || found.looked_at >= LOOKED_AT || found.next.is_none() {
                return Ok(found);
            }
        }
    }

    fn fits_key(&self, entry: &Entry, since: Option<Timestamp>, until: Option<Timestamp>) -> bool {
        let id = entry.key.rsplit_once('/').map_or("", |(_, id)| id);
        id.contains(&self.id)
            && since.is_none_or(|since| entry.stored >= since)
            && until.is_none_or(|until| entry.stored < until)
    }

    async fn row(&self, source: &Source, entry: Entry) -> Result<Option<Row>, String> {
        let Some(json) = source.get(&entry.key).await? else { return Ok(None) };
        let trace: Value = serde_json::from_slice(&json).unwrap_or_default();
        let model = trace["model"].as_str().unwrap_or_default().to_owned();
        let messages = trace["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let content = |message: &Value| message["content"].as_str().unwrap_or_default().to_owned();
        let text = self.text.to_lowercase();
        let has_role = self.role.is_empty() || messages.iter().any(|message| message["role"] == self.role);
        let has_text =
            text.is_empty() || messages.iter().any(|message| content(message).to_lowercase().contains(&text));
        let fits = (self.model.is_empty() || model == self.model) && has_role && has_text;
        let first = messages.iter().find(|message| message["role"] == "user").or(messages.first());
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
