//! Maps a line of a provider's log to a trace, by the rules of `docs/mapping.md`. The cases in `examples/mapping` test
//! that this crate and the clients produce the same traces.
//!
//! Each API has a file that says where its prompts, messages and answers are. All APIs share the other files.

mod anthropic;
mod call;
pub mod conversation;
mod error;
mod format;
pub mod json;
mod litellm;
mod messages;
mod needle;
mod openai_batch;
mod openai_chat;
mod openai_responses;
mod prices;
pub mod rebuild;
mod time;

pub use error::Unmapped;
pub use format::Format;
pub use needle::{LetterCase, Needle, Occurrence};
pub use prices::{PriceError, Prices};

use json::Json;

pub fn to_trace(format: Format, line: &[u8]) -> Result<Vec<u8>, Unmapped> {
    let Json::Object(line) = json::parse(line)? else { return Err(Unmapped::not_an_object()) };
    let trace = match format {
        Format::OpenaiChat => openai_chat::to_trace(line),
        Format::OpenaiResponses => openai_responses::to_trace(line),
        Format::OpenaiBatch => openai_batch::to_trace(line),
        Format::Anthropic => anthropic::to_trace(line),
        Format::Litellm => litellm::to_trace(line),
    }?;
    Ok(serde_json::to_vec(&trace).expect("names are strings, and numbers are valid JSON"))
}

#[cfg(test)]
mod tests;
