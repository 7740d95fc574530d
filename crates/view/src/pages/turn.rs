//! Renders the turns of a conversation, its choices, and the other members of its trace.

use attest_mapping::{
    conversation::{Choice, Turn},
    json::{Json, Members},
};
use maud::{Markup, html};

use super::part::{self, FoldLimits, PartText, Style};

/// Members of a trace that are shown elsewhere on the page.
const SHOWN: [&str; 6] = ["model", "created", "messages", "api", "request_messages", OTEL];

/// The member that contains a call's span or log records (`docs/opentelemetry.md`, "Spans").
const OTEL: &str = "otel";

/// The largest number of members that are listed.
const MEMBERS: usize = 500;

/// Returns the fragment of the turn at a position.
pub fn turn_id(place: usize) -> String {
    format!("turn-{}", place + 1)
}

/// Returns the fragment of the alternative answer at a position.
pub fn answer_id(place: usize) -> String {
    format!("answer-{}", place + 1)
}

pub fn turn_of(turn: &Turn, id: &str, style: Style<'_>) -> Markup {
    let text = if turn.role == "assistant" { style.text } else { PartText::Plain };
    let limits = if is_prompt(&turn.role) { FoldLimits::PROMPT } else { style.limits };
    let style = Style { text, limits, ..style };
    html! {
        article.message id=(id) data-role=(turn.role) {
            div.bar {
                h2 { (turn.role) @if let Some(name) = &turn.name { " " small { (name) } } }
                (part::anchor(id, "message"))
            }
            (part::parts(&turn.parts, Some(id), style))
            @if !turn.more.is_empty() {
                details open[style.is_open] {
                    summary { "More of this message" }
                    (part::members(turn.more.iter().take(MEMBERS).map(|(name, value)| (name.as_str(), value)), style))
                }
            }
        }
    }
}

/// Returns whether a turn with this role is a prompt that precedes the conversation.
fn is_prompt(role: &str) -> bool {
    matches!(role, "system" | "developer")
}

/// Shows alternative answers as tabs. They are radio buttons, so they need no script.
pub fn choices(choices: &[Choice], style: Style<'_>) -> Markup {
    html! {
        @if !choices.is_empty() {
            fieldset.tabs #choices {
                legend { (choices.len()) " choices" }
                @for (place, choice) in choices.iter().take(MEMBERS).enumerate() {
                    @let id = format!("choice-{place}");
                    input type="radio" name="choice" id=(id) checked[place == 0];
                    label for=(id) {
                        "Choice " (choice.name) @if let Some(reason) = &choice.finish_reason { " " small { (reason) } }
                    }
                    div.panel { (turn_of(&choice.turn, &answer_id(place), style)) }
                }
            }
        }
    }
}

pub fn more(trace: &Members, style: Style<'_>) -> Markup {
    let more: Vec<_> = trace.iter().filter(|(name, _)| !SHOWN.contains(name)).take(MEMBERS).collect();
    html! {
        @if !more.is_empty() {
            details.rest open {
                summary { "More of this trace" }
                (part::members(more.into_iter(), style))
            }
        }
        @if let Some(otel) = trace.get(OTEL) {
            details.rest #otel open[style.is_open] {
                summary { (record_kind(otel)) }
                pre { (otel.readable()) }
            }
        }
    }
}

fn record_kind(otel: &Json) -> &'static str {
    let has = |name: &str| otel.as_object().is_some_and(|otel| otel.contains(name));
    if has("logRecord") || has("logRecords") { "OpenTelemetry log record" } else { "OpenTelemetry span" }
}
