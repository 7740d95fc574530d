//! OpenAI's Chat Completions, and the API of every compatible server.

use super::{
    call::{Call, Shape},
    error::Unmapped,
    json::Members,
};

/// The answer is always in `choices`.
pub const SHAPE: Shape = Shape { api: "openai-chat", prompts: &[], list: "messages", take_answer: |_| Vec::new() };

pub fn to_trace(line: Members) -> Result<Members, Unmapped> {
    Call::read(line, SHAPE.list, Some("choices"))?.into_trace(&SHAPE, "log")
}
