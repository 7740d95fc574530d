//! The AI SDK before version 7: `ai.prompt.messages`, `ai.response.text` and others. Version 7 uses the current
//! conventions.

use serde_json::{Map, json};

use super::{CallMessages, items};
use crate::attributes::Attributes;

/// Returns whether an operation calls a model. `ai.generateText` contains one or several such operations.
pub fn is_call(operation: &str) -> bool {
    operation.ends_with(".doGenerate") || operation.ends_with(".doStream")
}

pub fn read(attributes: &Attributes<'_>) -> CallMessages {
    let mut conversation = CallMessages::default();
    let mut is_cut = false;
    for message in items(attributes, "ai.prompt.messages", &mut is_cut) {
        conversation.ask(&message);
    }
    if conversation.request.is_empty() {
        for message in items(attributes, "ai.prompt", &mut is_cut) {
            conversation.ask(&message);
        }
    }
    let mut answer = Map::new();
    // `generateObject` puts its answer into `ai.response.object`, as a JSON string.
    if let Some(text) = attributes.first_text(&["ai.response.text", "ai.response.object"]) {
        answer.insert("content".to_owned(), text.into());
    }
    if let Some(reasoning) = attributes.text("ai.response.reasoning") {
        answer.insert("reasoning".to_owned(), reasoning.into());
    }
    let calls = items(attributes, "ai.response.toolCalls", &mut is_cut);
    if !calls.is_empty() {
        answer.insert("tool_calls".to_owned(), calls.into());
    }
    if !answer.is_empty() {
        conversation.reply(&json!(answer));
    }
    conversation.is_cut = is_cut;
    conversation
}
