//! What the page looks like. `maud` escapes every text that is put in.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use indicatif::{BinaryBytes, HumanCount};
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use similar::{ChangeTag, TextDiff};

use super::{
    conversation::{Conversation, Members},
    search::{Found as Rows, Row, Search},
};
use local_aws::s3::{ACCESS_KEY, REGION};

use crate::storage::{Branch, TraceReader as Source};

/// The schema's members, and what a message has: all else is shown as more.
const TRACE: [&str; 3] = ["model", "created", "messages"];
const MESSAGE: [&str; 2] = ["role", "content"];

/// A content of more characters is folded.
const FOLDED: usize = 2_000;

fn page(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="stylesheet" href="/view.css";
                script src="/view.js" defer {}
            }
            body { (body) }
        }
    }
}

/// Why there is no page.
pub struct Failed(pub StatusCode, pub String);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let body = html! { main { h1 { "This cannot be shown" } pre { (self.1) } p { a href="/" { "All traces" } } } };
        (self.0, page("This cannot be shown", &body)).into_response()
    }
}

pub fn missing(key: &str) -> Response {
    let body = html! { main { h1 { "No such trace" } pre { (key) } p { a href="/" { "All traces" } } } };
    (StatusCode::NOT_FOUND, page("No such trace", &body)).into_response()
}

/// Where a trace is, for who wants it by another tool.
pub struct Places {
    bucket: String,
    endpoint: Option<String>,
    is_folder: bool,
}

impl Places {
    pub fn of(source: &Source) -> Self {
        let (bucket, endpoint) = (source.bucket(), source.endpoint());
        Self { bucket: bucket.to_owned(), endpoint: endpoint.map(str::to_owned), is_folder: source.folder().is_some() }
    }

    /// The line that prints a trace.
    fn command(&self, key: &str) -> String {
        let endpoint = self.endpoint.as_ref().map(|endpoint| format!(" --endpoint-url {endpoint}")).unwrap_or_default();
        let credentials = if self.is_folder {
            format!("AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={ACCESS_KEY} AWS_REGION={REGION} ")
        } else {
            String::new()
        };
        format!("{credentials}aws s3 cp{endpoint} 's3://{}/{}' -", self.bucket, key.replace('\'', r"'\''"))
    }
}

/// The list of traces, and the search.
pub struct Found {
    pub search: Search,
    /// The beginning of the keys that are shown.
    pub prefix: String,
    pub tree: Vec<Branch>,
    pub page: Rows,
    pub places: Places,
}

impl IntoResponse for Found {
    fn into_response(self) -> Response {
        let Self { search, prefix, tree, page: found, places } = self;
        let field = |name: &str, label: &str, value: &str| {
            let like = matches!(name, "since" | "until").then_some("2026-11-22");
            html! { label { (label) input name=(name) value=(value) placeholder=[like] autocomplete="off"; } }
        };
        let body = html! {
            header {
                h1 { a href="/" { "Traces" } " " small { (places.bucket) } }
                form role="search" {
                    @if !search.with.is_empty() { input type="hidden" name="with" value=(search.with); }
                    (field("text", "Text", &search.text))
                    (field("prefix", "Fingerprint", &search.prefix))
                    (field("id", "Id", &search.id))
                    (field("model", "Model", &search.model))
                    (field("role", "Role", &search.role))
                    (field("since", "Since", &search.since))
                    (field("until", "Until", &search.until))
                    button { "Search" }
                }
            }
            div.columns {
                nav aria-label="Fingerprints" { (tree_of(&tree, &prefix, &search)) }
                main {
                    @if !search.with.is_empty() {
                        p {
                            "Choose the trace to compare with "
                            a href=(trace_url(&search.with, &[])) { (search.with) }
                        }
                    }
                    ol.rows #rows {
                        @for row in &found.traces { (row_of(row, &search.with)) }
                    }
                    p.none { "No trace here." }
                    p.more {
                        @if found.looked_at > found.traces.len() { (HumanCount(found.looked_at as u64)) " looked through. " }
                        @if let Some(next) = &found.next {
                            a rel="next" href=(search.url(|search| search.from.clone_from(next))) { "Further" }
                        }
                    }
                }
            }
        };
        page("Traces", &body).into_response()
    }
}

/// The branches below a prefix; the one that is shown is marked, and those above it are opened.
fn tree_of(branches: &[Branch], shown: &str, search: &Search) -> Markup {
    html! {
        ul {
            @for Branch { prefix, traces, below } in branches {
                li {
                    a href=(search.url(|search| search.prefix.clone_from(prefix)))
                        aria-current=[(prefix == shown).then_some("page")] {
                        (prefix.split('/').rev().nth(1).unwrap_or(prefix))
                    }
                    @if let Some(traces) = traces { " " small { (HumanCount(*traces)) } }
                    @if !below.is_empty() { (tree_of(below, shown, search)) }
                }
            }
        }
    }
}

