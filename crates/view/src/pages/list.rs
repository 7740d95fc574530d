use std::borrow::Cow;

use attest_mapping::Prices;
use attest_query::{Field, Query};
use attest_storage::{Branch, PlaceKind};
use indicatif::{BinaryBytes, HumanCount};
use jiff::tz::TimeZone;
use maud::{Markup, PreEscaped, html};
use percent_encoding::percent_decode_str;

use super::{
    facts::dollars,
    failure::first_trace,
    layout::{Frame, choice},
    place::PlaceFacts,
    trace::TURNS,
    turn::turn_id,
    urls::{export_url, trace_url},
};
use crate::{
    commands::TerminalCommand,
    search::{ROWS, Row, Search, Totals},
};

/// Marks where the streamed part goes. No text on a page contains this mark, because `<` is escaped in texts.
pub const STREAMED: &str = "<!--streamed-->";

#[derive(Debug)]
pub struct List {
    pub search: Search,
    pub query: Query,
    pub tree: Vec<Branch>,
    pub place: PlaceFacts,
}

impl List {
    pub fn render(&self) -> Markup {
        let Self { search, query, tree, place } = self;
        let prefix = query.key_prefix();
        let body = html! {
            (stop_form())
            div.columns {
                nav.tree aria-label="Fingerprints" { (tree_of(tree, &prefix, search, query)) }
                main #main data-place=[(place.kind == PlaceKind::Files).then_some("files")] {
                    h1 { "Traces " small { (place.name) } }
                    (place.notes())
                    @if !search.with.is_empty() {
                        p { "Choose the trace to compare with " a href=(trace_url(&search.with, &[])) { (search.with) } }
                    }
                    p.basis { "Times are those of storage, in UTC." }
                    (PreEscaped(STREAMED))
                }
            }
        };
        Frame { title: "Traces", q: &search.q, with: &search.with, view: "/traces" }.page(&body)
    }
}

/// Renders the form for the buttons that stop a search. The script submits it without leaving the page. Without the
/// script, the browser stops loading the page, which also ends the search.
pub fn stop_form() -> Markup {
    html! {
        form #stop method="post" action="/stop" {}
        script src="/stop.js" async {}
    }
}

/// Renders a row without its end tag, which HTML allows, because progress may follow within the row. The first row
/// starts the list.
pub fn list_row(row: &Row, place: usize, search: &Search, prices: &Prices) -> String {
    let row = row_of(row, search, prices).into_string();
    let begin = if place == 0 { list_begin(search) } else { "" };
    format!("{begin}{}", row.trim_end_matches("</li>"))
}

fn list_begin(search: &Search) -> &'static str {
    if Query::parse(&search.q).is_ok_and(|query| query.needs_content()) {
        "<ol class=\"rows\" id=\"rows\">"
    } else {
        "<ol class=\"rows\" id=\"rows\" data-live>"
    }
}

/// Shows a search's progress. Each element hides the earlier ones, and the end of the page hides all.
pub fn progress(found: Totals, total: Option<usize>, next: Option<&str>, search: &Search, number: u64) -> Markup {
    html! {
        p.progress {
            progress aria-label="Traces searched" value=(found.looked_at) max=[total] {}
            " " (count(found.found)) " found in " (searched(found.looked_at, total)) " so far. "
            (stop_button(number))
            @if let Some(next) = next { " " a href=(search.url(|search| next.clone_into(&mut search.from))) { "Further" } }
        }
    }
}

/// Shows how many traces have been read. Hidden in the same way as [`progress`].
pub fn reading(looked_at: usize, total: Option<usize>, number: u64) -> Markup {
    html! {
        p.progress {
            progress aria-label="Traces read" value=(looked_at) max=[total] {}
            " " (searched(looked_at, total)) " read so far. "
            (stop_button(number))
        }
    }
}

fn stop_button(number: u64) -> Markup {
    html! { button form="stop" name="search" value=(number) { "Stop" } }
}

fn count(count: usize) -> HumanCount {
    HumanCount(count as u64)
}

pub fn searched(looked_at: usize, total: Option<usize>) -> Markup {
    html! {
        (count(looked_at)) " "
        @if let Some(total) = total.filter(|total| *total >= looked_at) { "of " (count(total)) " " }
        "traces"
    }
}

/// How the search for a page ended.
#[derive(Debug)]
pub enum Outcome {
    /// The search has read all traces.
    Complete,
    /// The page is full. Nothing is known about later traces.
    Listed,
    Stopped,
    Failed(anyhow::Error),
}

#[derive(Debug)]
pub struct ListEnd<'a> {
    pub search: &'a Search,
    pub rows: usize,
    /// The totals from the start of the page on.
    pub found: Totals,
    /// The number of traces from the start of the page on, if it is known.
    pub total: Option<usize>,
    /// The totals over all traces, if the first page has counted them.
    pub all: Option<Totals>,
    pub next: Option<&'a str>,
    pub outcome: Outcome,
    pub exports: &'a [TerminalCommand],
}

