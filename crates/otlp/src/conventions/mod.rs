//! The conventions by which instrumentations describe a model call in attributes, one file each.

use serde_json::Value;

use crate::{
    attributes::{Attributes, looks_like_json},
    message::{self, Side},
};

mod ai_sdk;
pub mod claude_code;
pub mod events;
pub mod gemini_cli;
mod gen_ai;
pub mod openinference;
mod openllmetry;
pub mod usage;

#[derive(Debug, Default, PartialEq)]
pub struct CallMessages {
    /// The request's messages, as a trace stores them.
    pub request: Vec<Value>,
    pub answer: Vec<Value>,
    /// The alternative answers as Chat Completions choices, if there are several.
    pub choices: Vec<Value>,
    /// Whether an exporter has truncated part of the content, so that messages are missing.
    pub is_cut: bool,
}

impl CallMessages {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.answer.is_empty()
    }

    fn ask(&mut self, message: &Value) {
        self.request.extend(message::read(message, Side::Request));
    }

    fn reply(&mut self, message: &Value) {
        self.answer.extend(message::read(message, Side::Answer));
    }

    /// Adds alternative answers. The first one becomes the answer.
    fn reply_with_choices(&mut self, messages: &[Value]) {
        if let Some(first) = messages.first() {
            self.reply(first);
        }
        if messages.len() > 1 {
            self.choices.extend(messages.iter().enumerate().map(|(index, message)| {
                let mut choice = serde_json::json!({"index": index});
                choice["message"] = message::read(message, Side::Answer).into_iter().next().unwrap_or_default();
                if let Some(reason) = message.get("finish_reason").filter(|reason| !reason.is_null()) {
                    choice["finish_reason"] = reason.clone();
                }
                choice
            }));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Call,
    /// Another step in an application: an agent, a chain or a tool. Its span repeats messages of model calls.
    Step,
    Other,
}

#[must_use]
pub fn kind(attributes: &Attributes<'_>) -> Kind {
    let operation = attributes.text("gen_ai.operation.name");
    let openinference = attributes.text("openinference.span.kind");
    let ai_sdk = attributes.text("ai.operationId");
    let is_call = matches!(operation, Some("chat" | "generate_content" | "text_completion" | gemini_cli::OPERATION))
        || openinference == Some("LLM")
        || ai_sdk.is_some_and(ai_sdk::is_call);
    if is_call {
        return Kind::Call;
    }
    if operation.is_some() || openinference.is_some() || ai_sdk.is_some() {
        return Kind::Step;
    }
    if openllmetry::is_call(attributes) {
        Kind::Call
    } else if attributes.text("traceloop.span.kind").is_some() {
        Kind::Step
    } else {
        Kind::Other
    }
}

/// Reads the conversation by the first convention that finds a message. `scope` is the instrumentation's name.
#[must_use]
pub fn conversation(scope: &str, attributes: &Attributes<'_>) -> CallMessages {
    if gemini_cli::is_source(scope, attributes) {
        return gemini_cli::read(attributes);
    }
    [gen_ai::read, openllmetry::read, openinference::read, ai_sdk::read]
        .into_iter()
        .map(|read| read(attributes))
        .find(|conversation| !conversation.is_empty())
        .unwrap_or_default()
}

/// Returns the items of a list in an attribute, which may be a JSON string. Any other string is a single message.
fn items(attributes: &Attributes<'_>, name: &str, is_cut: &mut bool) -> Vec<Value> {
    match attributes.decoded(name) {
        None => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(Value::Object(mut wrapper)) => match wrapper.remove("messages") {
            Some(Value::Array(messages)) => messages,
            Some(other) => {
                wrapper.insert("messages".to_owned(), other);
                vec![Value::Object(wrapper)]
            }
            None => vec![Value::Object(wrapper)],
        },
        Some(text) => {
            *is_cut |= text.as_str().is_some_and(looks_like_json);
            vec![text]
        }
    }
}