fn row_of(row: &Row, with: &str) -> Markup {
    let key = row.entry.key.as_str();
    let url = if with.is_empty() { trace_url(key, &[]) } else { trace_url(with, &[("with", key)]) };
    let time = row.entry.stored.to_zoned_datetime(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string();
    html! {
        li {
            a href=(url) {
                time { (time) }
                span.model { (row.model) }
                span.words { (row.words) }
                span.size { (BinaryBytes(row.entry.size)) }
            }
        }
    }
}

fn trace_url(key: &str, more: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = [("key", key)].iter().chain(more).copied().collect();
    format!("/trace?{}", serde_urlencoded::to_string(pairs).unwrap_or_default())
}

/// The list, in which a trace is chosen to be compared with this one.
fn compare_url(key: &str) -> String {
    Search::default().url(|search| key.clone_into(&mut search.with))
}

/// A trace as a conversation.
pub fn trace(key: &str, json: &[u8], markdown: bool, places: &Places) -> Response {
    let text = String::from_utf8_lossy(json);
    let Conversation { trace, messages } = Conversation::read(json);
    let other: &[_] = if markdown { &[] } else { &[("markdown", "true")] };
    let body = html! {
        header {
            h1 { a href="/" { "Traces" } " " small { (key) } }
            dl {
                dt { "model" } dd { (trace.text("model")) }
                dt { "created" } dd { (created(&trace)) }
            }
            p.actions {
                a href=(trace_url(key, other)) { @if markdown { "Plain text" } @else { "Render Markdown" } }
                a href=(compare_url(key)) { "Compare with another" }
                button data-copy="raw" { "Copy JSON" }
                button data-copy="command" { "Copy command" }
            }
            pre #command { (places.command(key)) }
        }
        main {
            @for message in &messages { (message_of(message, markdown)) }
            (more(&trace, &TRACE, "More of this trace"))
            details { summary { "JSON, as it is stored" } pre #raw { (text) } }
        }
    };
    page(key, &body).into_response()
}

fn created(trace: &Members<'_>) -> String {
    let seconds = trace.raw("created");
    let time = seconds.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.to_owned(), |time| time.to_string())
}

fn message_of(message: &Members<'_>, markdown: bool) -> Markup {
    let (role, content) = (message.text("role"), message.text("content"));
    let shown = html! {
        @if markdown { div.markdown { (rendered(&content)) } } @else { pre.content { (content) } }
    };
    html! {
        section.message data-role=(role) {
            h2 { (role) }
            @if content.chars().nth(FOLDED).is_some() {
                details { summary { (content.chars().take(200).collect::<String>()) "…" } (shown) }
            } @else { (shown) }
            (more(message, &MESSAGE, "More of this message"))
        }
    }
}

/// The members that are not shown otherwise.
fn more(object: &Members<'_>, shown: &[&str], title: &str) -> Markup {
    let more = object.except(shown);
    html! {
        @if !more.is_empty() {
            details open[title.ends_with("trace")] {
                summary { (title) }
                dl {
                    @for (name, value) in more {
                        dt { (name) }
                        dd { pre { (value) } }
                    }
                }
            }
        }
    }
}

/// Markdown with its HTML as text, its links as text too, and no image: nothing in it leads or asks elsewhere.
fn rendered(markdown: &str) -> Markup {
    let events = Parser::new_ext(markdown, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Html(html) | Event::InlineHtml(html) => Some(Event::Text(html)),
        Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::HtmlBlock)
        | Event::End(TagEnd::Link | TagEnd::Image | TagEnd::HtmlBlock) => None,
        event => Some(event),
    });
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, events);
    PreEscaped(html)
}

/// The members that are not shown otherwise, each on a line.
fn lines(object: &Members<'_>, shown: &[&str]) -> String {
    let members = object.except(shown).into_iter();
    members.map(|(name, value)| format!("{name}: {value}\n")).collect::<Vec<_>>().concat()
}

/// Two traces side by side; the lines that differ are marked.
pub fn compare(one: (&str, &[u8]), other: (&str, &[u8])) -> Response {
    let [left, right] = [one.1, other.1].map(|json| {
        let Conversation { trace, messages } = Conversation::read(json);
        let said = |message: &Members<'_>| {
            format!("{}:\n{}\n{}\n", message.text("role"), message.text("content"), lines(message, &MESSAGE))
        };
        messages.iter().map(said).collect::<String>() + &lines(&trace, &["messages"])
    });
    let diff = TextDiff::from_lines(&left, &right);
    let side = |own: ChangeTag, key: &str| {
        html! {
            article {
                h2 { a href=(trace_url(key, &[])) { (key) } }
                pre.content {
                    @for change in diff.iter_all_changes() {
                        @if change.tag() == ChangeTag::Equal { (change.value()) }
                        @else if change.tag() == own { mark { (change.value()) } }
                    }
                }
            }
        }
    };
    let body = html! {
        header { h1 { a href="/" { "Traces" } " " small { "side by side" } } }
        main.sides { (side(ChangeTag::Delete, one.0)) (side(ChangeTag::Insert, other.0)) }
    };
    page("Side by side", &body).into_response()
}
