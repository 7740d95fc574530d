//! OpenAI's Chat Completions, and the API of every compatible server.

use super::{
    call::{Call, Shape},
    error::Unmapped,
    json::Members,
    line_mapping::Defaults,
};

/// The answer is always in `choices`.
pub const SHAPE: Shape = Shape { api: "openai-chat", prompts: &[], list: "messages", take_answer: |_| Vec::new() };

pub fn to_trace(line: Members, defaults: &Defaults) -> Result<Members, Unmapped> {
    Call::read(line, SHAPE.list, Some("choices"))?.into_trace(&SHAPE, "log", defaults)
}
