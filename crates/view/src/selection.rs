//! Which traces a search selects, and what the list shows of them.

use anyhow::Result;
use attest_mapping::conversation::{StoredTrace, Turn};
use attest_storage::{ListingEntry, TimeRange, TraceReader};

use super::{
    query::Query,
    search::{Row, fits, fits_key, needles, prefix_of, read_row},
    snippet::Snippet,
};

/// The largest part of a turn in a preview, in characters.
const PREVIEW: usize = 1_000;

#[derive(Debug)]
pub struct Selection {
    pub traces: TraceReader,
    pub query: Query,
    pub prefix: String,
    pub times: TimeRange,
    /// Whether the rows have previews.
    pub has_previews: bool,
}

impl Selection {
    pub fn new(traces: &TraceReader, query: &Query) -> Result<Self> {
        let (traces, prefix, times) = (traces.clone(), prefix_of(query), query.times()?);
        Ok(Self { traces, query: query.clone(), prefix, times, has_previews: false })
    }

    /// Returns whether the key and the time of an entry are selected.
    pub fn has_key_of(&self, entry: &ListingEntry) -> bool {
        entry.key.starts_with(&self.prefix) && fits_key(&self.query, entry, self.times)
    }

    /// Reads a trace if it is selected.
    pub fn read(&self, json: &[u8]) -> Option<StoredTrace> {
        // Most traces contain no word of the search, and need not be parsed.
        let words = needles(&self.query);
        if !words.is_empty() {
            let text = std::str::from_utf8(json).ok()?;
            words.iter().all(|word| word.is_in(text)).then_some(())?;
        }
        let stored = StoredTrace::read(json);
        fits(&self.query, &stored).then_some(stored)
    }

    pub fn row(&self, entry: ListingEntry, stored: &StoredTrace) -> Row {
        let words = needles(&self.query);
        let row = read_row(entry, stored);
        if words.is_empty() && !self.has_previews {
            return row;
        }
        let conversation = stored.conversation();
        let preview = if self.has_previews { preview(&conversation.turns) } else { Vec::new() };
        Row { snippet: Snippet::find(&conversation, &words), preview, ..row }
    }
}

/// Returns the role and the text of the user's first turn and of the last turn.
fn preview(turns: &[Turn]) -> Vec<(String, String)> {
    let first = turns.iter().position(|turn| turn.role == "user").unwrap_or_default();
    let last = turns.len().saturating_sub(1);
    let places = if first == last { vec![first] } else { vec![first, last] };
    places.into_iter().filter_map(|place| turns.get(place)).map(|turn| (turn.role.clone(), text_of(turn))).collect()
}

/// Returns the beginning of the texts of a turn.
fn text_of(turn: &Turn) -> String {
    let mut texts: Vec<String> = Vec::new();
    for part in &turn.parts {
        part.texts(&mut |text| {
            texts.extend(Some(text.chars().take(PREVIEW).collect::<String>()).filter(|text| !text.is_empty()))
        });
    }
    let text = texts.join("\n");
    match text.char_indices().nth(PREVIEW) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
