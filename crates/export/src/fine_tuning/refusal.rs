//! The reasons why a trace cannot become a fine-tuning example.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoExample {
    Incomplete,
    StoredMessages,
    NoAssistant,
    EmptyAssistant,
    Audio,
    File,
    Image,
    NotAFunction,
    FunctionName,
    MessageName,
    UnmatchedCalls,
    UnknownContent,
}

impl fmt::Display for NoExample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "the answer is incomplete",
            Self::StoredMessages => "messages that only the provider has",
            Self::NoAssistant => "no message of the assistant",
            Self::EmptyAssistant => "an empty message of the assistant",
            Self::Audio => "audio",
            Self::File => "a file or a document",
            Self::Image => "an image outside a user message, or without a URL",
            Self::NotAFunction => "a call of a tool that is not a function",
            Self::FunctionName => "a function name that OpenAI does not accept",
            Self::MessageName => "a message name that OpenAI does not accept",
            Self::UnmatchedCalls => "tool calls and results that do not match",
            Self::UnknownContent => "content of an unknown type",
        })
    }
}
