//! Converts a message of any convention to trace messages, by the rules of `docs/mapping.md`.
//!
//! The conventions use different names for the same few things. This module accepts all of them, so a convention only
//! has to find its messages.

use serde_json::{Map, Value, json};

/// The side of a call that a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Request,
    Answer,
}

impl Side {
    fn role(self) -> &'static str {
        match self {
            Self::Request => "user",
            Self::Answer => "assistant",
        }
    }
}

/// Converts a message. A message that contains tool results becomes several.
#[must_use]
pub fn read(message: &Value, side: Side) -> Vec<Value> {
    let Some(members) = message.as_object() else {
        return vec![json!({"role": side.role(), "content": text(message)})];
    };
    let mut draft = PartialMessage::new(members, side);
    draft.reason(first(members, &["reasoning_content", "reasoning", "thinking"]));
    match first(members, &["parts", "content", "contents"]) {
        Some(Value::Array(parts)) => parts.iter().for_each(|part| draft.part(part)),
        Some(Value::Null) | None => {}
        Some(content) => draft.say(&text(content)),
    }
    if let Some(calls) = members.get("tool_calls").and_then(Value::as_array) {
        draft.tool_calls.extend(calls.iter().map(tool_call));
    }
    if let Some(call) = members.get("function_call").filter(|call| call.is_object()) {
        draft.tool_calls.push(tool_call(call));
    }
    draft.finish(message)
}

/// Returns the text of a string, of a list of text parts or of an AI SDK output. `null` has none, and any other value
/// becomes JSON.
#[must_use]
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(parts) if !parts.is_empty() => {
            let texts: Option<Vec<&str>> = parts.iter().map(part_text).collect();
            texts.map_or_else(|| value.to_string(), |texts| texts.join("\n"))
        }
        // The AI SDK wraps a tool's output.
        Value::Object(output) if matches!(output.get("type").and_then(Value::as_str), Some("text" | "json")) => {
            first(output, &["value", "text", "content"]).map_or_else(|| value.to_string(), text)
        }
        other => other.to_string(),
    }
}

fn part_text(part: &Value) -> Option<&str> {
    let Some(members) = part.as_object() else { return part.as_str() };
    match members.get("type").and_then(Value::as_str) {
        Some("text" | "input_text" | "output_text") | None => first(members, &["content", "text"])?.as_str(),
        _ => None,
    }
}

/// A trace message whose parts are still being read.
struct PartialMessage {
    role: &'static str,
    /// Members that are copied to each resulting message.
    kept: Map<String, Value>,
    content: String,
    reasoning: String,
    tool_calls: Vec<Value>,
    /// Whether the previous part was text. Adjacent assistant texts are joined (`docs/mapping.md`, "Parts").
    follows_text: bool,
    /// Whether the trace format has no place for some part, so that `original` must keep the message.
    has_other: bool,
    finished: Vec<Value>,
}

impl PartialMessage {
    fn new(members: &Map<String, Value>, side: Side) -> Self {
        let role = match members.get("role").and_then(Value::as_str) {
            Some("system" | "developer") => "system",
            Some("assistant" | "model" | "ai") => "assistant",
            Some("user" | "human" | "tool" | "function") => "user",
            _ => side.role(), // OpenLLMetry gives LangChain's streamed answers the role `unknown`
        };
        let mut kept = Map::new();
        for (name, names) in [("name", &["name"][..]), ("tool_call_id", &["tool_call_id", "toolCallId"])] {
            if let Some(value) = first(members, names).filter(|value| value.is_string()) {
                kept.insert(name.to_owned(), value.clone());
            }
        }
        Self {
            role,
            kept,
            content: String::new(),
            reasoning: String::new(),
            tool_calls: Vec::new(),
            follows_text: false,
            has_other: false,
            finished: Vec::new(),
        }
    }

