//! Converts turns to text for the comparison.

use attest_mapping::{
    conversation::{Citation, Media, MediaSource, Part, ToolResult, Turn},
    json::{Json, Members},
};
use aws_smithy_types::base64;
use sha2::{Digest, Sha256};

/// Returns a turn's text as on the trace's page, with each part on its own line.
pub fn turn_text(turn: &Turn) -> String {
    let mut lines = Vec::new();
    for part in &turn.parts {
        add_part(part, &mut lines);
    }
    lines.extend(turn.more.iter().map(|(name, value)| member(name, value)));
    lines.join("\n")
}

/// Returns the members of a trace that are not its messages.
pub fn members_text(trace: &Members) -> String {
    let members = trace.iter().filter(|(name, _)| *name != "messages");
    members.map(|(name, value)| member(name, value)).collect::<Vec<_>>().join("\n")
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
            lines.push(format!("{}{name}: {content}", kind.name()));
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

/// Returns a prefix of a content's SHA-256, which represents the content in the comparison.
fn digest(content: &[u8]) -> String {
    base64::encode(&Sha256::digest(content)[..12])
}

/// Formats a member.
fn member(name: &str, value: &Json) -> String {
    format!("{name}: {}", value.readable())
}
