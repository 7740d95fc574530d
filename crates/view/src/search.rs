use attest::unreadable::Unreadable;
use attest_mapping::{
    conversation::{Header, Part, StoredTrace},
    json::{Json, Members},
};
use attest_storage::{ListingEntry, TraceReader};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{scan::Batch, snippet::Snippet};

pub const ROWS: usize = 50;

/// The maximum length of the text that a row shows, in characters.
const WORDS: usize = 160;

/// A search, as in the page's URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Search {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub q: String,
    /// The key of a trace to compare with one of the results.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub with: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
}

#[derive(Debug)]
pub struct Row {
    pub entry: ListingEntry,
    pub header: Header,
    /// The start of the user's first message, by which people recognize the trace.
    pub words: String,
    /// The text around the words that the search found.
    pub snippet: Option<Snippet>,
    /// The role and the text of the first and the last turn. Empty if the page shows no previews.
    pub preview: Vec<(String, String)>,
    /// Why the object cannot be read. The header and the words are then empty.
    pub unreadable: Option<Unreadable>,
}

/// The progress of a search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub found: usize,
    pub looked_at: usize,
    /// The number of objects that a content search left out because they cannot be read.
    pub unreadable: usize,
}

impl Totals {
    pub fn add(&mut self, batch: &Batch) {
        self.found += batch.found;
        self.looked_at += batch.looked_at;
        self.unreadable += batch.unreadable;
    }
}

impl Search {
    /// Applies `change` to a copy of this search, and returns the URL of its first page.
    pub fn url(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut search = Self { from: String::new(), ..self.clone() };
        change(&mut search);
        search.own_url()
    }

    pub fn own_url(&self) -> String {
        let query = serde_urlencoded::to_string(self).unwrap_or_default();
        if query.is_empty() { "/traces".to_owned() } else { format!("/traces?{query}") }
    }
}

/// Reads a listed object. Returns `None` if it was deleted, or an [`Unreadable`] if the failure concerns only it.
pub async fn content(traces: &TraceReader, entry: &ListingEntry) -> anyhow::Result<Option<Result<Bytes, Unreadable>>> {
    if let Some(reason) = Unreadable::of_size(entry.size) {
        return Ok(Some(Err(reason)));
    }
    match traces.get(&entry.key).await {
        Ok(json) => Ok(json.map(Ok)),
        Err(error) => match error.downcast_ref() {
            Some(reason) => Ok(Some(Err(*reason))),
            None => Err(error),
        },
    }
}

impl Row {
    pub fn read(entry: ListingEntry, json: &[u8]) -> Self {
        let stored = StoredTrace::read(json);
        let header = Header::read(stored.trace());
        read_row(entry, &stored, header)
    }

    pub fn unreadable(entry: ListingEntry, reason: Unreadable) -> Self {
        Self { unreadable: Some(reason), ..Self::read(entry, b"{}") }
    }
}

/// Creates the row of a trace.
pub fn read_row(entry: ListingEntry, stored: &StoredTrace, header: Header) -> Row {
    let mut messages = stored.trace().list("messages").iter().filter_map(Json::as_object);
    let first = messages.next();
    let is_of_the_user = |message: &&Members| message.text("role") == Some("user");
    let spoken = match first {
        Some(first) if !is_of_the_user(&first) => messages.find(is_of_the_user).or(Some(first)),
        first => first,
    };
    let words = spoken.and_then(|message| Some(message.get("content")?.to_text()));
    let words = words.or_else(|| words_of_span(stored)).unwrap_or_default();
    let words = words.split_whitespace().take(30).collect::<Vec<_>>().join(" ");
    let words = words.chars().take(WORDS).collect();
    Row { entry, header, words, snippet: None, preview: Vec::new(), unreadable: None }
}

/// Returns the user's first text, or otherwise the first turn's, if the messages are in a span's attributes.
fn words_of_span(stored: &StoredTrace) -> Option<String> {
    let turns = stored.conversation().turns;
    let turn = turns.iter().find(|turn| turn.role == "user").or(turns.first())?;
    turn.parts.iter().find_map(|part| match part {
        Part::Text { text, .. } => Some(text.clone()),
        _ => None,
    })
}
