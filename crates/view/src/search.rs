//! The rows on a page of results.

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

/// The largest part of the user's first message that a row shows, in characters.
const WORDS: usize = 160;

/// A search, as the URL of the page contains it.
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
    /// The start of the user's first message, by which a person recognizes the trace.
    pub words: String,
    /// The text around the words that the search found.
    pub snippet: Option<Snippet>,
    /// The role and the text of the first and of the last turn. Empty if the page shows none.
    pub preview: Vec<(String, String)>,
    /// Why the object cannot be read. The header and the words are then empty.
    pub unreadable: Option<Unreadable>,
}

/// The progress of a search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub found: usize,
    pub looked_at: usize,
    /// The objects that a search for content left out, because they cannot be read.
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
    /// Returns the URL of the list with this search from its first page, changed by `change`.
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

/// Reads a listed object, or returns why only this one cannot be read. Returns `None` if it was deleted.
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

/// Reads the parts of a trace that the list shows.
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

/// Returns the user's first text, or the first text, of a trace whose messages are in the attributes of a span.
fn words_of_span(stored: &StoredTrace) -> Option<String> {
    let turns = stored.conversation().turns;
    let turn = turns.iter().find(|turn| turn.role == "user").or(turns.first())?;
    turn.parts.iter().find_map(|part| match part {
        Part::Text { text, .. } => Some(text.clone()),
        _ => None,
    })
}
