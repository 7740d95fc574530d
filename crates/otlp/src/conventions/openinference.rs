//! OpenInference: `llm.input_messages.N.message.*` and `llm.output_messages.N.message.*`, one attribute per member.

use serde_json::{Map, Value, json};

use super::CallMessages;
use crate::attributes::{Attributes, decoded, sublist};

pub fn read(attributes: &Attributes<'_>) -> CallMessages {
    let mut conversation = CallMessages::default();
    for item in attributes.list("llm.input_messages.") {
        conversation.ask(&message(&item));
    }
    for item in attributes.list("llm.output_messages.") {
        conversation.reply(&message(&item));
    }
    for item in attributes.list("llm.prompts.") {
        conversation.ask(&json!({"content": item.get("prompt.text").or_else(|| item.get(""))}));
    }
    let choices = attributes.list("llm.choices.");
    let texts: Vec<Value> = choices.iter().map(|item| json!({"content": item.get("completion.text")})).collect();
    conversation.reply_with_choices(&texts);
    if conversation.is_empty() {
        // Instrumentations for other frameworks may describe a call only by these two attributes.
        if let Some(input) = attributes.value("input.value") {
            conversation.ask(&input);
        }
        if let Some(output) = attributes.value("output.value") {
            conversation.reply(&output);
        }
    }
    conversation
}

/// Returns the provider's response, which some instrumentations add as a JSON string.
pub fn response(attributes: &Attributes<'_>) -> Option<Value> {
    attributes.decoded("output.value").filter(Value::is_object)
}

pub fn tools(attributes: &Attributes<'_>) -> Option<Value> {
    let tools = attributes.list("llm.tools.").into_iter().filter_map(|mut tool| tool.remove("tool.json_schema"));
    let tools: Vec<Value> = tools.map(decoded).collect();
    (!tools.is_empty()).then(|| tools.into())
}

/// Returns a request's parameters, without its messages.
pub fn parameters(attributes: &Attributes<'_>) -> Map<String, Value> {
    match attributes.decoded("llm.invocation_parameters") {
        Some(Value::Object(parameters)) => parameters,
        _ => Map::new(),
    }
}

fn message(item: &Map<String, Value>) -> Value {
    let get = |name: &str| item.get(&format!("message.{name}"));
    let mut message = Map::new();
    for name in ["role", "name", "tool_call_id", "content"] {
        if let Some(value) = get(name) {
            message.insert(name.to_owned(), value.clone());
        }
    }
    let contents = sublist(item, "message.contents.");
    if !contents.is_empty() {
        message.insert("content".to_owned(), contents.iter().map(part).collect());
    }
    let calls = sublist(item, "message.tool_calls.");
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.iter().map(tool_call).collect());
    }
    if let Some(name) = get("function_call_name") {
        let arguments = get("function_call_arguments_json");
        message.insert("function_call".to_owned(), json!({"name": name, "arguments": arguments}));
    }
    Value::Object(message)
}

/// Strips the prefix from the names, so that a part is `{"type": "text", "text": …}`.
fn part(item: &Map<String, Value>) -> Value {
    let strip = |name: &String| name.strip_prefix("message_content.").unwrap_or(name).to_owned();
    Value::Object(item.iter().map(|(name, value)| (strip(name), value.clone())).collect())
}

fn tool_call(item: &Map<String, Value>) -> Value {
    let get = |name: &str| item.get(&format!("tool_call.{name}")).cloned();
    let mut function = Map::new();
    for name in ["name", "arguments"] {
        if let Some(value) = get(&format!("function.{name}")) {
            function.insert(name.to_owned(), value);
        }
    }
    let mut call = Map::new();
    if let Some(id) = get("id") {
        call.insert("id".to_owned(), id);
    }
    call.insert("type".to_owned(), "function".into());
    call.insert("function".to_owned(), function.into());
    Value::Object(call)
}