    fn part(&mut self, part: &Value) {
        let is_thought = part["thought"] == true; // Gemini API
        if let Some(text) = part_text(part).filter(|_| !is_thought) {
            let is_joined = self.follows_text && self.role == "assistant";
            if !is_joined && !self.content.is_empty() {
                self.content.push('\n');
            }
            self.content.push_str(text);
            self.follows_text = true;
            return;
        }
        self.follows_text = false;
        let Some(members) = part.as_object() else {
            self.has_other = true;
            return;
        };
        match members.get("type").and_then(Value::as_str).unwrap_or_default() {
            "" => self.gemini_part(members, is_thought),
            "reasoning" | "thinking" => self.reason(first(members, &["content", "text", "thinking"])),
            "tool_call" | "tool-call" | "tool_use" | "function_call" => self.tool_calls.push(tool_call(part)),
            "tool_call_response" | "tool-result" | "tool_result" | "function_call_output" => self.result(members),
            _ => self.has_other = true,
        }
    }

    /// Reads a Gemini API part, whose kind is the name of a member.
    fn gemini_part(&mut self, members: &Map<String, Value>, is_thought: bool) {
        if is_thought {
            self.reason(members.get("text"));
        } else if let Some(call) = members.get("functionCall").filter(|call| call.is_object()) {
            self.tool_calls.push(tool_call(call));
        } else if let Some(Value::Object(result)) = members.get("functionResponse") {
            self.result(result);
        } else {
            self.has_other = true;
        }
    }

    fn say(&mut self, text: &str) {
        self.content.push_str(text);
    }

    fn reason(&mut self, text: Option<&Value>) {
        let Some(text) = text.and_then(Value::as_str) else { return };
        if !self.reasoning.is_empty() {
            self.reasoning.push('\n');
        }
        self.reasoning.push_str(text);
    }

    /// Adds a tool result as a separate message.
    fn result(&mut self, members: &Map<String, Value>) {
        self.flush();
        let content = first(members, &["response", "result", "output", "content"]).map(text).unwrap_or_default();
        let mut message = json!({"role": "user", "content": content});
        if let Some(id) = first(members, &["id", "toolCallId", "tool_use_id", "tool_call_id", "call_id"]) {
            message["tool_call_id"] = id.clone();
        }
        self.finished.push(message);
    }

    /// Finishes the message that consists of the parts so far.
    fn flush(&mut self) {
        if self.content.is_empty() && self.reasoning.is_empty() && self.tool_calls.is_empty() {
            return;
        }
        self.push();
    }

    fn push(&mut self) {
        let mut message = json!({"role": self.role, "content": std::mem::take(&mut self.content)});
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = std::mem::take(&mut self.reasoning).into();
        }
        if !self.tool_calls.is_empty() {
            message["tool_calls"] = std::mem::take(&mut self.tool_calls).into();
        }
        let members = message.as_object_mut().expect("it was created as an object");
        members.extend(self.kept.clone());
        self.finished.push(message);
    }

    fn finish(mut self, message: &Value) -> Vec<Value> {
        if self.finished.is_empty() {
            self.push();
        } else {
            self.flush();
        }
        if self.has_other {
            for (index, piece) in self.finished.iter_mut().enumerate() {
                piece["original"] = if index == 0 { json!([message]) } else { json!([]) };
            }
        }
        self.finished
    }
}

/// Converts a tool call to the Chat Completions format. The arguments stay an object or a string, as they were sent.
fn tool_call(call: &Value) -> Value {
    let Some(members) = call.as_object() else { return call.clone() };
    if members.get("function").is_some_and(Value::is_object) {
        return call.clone();
    }
    let mut function = Map::new();
    for (name, names) in [("name", &["name", "toolName"][..]), ("arguments", &["arguments", "input", "args"])] {
        if let Some(value) = first(members, names) {
            function.insert(name.to_owned(), value.clone());
        }
    }
    let mut call = Map::new();
    if let Some(id) = first(members, &["id", "toolCallId", "call_id"]) {
        call.insert("id".to_owned(), id.clone());
    }
    call.insert("type".to_owned(), "function".into());
    call.insert("function".to_owned(), function.into());
    Value::Object(call)
}

fn first<'m>(members: &'m Map<String, Value>, names: &[&str]) -> Option<&'m Value> {
    names.iter().find_map(|name| members.get(*name))
}
