//! Selects the traces of a search, and creates their rows in the list.

use attest_mapping::{
    LetterCase, Needle,
    conversation::{StoredTrace, Turn},
};
use attest_query::{Candidate, Prefilter, Query};
use attest_storage::{ListingEntry, TimeRange, TraceReader};

use super::{
    search::{Row, read_row},
    snippet::Snippet,
};

/// The maximum length of a turn in a preview, in characters.
const PREVIEW: usize = 1_000;

#[derive(Debug)]
pub struct Selection {
    pub traces: TraceReader,
    pub query: Query,
    pub prefix: String,
    /// A range that contains the storage times of all matches.
    #[cfg_attr(not(feature = "lake"), expect(dead_code, reason = "only a lake has days that need not be read"))]
    pub times: TimeRange,
    prefilter: Prefilter,
    words: Vec<Needle>,
    /// Whether the rows have previews.
    has_previews: bool,
    /// Whether matches become lines instead of rows.
    pub has_lines: bool,
}

impl Selection {
    pub fn new(traces: &TraceReader, query: &Query) -> Self {
        let (prefix, times, prefilter) = (query.key_prefix(), query.times(), query.prefilter());
        let words = query.words().into_iter().map(|word| Needle::new(word, LetterCase::Ignored)).collect();
        Self {
            traces: traces.clone(),
            query: query.clone(),
            prefix,
            times,
            prefilter,
            words,
            has_previews: false,
            has_lines: false,
        }
    }

    pub fn with_previews(self) -> Self {
        Self { has_previews: true, ..self }
    }

    /// Selects traces in the form that `attest export` writes: JSON Lines, without objects that are not traces.
    pub fn with_lines(self) -> Self {
        Self { has_lines: true, ..self }
    }

    /// Decides from the listing alone. Returns `None` if the content is needed.
    pub fn decide(&self, entry: &ListingEntry) -> Option<bool> {
        if entry.key.starts_with(&self.prefix) { self.query.decide(entry) } else { Some(false) }
    }

    /// Returns whether the content of a trace is selected.
    pub fn is_selected(&self, entry: &ListingEntry, json: &[u8]) -> bool {
        if !self.prefilter.may_match(json) {
            return false;
        }
        let stored = StoredTrace::read(json);
        self.query.matches(&Candidate::new(entry, &stored))
    }

    /// Returns the row of a trace if its content is selected.
    pub fn row(&self, entry: ListingEntry, json: &[u8]) -> Option<Row> {
        if !self.prefilter.may_match(json) {
            return None;
        }
        let stored = StoredTrace::read(json);
        let candidate = Candidate::new(&entry, &stored);
        self.query.matches(&candidate).then_some(())?;
        let needs_conversation = self.has_previews || !self.words.is_empty();
        let conversation = needs_conversation.then(|| candidate.conversation());
        let snippet = conversation.and_then(|conversation| Snippet::find(conversation, &self.words));
        let previewed = conversation.filter(|_| self.has_previews);
        let preview = previewed.map(|conversation| preview(&conversation.turns)).unwrap_or_default();
        let header = candidate.into_header();
        Some(Row { snippet, preview, ..read_row(entry, &stored, header) })
    }
}

/// Returns the role and the text of the user's first turn and of the last turn.
fn preview(turns: &[Turn]) -> Vec<(String, String)> {
    let first = turns.iter().position(|turn| turn.role == "user").unwrap_or_default();
    let last = turns.len().saturating_sub(1);
    let places = if first == last { vec![first] } else { vec![first, last] };
    places.into_iter().filter_map(|place| turns.get(place)).map(|turn| (turn.role.clone(), text_of(turn))).collect()
}

/// Returns the start of a turn's texts.
fn text_of(turn: &Turn) -> String {
    let mut texts: Vec<String> = Vec::new();
    for part in &turn.parts {
        part.texts(&mut |text| {
            texts.extend(Some(text.chars().take(PREVIEW).collect::<String>()).filter(|text| !text.is_empty()));
        });
    }
    let text = texts.join("\n");
    match text.char_indices().nth(PREVIEW) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
