//! OpenLLMetry before 0.62: `gen_ai.prompt.N.*` and `gen_ai.completion.N.*`, one attribute per message member.

use serde_json::{Map, Value};

use super::CallMessages;
use crate::attributes::{Attributes, decoded, sublist};

const PROMPT: &str = "gen_ai.prompt.";
const COMPLETION: &str = "gen_ai.completion.";

/// Returns whether a span without `gen_ai.operation.name` is a call.
pub fn is_call(attributes: &Attributes<'_>) -> bool {
    match attributes.text("llm.request.type") {
        Some(kind) => matches!(kind, "chat" | "completion"),
        None => attributes.has(PROMPT) || attributes.has(COMPLETION),
    }
}

pub fn read(attributes: &Attributes<'_>) -> CallMessages {
    let mut conversation = CallMessages::default();
    for item in attributes.list(PROMPT) {
        conversation.ask(&message(item));
    }
    let choices: Vec<Value> = attributes.list(COMPLETION).into_iter().map(message).collect();
    conversation.reply_with_choices(&choices);
    conversation
}

/// Collects the flattened members. Content with parts is a JSON string.
fn message(item: Map<String, Value>) -> Value {
    let calls: Vec<Value> = sublist(&item, "tool_calls.").into_iter().map(Value::Object).collect();
    let mut message: Map<String, Value> = item.into_iter().filter(|(name, _)| !name.contains('.')).collect();
    if let Some(content) = message.remove("content") {
        let is_parts = |content: &Value| content.as_array().is_some_and(|parts| parts.iter().all(Value::is_object));
        let parts = Some(decoded(content.clone())).filter(is_parts);
        message.insert("content".to_owned(), parts.unwrap_or(content));
    }
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    Value::Object(message)
}
