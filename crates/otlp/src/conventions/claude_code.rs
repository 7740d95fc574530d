//! The raw bodies that Claude Code logs with `OTEL_LOG_RAW_API_BODIES=1`: a request or a response of Anthropic's
//! Messages API.

use serde_json::{Value, json};

use super::CallMessages;
use crate::{
    attributes::{Attributes, decoded},
    message::{self, Side},
};

pub const BODY: &str = "body";

#[derive(Debug, Default)]
pub struct Body {
    pub conversation: CallMessages,
    /// The body, if it is complete.
    pub json: Option<Value>,
    pub is_request: bool,
}

#[must_use]
pub fn read(name: &str, attributes: &Attributes<'_>) -> Body {
    let is_request = name.ends_with("api_request_body");
    let mut conversation = CallMessages::default();
    let text = attributes.text(BODY).unwrap_or_default();
    let is_marked = attributes.value("body_truncated").is_some_and(|is| is == true || is == "true");
    let json = Some(decoded(text.into())).filter(Value::is_object);
    match &json {
        Some(body) if is_request => {
            match &body["system"] {
                Value::Null => {}
                system => {
                    let prompt = json!({"role": "system", "content": system});
                    for mut message in message::read(&prompt, Side::Request) {
                        message["member"] = "system".into();
                        conversation.request.push(message);
                    }
                }
            }
            body["messages"].as_array().into_iter().flatten().for_each(|message| conversation.ask(message));
        }
        Some(body) => conversation.reply(body),
        None if is_request => conversation.ask(&text.into()),
        None => conversation.reply(&text.into()),
    }
    conversation.is_cut = is_marked || json.is_none();
    Body { conversation, json, is_request }
}
