//! What pages say about the place of the traces.

use attest_storage::{FilesReader, PlaceKind, TraceReader};
use maud::{Markup, html};

use super::failure::first_trace;

#[derive(Debug)]
pub struct PlaceFacts {
    pub name: String,
    pub kind: PlaceKind,
    /// Notes about lines in files that are not shown.
    notes: Vec<String>,
}

impl PlaceFacts {
    pub fn of(traces: &TraceReader) -> Self {
        let notes = traces.files().map(FilesReader::notes).unwrap_or_default().to_vec();
        Self { name: traces.bucket().to_owned(), kind: traces.kind(), notes }
    }

    pub fn notes(&self) -> Markup {
        html! { @for note in &self.notes { p.notice { (note) } } }
    }

    /// Explains how to store a first trace. Nothing can be stored in a file.
    pub fn first_trace(&self) -> Markup {
        html! { @if self.kind != PlaceKind::Files { (first_trace()) } }
    }
}
