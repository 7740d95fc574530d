use std::time::{Duration, Instant};

use attest_mapping::{
    conversation::{Citation, Media, MediaSource, Part, StoredTrace, ToolResult},
    json::Json,
};
use aws_smithy_types::base64;
use maud::{Markup, html};
use sha2::{Digest, Sha256};
use similar::{ChangeTag, TextDiff};

use super::{layout::Frame, urls::trace_url};

/// The time limit, after which a comparison is only approximate. If two texts have no line in common, the time would
/// otherwise grow with the product of their numbers of lines.
const DEADLINE: Duration = Duration::from_secs(1);

/// Shows two traces, and marks the lines that are in only one of them.
pub fn compare(one: (&str, &[u8]), other: (&str, &[u8])) -> Markup {
    let [left, right] = [one.1, other.1].map(lines_of);
    let start = Instant::now();
    let diff = TextDiff::configure().timeout(DEADLINE).diff_lines(&left, &right);
    let is_cut_short = start.elapsed() >= DEADLINE;
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
        main #main {
            h1 { "Side by side" }
            @if is_cut_short {
                p.notice role="status" {
                    "The comparison was cut short after " (DEADLINE.as_secs()) " s: "
                    "lines that are in both traces may be marked."
                }
            }
            div.sides { (side(ChangeTag::Delete, one.0)) (side(ChangeTag::Insert, other.0)) }
        }
    };
    Frame { title: "Side by side", ..Frame::default() }.page(&body)
}

/// Returns a trace as the lines that are compared: each turn as the page of the trace shows it, then the other members.
fn lines_of(json: &[u8]) -> String {
    let stored = StoredTrace::read(json);
    let conversation = stored.conversation();
    let mut lines = Vec::new();
    for turn in &conversation.turns {
        lines.push(format!("{}:", turn.role));
        for part in &turn.parts {
            add_part(part, &mut lines);
        }
        lines.extend(turn.more.iter().map(|(name, value)| member(name, value)));
        lines.push(String::new());
    }
    let members = stored.trace().iter().filter(|(name, _)| *name != "messages");
    lines.extend(members.map(|(name, value)| member(name, value)));
    lines.push(String::new());
    lines.join("\n")
}

fn add_part(part: &Part, lines: &mut Vec<String>) {
    match part {
        Part::Text { text, citations } => {
            lines.push(text.clone());
            lines.extend(
                citations.iter().map(|Citation { title, quote }| {
                    format!("source: {title} {}", quote.as_deref().unwrap_or_default())
                }),
            );
        }
        Part::Thinking(text) => lines.push(format!("thinking: {}", text.as_deref().unwrap_or("encrypted"))),
        Part::Refusal(text) => lines.push(format!("refusal: {text}")),
        Part::Media(Media { kind, name, source }) => {
            let name = name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
            let content = match source {
                MediaSource::Data { media_type, bytes } => format!("{media_type}, SHA-256 {}", digest(bytes)),
                MediaSource::Elsewhere(text) | MediaSource::Text(text) => text.clone(),
            };
            lines.push(format!("{kind:?}{name}: {content}"));
        }
        Part::Call(call) => {
            lines.push(format!("call {} {}:\n{}", call.name, call.id, call.arguments));
            if let Some(result) = &call.result {
                add_result(result, lines);
            }
        }
        Part::Result(result) => add_result(result, lines),
        Part::Other { kind, json } => lines.push(format!("{kind}: {}", json.readable())),
    }
}

fn add_result(result: &ToolResult, lines: &mut Vec<String>) {
    lines.push(format!("{} {}:", if result.is_error { "error" } else { "result" }, result.call));
    for part in &result.parts {
        add_part(part, lines);
    }
}

/// Returns a prefix of the SHA-256 of a medium, which represents its content in the comparison.
fn digest(content: &[u8]) -> String {
    base64::encode(&Sha256::digest(content)[..12])
}

/// Returns a member as text that begins on its own line.
fn member(name: &str, value: &Json) -> String {
    format!("{name}: {}", value.readable())
}
