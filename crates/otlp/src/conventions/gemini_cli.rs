//! Gemini CLI: the attributes of the current conventions, with three differences.
//!
//! A span contains messages in the Gemini API's format. A log record calls the model's role `system`. A streamed answer
//! is a list of its pieces (`semantic.ts` and `loggingContentGenerator.ts` in Gemini CLI 0.56).

use serde_json::{Value, json};

use super::{CallMessages, gen_ai, items};
use crate::attributes::Attributes;

/// Gemini CLI's scope name, for spans and log records.
const SCOPE: &str = "gemini-cli";

/// The operation name of Gemini CLI's spans.
pub const OPERATION: &str = "llm_call";

#[must_use]
pub fn is_source(scope: &str, attributes: &Attributes<'_>) -> bool {
    scope == SCOPE || attributes.text("gen_ai.operation.name") == Some(OPERATION)
}

/// Returns whether a record describes only a call's request. A later record describes the whole call.
#[must_use]
pub fn is_request(scope: &str, attributes: &Attributes<'_>) -> bool {
    is_source(scope, attributes) && !attributes.has("gen_ai.response.") && !attributes.has(gen_ai::OUTPUT)
}

pub fn read(attributes: &Attributes<'_>) -> CallMessages {
    let mut conversation = CallMessages::default();
    let mut is_cut = false;
    gen_ai::instruct(&mut conversation, &instructions(attributes, &mut is_cut));
    for mut message in items(attributes, gen_ai::INPUT, &mut is_cut) {
        is_cut |= is_shortened(&message);
        // The system prompt has its own attribute, so this is the model's role.
        if message["role"] == "system" {
            message["role"] = "assistant".into();
        }
        conversation.ask(&message);
    }
    let pieces = items(attributes, gen_ai::OUTPUT, &mut is_cut);
    is_cut |= pieces.iter().any(is_shortened);
    match pieces.as_slice() {
        [] => {}
        [text @ Value::String(_)] => conversation.reply(text),
        pieces => {
            let parts = joined(pieces);
            if !parts.is_empty() {
                conversation.reply(&json!({"role": "assistant", "parts": parts}));
            }
        }
    }
    conversation.is_cut = is_cut;
    conversation
}

/// Returns the parts of the system prompt, which is a string, a Gemini content object or a list of parts.
fn instructions(attributes: &Attributes<'_>, is_cut: &mut bool) -> Vec<Value> {
    let quoted = attributes.text(gen_ai::INSTRUCTIONS).filter(|text| text.starts_with('"'));
    if let Some(text) = quoted {
        *is_cut |= is_shortened(&text.into());
        return vec![serde_json::from_str::<String>(text).map_or_else(|_| text.into(), Value::String)];
    }
    let parts = items(attributes, gen_ai::INSTRUCTIONS, is_cut);
    *is_cut |= parts.iter().any(is_shortened);
    parts
}

/// Joins the parts of all pieces. Merges adjacent parts of one kind, because a stream may split a part anywhere.
fn joined(pieces: &[Value]) -> Vec<Value> {
    let mut parts: Vec<Value> = Vec::new();
    for part in pieces.iter().filter_map(|piece| piece["parts"].as_array()).flatten() {
        let name = if part["text"].is_string() { "text" } else { "content" };
        if let (Some(Value::Object(last)), Some(more)) = (parts.last_mut(), part[name].as_str())
            && let Some(Value::String(text)) = last.get(name)
            && ["type", "thought"].iter().all(|kind| last.get(*kind) == part.get(*kind))
        {
            let text = format!("{text}{more}");
            last.insert(name.to_owned(), text.into());
        } else {
            parts.push(part.clone());
        }
    }
    parts
}

/// Returns whether Gemini CLI has truncated a string: a span attribute, or a part in a record.
fn is_shortened(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            text.ends_with("...[TRUNCATED]")
                || text.rsplit_once("...[TRUNCATED: original length ").is_some_and(|(_, rest)| rest.ends_with(']'))
        }
        Value::Object(members) => {
            let parts = members.get("parts").and_then(Value::as_array).into_iter().flatten();
            ["text", "content", "arguments", "response"].iter().filter_map(|name| members.get(*name)).any(is_shortened)
                || parts.into_iter().any(is_shortened)
        }
        _ => false,
    }
}
