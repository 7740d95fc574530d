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
mod line_mapping;
mod litellm;
mod member_map;
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
pub use line_mapping::{BatchRequest, Defaults, LineFormat, LineMapping, custom_id, time_of};
pub use member_map::MemberMap;
pub use needle::{LetterCase, Needle, Occurrence};
pub use prices::{PriceError, Prices};

#[cfg(test)]
mod tests;
