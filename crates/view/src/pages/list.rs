use std::borrow::Cow;

use attest_storage::Branch;
use indicatif::{BinaryBytes, HumanCount};
use jiff::tz::TimeZone;
use maud::{Markup, html};
use percent_encoding::percent_decode_str;

use super::{
    failure::first_trace,
    layout::{Frame, choice},
    urls::trace_url,
};
use crate::{
    query::{Field, Query},
    search::{Found, Row, Search, prefix_of},
};

#[derive(Debug)]
pub struct List {
    pub search: Search,
    pub query: Query,
    pub tree: Vec<Branch>,
    pub found: Found,
    pub bucket: String,
}

impl List {
    pub fn render(&self) -> Markup {
        let Self { search, query, tree, found, bucket } = self;
        let prefix = prefix_of(query);
        let body = html! {
            div.columns {
                nav.tree aria-label="Fingerprints" { (tree_of(tree, &prefix, search, query)) }
                main #main {
                    h1 { "Traces " small { (bucket) } }
                    @if !search.with.is_empty() {
                        p { "Choose the trace to compare with " a href=(trace_url(&search.with, &[])) { (search.with) } }
                    }
                    ol.rows #rows data-live { @for row in &found.rows { (row_of(row, search)) } }
                    div.none { p { "No trace here." } @if *search == Search::default() { (first_trace()) } }
                    p.more {
                        @if found.looked_at > found.rows.len() {
                            (HumanCount(found.looked_at as u64)) " looked through. "
                        }
                        (not_searched(found.unreadable))
                        @if let Some(next) = &found.next {
                            a rel="next" href=(search.url(|search| search.from.clone_from(next))) { "Further" }
                        }
                    }
                }
            }
        };
        Frame { title: "Traces", q: &search.q, with: &search.with, view: "/traces" }.page(&body)
    }
}

/// Renders the branches below a prefix. The shown branch is marked, and the branches above it are expanded.
fn tree_of(branches: &[Branch], shown: &str, search: &Search, query: &Query) -> Markup {
    html! {
        ul {
            @for Branch { prefix, traces, below } in branches {
                li {
                    a href=(search.url(|search| search.q = query.clone().with(Field::Fingerprint, prefix).to_string()))
                        aria-current=[(prefix == shown).then_some("page")] {
                        (segment(prefix))
                    }
                    @if let Some(traces) = traces { " " small { (HumanCount(*traces)) } }
                    @if !below.is_empty() { (tree_of(below, shown, search, query)) }
                }
            }
        }
    }
}

/// Returns the last segment of a prefix, decoded as in the fingerprint.
fn segment(prefix: &str) -> Cow<'_, str> {
    let encoded = prefix.split('/').rev().nth(1).unwrap_or(prefix);
    percent_decode_str(encoded).decode_utf8_lossy()
}

/// States how many objects a search left out, because they cannot be read.
pub fn not_searched(unreadable: usize) -> Markup {
    html! { @if unreadable > 0 { (HumanCount(unreadable as u64)) " cannot be read, and were not searched. " } }
}

pub fn row_of(row: &Row, search: &Search) -> Markup {
    let key = row.entry.key.as_str();
    let url = if search.with.is_empty() {
        trace_url(key, &[("q", &search.q), ("from", &search.from)])
    } else {
        trace_url(&search.with, &[("with", key)])
    };
    let time = row.entry.stored.to_zoned_datetime(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let header = &row.header;
    html! {
        li data-key=(key) {
            @if search.with.is_empty() { (choice(key)) }
            a href=(url) {
                time { (time) }
                span.model { (header.model) }
                span.words {
                    @if header.error.is_some() { span.badge.bad { "error" } " " }
                    @if header.is_refused { span.badge.bad { "refusal" } " " }
                    @if header.incomplete.is_some() { span.badge { "incomplete" } " " }
                    @if let Some(reason) = row.unreadable { span.badge.bad { "cannot be read" } " " (reason) ": " (key) }
                    (row.words)
                }
                span.tokens { @if let Some(tokens) = header.tokens.total { (HumanCount(tokens)) " tokens" } }
                span.size { (BinaryBytes(row.entry.size)) }
            }
        }
    }
}
