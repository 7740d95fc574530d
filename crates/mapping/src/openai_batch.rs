//! Output files of OpenAI's Batch API, which contain chat completions and responses.

use super::{call::Call, error::Unmapped, json::Members, openai_chat, openai_responses};

pub fn to_trace(mut line: Members) -> Result<Members, Unmapped> {
    let no_body = || Unmapped::Format("The line has no object `response` with an object `body`.".to_owned());
    let request = line.take_object("request").unwrap_or_default();
    // The members of the envelope keep their positions.
    let envelope = line.get_mut("response").and_then(|response| response.as_object_mut()).ok_or_else(no_body)?;
    let response = envelope.take_object("body").ok_or_else(no_body)?;
    let is_response = response.text("object") == Some("response");
    let shape = if is_response { &openai_responses::SHAPE } else { &openai_chat::SHAPE };
    Call { request, response, rest: line, ..Call::default() }.into_trace(shape, "log")
}
