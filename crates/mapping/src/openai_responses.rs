//! OpenAI's Responses API.

use super::{
    call::{Call, Prompt, Shape},
    error::Unmapped,
    json::{Json, Members},
};

/// A string in `input` is a prompt; a list contains the conversation's items.
pub const PROMPTS: &[Prompt] = &[
    Prompt { member: "instructions", role: "system", may_be_list: true },
    Prompt { member: "input", role: "user", may_be_list: false },
];

pub const SHAPE: Shape = Shape { api: "openai-responses", prompts: PROMPTS, list: "input", take_answer: take_output };

pub fn to_trace(line: Members) -> Result<Members, Unmapped> {
    Call::read(line, SHAPE.list, Some("output"))?.into_trace(&SHAPE, "log")
}

/// Moves the `output` items out of a response. An empty list stays, so that the response can be rebuilt.
pub fn take_output(response: &mut Members) -> Vec<Json> {
    let is_filled = |output: &Json| output.as_list().is_some_and(|output| !output.is_empty());
    match response.take_if("output", is_filled) {
        Some(Json::Array(items)) => items,
        _ => Vec::new(),
    }
}
