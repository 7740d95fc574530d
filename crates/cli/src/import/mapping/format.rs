//! The formats of lines.

use clap::ValueEnum;

/// Whose log format a line has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// OpenAI's Chat Completions: `{"request": …, "response": …}`, or a stored chat completion with its `messages`
    OpenaiChat,
    /// OpenAI's Responses: `{"request": …, "response": …}`, or a stored response with its `input`
    OpenaiResponses,
    /// The output file of OpenAI's Batch API
    OpenaiBatch,
    /// Anthropic's Messages: `{"request": …, "response": …, "created": …}`
    Anthropic,
    /// `LiteLLM`'s `StandardLoggingPayload`, as its generic API, S3 and GCS loggers write it
    Litellm,
}

impl Format {
    /// Returns the value of `--from`.
    pub fn name(self) -> String {
        self.to_possible_value().expect("no format is hidden").get_name().to_owned()
    }
}
