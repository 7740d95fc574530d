//! Anthropic's Messages API.

use super::{
    call::{Call, Prompt, Shape},
    error::Unmapped,
    json::{Json, Members},
    line_mapping::Defaults,
};

const SHAPE: Shape = Shape {
    api: "anthropic",
    prompts: &[Prompt { member: "system", role: "system", may_be_list: true }],
    list: "messages",
    take_answer: take_content,
};

pub fn to_trace(line: Members, defaults: &Defaults) -> Result<Members, Unmapped> {
    Call::read(line, SHAPE.list, None)?.into_trace(&SHAPE, "log", defaults)
}

/// Moves the message out of a response.
pub fn take_content(response: &mut Members) -> Vec<Json> {
    if !matches!(response.get("content"), Some(Json::String(_) | Json::Array(_))) {
        return Vec::new();
    }
    let mut message = Members::default();
    for name in ["role", "content"] {
        if let Some(value) = response.take(name) {
            message.push(name, value);
        }
    }
    vec![message.into()]
}
