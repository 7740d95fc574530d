//! Two traces side by side.

use std::time::{Duration, Instant};

use maud::{Markup, html};
use sha2::{Digest, Sha256};
use similar::{ChangeTag, TextDiff};

use super::{layout::Frame, trace::trace_url};
use crate::view::{
    conversation::{Citation, Media, MediaSource, Part, Stored, ToolResult},
    json::Json,
};

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
    let stored = Stored::read(json);
    let conversation = stored.conversation();
    let mut lines = String::new();
    for turn in &conversation.turns {
        lines += &format!("{}:\n", turn.role);
        turn.parts.iter().for_each(|part| lines_of_part(part, &mut lines));
        lines += &members(turn.more.iter().map(|(name, value)| (name.as_str(), *value)));
        lines += "\n";
    }
    lines + &members(conversation.trace.iter().filter(|(name, _)| *name != "messages"))
}

fn lines_of_part(part: &Part<'_>, lines: &mut String) {
    let mut add = |text: &str| *lines += &format!("{text}\n");
    match part {
        Part::Text { text, citations } => {
            add(text);
            citations.iter().for_each(|Citation { title, quote }| {
                add(&format!("source: {title} {}", quote.as_deref().unwrap_or_default()));
            });
        }
        Part::Thinking(text) => add(&format!("thinking: {}", text.as_deref().unwrap_or("encrypted"))),
        Part::Refusal(text) => add(&format!("refusal: {text}")),
        Part::Media(Media { kind, name, source }) => {
            let name = name.as_deref().unwrap_or_default();
            let content = match source {
                MediaSource::Data { media_type, base64 } => format!("{media_type}, SHA-256 {}", digest(base64)),
                MediaSource::Elsewhere(text) | MediaSource::Text(text) => text.clone(),
            };
            add(&format!("{kind:?} {name}: {content}"));
        }
        Part::Call(call) => {
            add(&format!("call {} {}:\n{}", call.name, call.id, call.arguments));
            call.result.iter().for_each(|result| lines_of_result(result, lines));
        }
        Part::Result(result) => lines_of_result(result, lines),
        Part::Other { kind, json } => add(&format!("{kind}: {}", json.readable())),
    }
}

fn lines_of_result(result: &ToolResult<'_>, lines: &mut String) {
    *lines += &format!("{} {}:\n", if result.is_error { "error" } else { "result" }, result.call);
    result.parts.iter().for_each(|part| lines_of_part(part, lines));
}

/// Returns the SHA-256 of a medium's base64, which stands for its content.
fn digest(base64: &str) -> String {
    Sha256::digest(base64.as_bytes()).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Returns members, each beginning on its own line.
fn members<'a>(members: impl Iterator<Item = (&'a str, Json<'a>)>) -> String {
    members.fold(String::new(), |lines, (name, value)| lines + name + ": " + &value.readable() + "\n")
}
