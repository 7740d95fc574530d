//! Two traces side by side.

use std::time::{Duration, Instant};

use maud::{Markup, html};
use similar::{ChangeTag, TextDiff};

use super::{layout::Frame, trace::trace_url};
use crate::view::json::{Json, Members};

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

/// Returns a trace as the lines that are compared: each message, then the other members.
fn lines_of(json: &[u8]) -> String {
    let trace = Members::read(json);
    let messages = trace.get("messages").and_then(Json::list).unwrap_or_default();
    let said = |message: Members<'_>| {
        let text = |name: &str| message.get(name).map(Json::text).unwrap_or_default();
        format!("{}:\n{}\n{}\n", text("role"), text("content"), members(&message, &["role", "content"]))
    };
    messages.into_iter().filter_map(Json::object).map(said).collect::<String>() + &members(&trace, &["messages"])
}

/// Returns the other members, each beginning on its own line.
fn members(object: &Members<'_>, shown: &[&str]) -> String {
    let more = object.iter().filter(|(name, _)| !shown.contains(name));
    more.fold(String::new(), |lines, (name, value)| lines + name + ": " + &value.readable() + "\n")
}