pub fn list_end(end: &ListEnd<'_>) -> Markup {
    let ListEnd { search, rows, found, total, all, next, outcome, exports } = end;
    let is_first = search.from.is_empty();
    html! {
        @if *rows == 0 { (PreEscaped(list_begin(search))) }
        (PreEscaped("</ol>"))
        div.none { p { "No trace here." } @if **search == Search::default() { (first_trace()) } }
        @if let Outcome::Failed(error) = outcome {
            div.alert role="alert" { p.label { "The search failed, so the list is not complete" } pre { (format!("{error:#}")) } }
        }
        p.more {
            @match (outcome, all) {
                (Outcome::Listed, None) => { (count(*rows)) " traces on this page. " }
                (Outcome::Complete, _) if is_first => {
                    (count(found.found)) " found in " (count(found.looked_at)) " traces. "
                }
                (Outcome::Complete | Outcome::Listed, Some(all)) => {
                    (count(*rows)) " of " (count(all.found)) " found in " (count(all.looked_at)) " traces. "
                }
                (Outcome::Complete, None) => {
                    (count(found.found)) " found in " (count(found.looked_at)) " traces from here on. "
                }
                (Outcome::Stopped, _) => {
                    "Stopped: " (count(found.found)) " found in " (searched(found.looked_at, *total)) ". "
                }
                (Outcome::Failed(_), _) => {
                    (count(found.found)) " found in " (searched(found.looked_at, *total)) " until then. "
                }
            }
            (not_searched(found.unreadable))
            @if let Some(next) = next {
                a rel="next" href=(search.url(|search| (*next).clone_into(&mut search.from))) {
                    @if *rows < ROWS { "Continue" } @else { "Further" }
                }
            }
        }
        @if *rows > 0 { (export(&search.q, exports)) }
    }
}

/// Offers all traces of a result for download, and the commands that export them.
fn export(q: &str, commands: &[TerminalCommand]) -> Markup {
    html! {
        details.export {
            summary { "Export this result" }
            p { a href=(export_url(q)) download { "Download" } " all its traces as JSON Lines, in the order of this list." }
            @for TerminalCommand { id, title, text } in commands {
                div.command {
                    p { (title) ": " button type="button" hidden data-copy=(id) { "Copy" } }
                    pre #(id) { (text) }
                }
            }
        }
    }
}

/// Renders the branches below a prefix. The shown branch is marked, and the branches above it are expanded.
fn tree_of(branches: &[Branch], shown: &str, search: &Search, query: &Query) -> Markup {
    html! {
        ul {
            @for Branch { prefix, traces, below } in branches {
                li {
                    a href=(search.url(|search| search.q = q_with(query, Field::Fingerprint, prefix)))
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

/// Formats a query with an added condition. An invalid value changes nothing.
pub fn q_with(query: &Query, field: Field, value: &str) -> String {
    query.clone().with(field, value).unwrap_or_else(|_| query.clone()).to_string()
}

/// Returns the last segment of a prefix, decoded as in the fingerprint.
fn segment(prefix: &str) -> Cow<'_, str> {
    let encoded = prefix.split('/').rev().nth(1).unwrap_or(prefix);
    percent_decode_str(encoded).decode_utf8_lossy()
}

/// States how many objects a search left out because they cannot be read.
pub fn not_searched(unreadable: usize) -> Markup {
    html! { @if unreadable > 0 { (HumanCount(unreadable as u64)) " cannot be read, and were not searched. " } }
}

/// Returns the URL of a trace, at the turn where the search found its words.
fn hit_url(row: &Row, search: &Search) -> String {
    let Some(snippet) = &row.snippet else {
        return trace_url(&row.entry.key, &[("q", &search.q), ("from", &search.from)]);
    };
    let first = snippet.turn - snippet.turn % TURNS;
    let first = if first == 0 { String::new() } else { first.to_string() };
    let url = trace_url(&row.entry.key, &[("turn", &first), ("q", &search.q), ("from", &search.from)]);
    format!("{url}#{}", if snippet.is_choice { "choices".to_owned() } else { turn_id(snippet.turn) })
}

pub fn row_of(row: &Row, search: &Search, prices: &Prices) -> Markup {
    let key = row.entry.key.as_str();
    let url = if search.with.is_empty() { hit_url(row, search) } else { trace_url(&search.with, &[("with", key)]) };
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
                span.cost { @if let Some(cost) = prices.cost(header) { (dollars(cost)) } }
                span.size { (BinaryBytes(row.entry.size)) }
                @if let Some(snippet) = &row.snippet {
                    span.snippet {
                        @for (text, is_word) in &snippet.parts { @if *is_word { mark { (text) } } @else { (text) } }
                    }
                }
            }
        }
    }
}
