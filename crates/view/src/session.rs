//! The traces of one session, or of one OpenTelemetry trace, as a tree of spans.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::search::Row;

/// The maximum number of traces on a page. The totals cover all traces.
pub const ROWS: usize = 1_000;

/// The maximum number of models that are counted separately, because a writer may use any text as a model.
const MODELS: usize = 100;

#[derive(Debug)]
pub struct Session {
    pub id: String,
    pub spans: Vec<SessionSpan>,
    pub figures: Figures,
}

/// The totals over all traces of a session.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub traces: usize,
    pub tokens: u64,
    pub errors: u64,
    pub refusals: u64,
    /// The number of traces by model.
    pub models: BTreeMap<String, u64>,
    /// The earliest start and the latest end, in seconds since 1970.
    pub times: Option<(f64, f64)>,
}

impl Figures {
    pub fn add(&mut self, row: &Row) {
        let header = &row.header;
        self.traces += 1;
        self.tokens = self.tokens.saturating_add(header.tokens.total.unwrap_or_default());
        self.errors += u64::from(header.error.is_some());
        self.refusals += u64::from(header.is_refused);
        if self.models.contains_key(&header.model) || self.models.len() < MODELS {
            *self.models.entry(header.model.clone()).or_default() += 1;
        }
        let (start, end) = (start(row), start(row) + header.seconds.unwrap_or_default());
        let (first, last) = self.times.unwrap_or((start, end));
        self.times = Some((first.min(start), last.max(end)));
    }

    /// Returns the earliest start.
    pub fn start(&self) -> f64 {
        self.times.map_or(0.0, |(start, _)| start)
    }

    /// Returns the time from the earliest start to the latest end, in seconds.
    pub fn seconds(&self) -> f64 {
        self.times.map_or(0.0, |(start, end)| end - start)
    }
}

#[derive(Debug)]
pub struct SessionSpan {
    pub depth: usize,
    pub content: SessionContent,
}

/// The trace of a span, or a parent span that is not stored.
#[derive(Debug)]
pub enum SessionContent {
    Trace(Box<Row>),
    /// The id of a parent span that was not a model call, or was not found.
    Missing(String),
}

impl Session {
    pub fn new(id: String, mut rows: Vec<Row>, figures: Figures) -> Self {
        rows.sort_by(|one, other| start(one).total_cmp(&start(other)));
        Self { id, spans: arranged(rows), figures }
    }

    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.spans.iter().filter_map(|span| match &span.content {
            SessionContent::Trace(row) => Some(&**row),
            SessionContent::Missing(_) => None,
        })
    }
}

/// Returns when a call started, in seconds since 1970. Falls back to the time of the response, or to the storage time.
pub fn start(row: &Row) -> f64 {
    let created = || row.header.created.parse::<Timestamp>().ok();
    let seconds = |time: Timestamp| time.as_duration().as_secs_f64();
    row.header.start.unwrap_or_else(|| seconds(created().unwrap_or(row.entry.stored)))
}

/// Puts spans below their parents. Siblings keep their order. A cycle of parents is broken at its earliest span.
fn arranged(rows: Vec<Row>) -> Vec<SessionSpan> {
    let mut by_id: HashMap<String, usize> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        if let Some(span) = &row.header.span {
            by_id.entry(span.id.clone()).or_insert(place);
        }
    }
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut missing: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut roots: Vec<usize> = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        match row.header.span.as_ref().and_then(|span| span.parent.as_ref()) {
            None => roots.push(place),
            Some(parent) => match by_id.get(parent) {
                Some(parent) => children.entry(*parent).or_default().push(place),
                None => missing.entry(parent.clone()).or_default().push(place),
            },
        }
    }
    // A parent that is not stored takes the position of its first child.
    let mut first_of: HashMap<usize, String> = HashMap::new();
    for (parent, places) in &missing {
        roots.push(places[0]);
        first_of.insert(places[0], parent.clone());
    }
    roots.sort_unstable();
    roots.extend(0..rows.len()); // those within a cycle
    let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    let mut spans = Vec::with_capacity(rows.len());
    for root in roots {
        let mut waiting = vec![(root, 0)];
        if let Some(parent) = first_of.remove(&root) {
            let places = missing.remove(&parent).unwrap_or_default();
            spans.push(SessionSpan { depth: 0, content: SessionContent::Missing(parent) });
            waiting = places.into_iter().rev().map(|place| (place, 1)).collect();
        }
        while let Some((place, depth)) = waiting.pop() {
            let Some(row) = rows[place].take() else { continue };
            spans.push(SessionSpan { depth, content: SessionContent::Trace(Box::new(row)) });
            waiting.extend(children.get(&place).into_iter().flatten().rev().map(|child| (*child, depth + 1)));
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use attest_storage::ListingEntry;

    use super::*;

    /// Returns the names of spans, indented by depth.
    fn tree(spans: &[(&str, &str, u32)]) -> Vec<String> {
        let rows = spans.iter().map(|(id, parent, start)| {
            let otel = serde_json::json!({"spanId": id, "parentSpanId": parent, "name": id,
                "startTimeUnixNano": format!("{start}000000000"), "endTimeUnixNano": format!("{}000000000", start + 2)});
            let trace = serde_json::json!({"model": "m", "created": 1, "messages": [], "otel": otel}).to_string();
            Row::read(ListingEntry { key: format!("m/{id}"), stored: Timestamp::UNIX_EPOCH, size: 0 }, trace.as_bytes())
        });
        let session = Session::new("s".to_owned(), rows.collect(), Figures::default());
        let name = |span: &SessionSpan| match &span.content {
            SessionContent::Trace(row) => {
                row.header.span.as_ref().and_then(|span| span.name.clone()).unwrap_or_default()
            }
            SessionContent::Missing(parent) => format!("({parent})"),
        };
        session.spans.iter().map(|span| format!("{}{}", " ".repeat(span.depth), name(span))).collect()
    }

    #[test]
    fn spans_are_below_their_parents_in_the_order_of_time() {
        let spans =
            [("late", "root", 7), ("deep", "early", 3), ("early", "root", 2), ("root", "", 1), ("other", "", 9)];
        assert_eq!(tree(&spans), ["root", " early", "  deep", " late", "other"]);
    }

    #[test]
    fn parents_that_are_not_stored_keep_their_children_together() {
        assert_eq!(tree(&[("a", "gone", 1), ("b", "", 2), ("c", "gone", 3)]), ["(gone)", " a", " c", "b"]);
    }

    #[test]
    fn circles_and_repeated_ids_show_every_span_once() {
        assert_eq!(tree(&[("a", "b", 1), ("b", "a", 2)]), ["a", " b"]);
        assert_eq!(tree(&[("a", "a", 1), ("c", "a", 2)]), ["a", " c"]);
        assert_eq!(tree(&[("a", "", 1), ("a", "", 2)]), ["a", "a"]);
    }

    #[test]
    fn spans_of_sdks_are_read() {
        let trace = br#"{"log": {"context": {"trace_id": "0x0af7", "span_id": "0xb7ad"}, "parent_id": null, "name": "chat m"}}"#;
        let row = Row::read(ListingEntry { key: "m/a".to_owned(), stored: Timestamp::UNIX_EPOCH, size: 0 }, trace);
        let span = row.header.span.expect("a span");
        assert_eq!((span.trace.as_deref(), span.id.as_str(), span.parent), (Some("0af7"), "b7ad", None));
        assert_eq!(span.name.as_deref(), Some("chat m"));
    }
}
