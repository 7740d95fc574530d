//! Converts a stored message into the provider's messages and items, and those into turns.

use super::{
    Turn,
    media::Media,
    part::{self, Part, ToolCall, ToolResult},
};
use crate::{
    json::{Json, Members},
    rebuild::{Original, original},
};

/// Members that become a turn's role, name and parts, or that only identify it.
const SHOWN: [&str; 17] = [
    "role",
    "content",
    "name",
    "member",
    "original",
    "parts",
    "tool_calls",
    "tool_call_id",
    "function_call",
    "refusal",
    "reasoning_content",
    "reasoning",
    "thinking_blocks",
    "audio",
    "annotations",
    "finish_reason",
    "type",
];

pub fn read(stored: &Json, turns: &mut Vec<Turn>) {
    let Some(message) = stored.as_object() else {
        turns.push(Turn { parts: vec![Part::other("message", stored)], ..Turn::default() });
        return;
    };
    let prompt = message.string("member");
    match original(message) {
        Original::Prompt { value: blocks @ Json::Array(_), .. } => {
            let role = message.string("role").unwrap_or_default();
            turns.push(Turn { role, name: prompt, parts: part::content(blocks), more: Vec::new() });
        }
        Original::Prompt { .. } => turns.push(message_turn(message, prompt)),
        Original::Message(original) => turns.push(message_turn(&original, prompt)),
        Original::Items(items) => {
            let start = turns.len();
            for item in items {
                let turn = item_turn(item, message);
                match turns[start..].last_mut() {
                    Some(last) if last.role == turn.role && last.name == turn.name => {
                        last.parts.extend(turn.parts);
                        last.more.extend(turn.more);
                    }
                    _ => turns.push(turn),
                }
            }
        }
    }
}

/// Reads a Responses API item, or a message of any API. `message` is the stored message that contains it.
fn item_turn(value: &Json, message: &Members) -> Turn {
    let Some(item) = value.as_object() else {
        let role = message.string("role").unwrap_or_default();
        return Turn { role, parts: part::content(value), ..Turn::default() };
    };
    let kind = item.text("type").unwrap_or_default();
    let assistant = |parts| Turn { role: "assistant".to_owned(), parts, ..Turn::default() };
    match kind {
        "" | "message" => message_turn(item, None),
        "reasoning" => assistant(part::reasoning(item)),
        "image_generation_call" => match item.text("result") {
            Some(result) => assistant(vec![Part::Media(Media::base64("image/png", result, None))]),
            None => assistant(vec![Part::Call(ToolCall::of_item(kind, item))]),
        },
        _ if kind.ends_with("_output") => {
            let parts = item.get("output").map(part::content).unwrap_or_default();
            let call = item.first_string(&["call_id", "id"]).unwrap_or_default();
            let result = ToolResult { call, parts, is_error: item.filled("error").is_some() };
            Turn { role: "tool".to_owned(), parts: vec![Part::Result(result)], ..Turn::default() }
        }
        _ if kind.ends_with("_call") => assistant(vec![Part::Call(ToolCall::of_item(kind, item))]),
        _ if item.get("role").is_some() => message_turn(item, None),
        _ => assistant(vec![Part::other(kind, value)]),
    }
}

/// Reads a message of Chat Completions, Responses, Anthropic or OpenTelemetry's semantic conventions.
fn message_turn(message: &Members, prompt: Option<String>) -> Turn {
    let mut role = message.string("role").unwrap_or_default();
    let mut parts = Vec::new();
    if let Some(thinking) = message.filled("thinking_blocks") {
        parts.extend(part::content(thinking));
    } else if let Some(thinking) = message.first_filled(&["reasoning_content", "reasoning"]) {
        parts.push(Part::Thinking(Some(thinking.readable())));
    }
    for name in ["content", "parts"] {
        parts.extend(message.get(name).map(part::content).unwrap_or_default());
    }
    part::annotate(&mut parts, message);
    if let Some(refusal) = message.string("refusal").filter(|refusal| !refusal.is_empty()) {
        parts.push(Part::Refusal(refusal));
    }
    if let Some(audio) = message.get("audio").and_then(Json::as_object) {
        parts.extend(part::spoken(audio));
    }
    for call in message.list("tool_calls") {
        parts.push(
            call.as_object().map_or_else(|| Part::other("tool call", call), |call| Part::Call(ToolCall::of_chat(call))),
        );
    }
    if let Some(call) = message.get("function_call").and_then(Json::as_object) {
        parts.push(Part::Call(ToolCall::of_chat(call)));
    }
    let call =
        message.string("tool_call_id").or_else(|| (role == "function").then(|| message.string("name")).flatten());
    if let Some(call) = call {
        role.clear();
        parts = vec![Part::Result(ToolResult { call, parts, is_error: false })];
    }
    if !parts.is_empty() && parts.iter().all(|part| matches!(part, Part::Result(_))) {
        "tool".clone_into(&mut role);
    }
    let more = message.iter().filter(|(name, value)| !SHOWN.contains(name) && !value.is_empty());
    let more = more.map(|(name, value)| (name.to_owned(), value.clone())).collect();
    Turn { role, name: prompt.or_else(|| message.string("name")), parts, more }
}
