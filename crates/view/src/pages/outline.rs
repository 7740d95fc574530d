//! The outline of a conversation, with a link to each turn.

use attest_mapping::conversation::{Part, Turn};
use maud::{Markup, html};

use super::{markdown, turn::turn_id};

/// The smallest number of turns for which an outline is useful.
const FEWEST: usize = 3;

/// The maximum length of an entry, in characters.
const WORDS: usize = 60;

/// How much of a string is read for an entry, in characters. Markdown may start with a URL before its first word.
const READ: usize = 2_000;

/// The largest number of tools that an entry lists.
const TOOLS: usize = 4;

/// Shows the outline of `turns`, which are given with their positions. Returns nothing for a short conversation.
pub fn outline(turns: &[(usize, &Turn)]) -> Markup {
    html! {
        @if turns.len() >= FEWEST {
            nav.outline aria-label="Outline" {
                details open {
                    summary { "Outline " small { (turns.len()) " turns" } }
                    ol {
                        @for (place, turn) in turns {
                            li data-role=(turn.role) { a href=(format!("#{}", turn_id(*place))) { (entry(turn)) } }
                        }
                    }
                }
            }
        }
    }
}

fn entry(turn: &Turn) -> Markup {
    let calls = turn.parts.iter().filter_map(|part| if let Part::Call(call) = part { Some(&call.name) } else { None });
    let calls: Vec<_> = calls.collect();
    let words = turn.parts.iter().find_map(words).unwrap_or_default();
    html! {
        b { (turn.role) }
        @if !words.is_empty() { " " span { (words) } }
        @for name in calls.iter().take(TOOLS) { " " code { (name) } }
        @if calls.len() > TOOLS { " and " (calls.len() - TOOLS) " more" }
    }
}

/// Describes a part in a few words. Calls are listed separately.
fn words(part: &Part) -> Option<String> {
    let rendered = |text: &str| beginning(&markdown::text(text, READ));
    match part {
        Part::Text { text, .. } => Some(rendered(text)),
        Part::Refusal(text) => Some(format!("Refusal: {}", rendered(text))),
        Part::Media(media) => Some(media.kind.name().to_owned()),
        Part::Result(result) => Some(format!("Result of {}", beginning(&result.call))),
        Part::Other { kind, .. } => Some(beginning(kind)),
        Part::Thinking(_) | Part::Call(_) => None,
    }
}

/// Returns the first words of a string on one line.
fn beginning(text: &str) -> String {
    let words = text.chars().take(4 * WORDS).collect::<String>();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(WORDS).collect()
}
