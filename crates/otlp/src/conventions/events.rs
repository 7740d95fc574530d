//! Log records. In the current conventions, a record describes a whole call. Before 1.37, each record held one message.

use serde_json::{Map, Value, json};

use super::CallMessages;
use crate::attributes::{Attributes, plain};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A whole call, in the attributes of the current conventions.
    Call,
    Message,
    ClaudeCode,
    Other,
}

/// Returns an event's name, which was an attribute before version 1.5 of the protocol.
#[must_use]
pub fn name<'r>(record: &'r Value, attributes: &Attributes<'r>) -> &'r str {
    let name = record["eventName"].as_str().filter(|name| !name.is_empty());
    name.or_else(|| attributes.text("event.name"))
        .or_else(|| record["body"]["stringValue"].as_str())
        .unwrap_or_default()
}

#[must_use]
pub fn kind(name: &str) -> EventKind {
    match name.strip_prefix("claude_code.").unwrap_or(name) {
        "gen_ai.client.inference.operation.details" => EventKind::Call,
        "gen_ai.system.message"
        | "gen_ai.user.message"
        | "gen_ai.assistant.message"
        | "gen_ai.tool.message"
        | "gen_ai.choice" => EventKind::Message,
        "api_request_body" | "api_response_body" => EventKind::ClaudeCode,
        _ => EventKind::Other,
    }
}

#[must_use]
pub fn conversation(records: &[&Value]) -> CallMessages {
    let mut conversation = CallMessages::default();
    let mut choices = Vec::new();
    for record in records {
        let attributes = Attributes::of(record);
        let body = match plain(&record["body"]) {
            Value::Object(body) => body,
            _ => attributes.starting_with("").map(|(name, value)| (name.to_owned(), value)).collect(),
        };
        let name = name(record, &attributes);
        match name {
            "gen_ai.choice" => choices.push(choice(body)),
            _ => conversation.ask(&message(name, body)),
        }
    }
    conversation.reply_with_choices(&choices);
    conversation
}

/// Returns the message of a choice, with its `finish_reason`.
fn choice(mut body: Map<String, Value>) -> Value {
    let mut message = match body.remove("message") {
        Some(Value::Object(message)) => message,
        Some(text) => Map::from_iter([("content".to_owned(), text)]),
        None => Map::new(),
    };
    if let Some(calls) = body.remove("tool_calls") {
        message.entry("tool_calls").or_insert(calls);
    }
    if let Some(reason) = body.remove("finish_reason") {
        message.insert("finish_reason".to_owned(), reason);
    }
    Value::Object(message)
}

/// Returns a request's message. A tool message's `id` is that of its call.
fn message(name: &str, mut body: Map<String, Value>) -> Value {
    let role = name.trim_start_matches("gen_ai.").trim_end_matches(".message");
    body.entry("role").or_insert_with(|| json!(role));
    if role == "tool"
        && let Some(id) = body.remove("id")
    {
        body.insert("tool_call_id".to_owned(), id);
    }
    Value::Object(body)
}
