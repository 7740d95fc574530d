//! The providers' log formats that the mapping reads.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    OpenaiChat,
    OpenaiResponses,
    OpenaiBatch,
    Anthropic,
    Litellm,
    Sharegpt,
    Messages,
}

impl Format {
    pub const ALL: [Self; 7] = [
        Self::OpenaiChat,
        Self::OpenaiResponses,
        Self::OpenaiBatch,
        Self::Anthropic,
        Self::Litellm,
        Self::Sharegpt,
        Self::Messages,
    ];

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::OpenaiChat => "openai-chat",
            Self::OpenaiResponses => "openai-responses",
            Self::OpenaiBatch => "openai-batch",
            Self::Anthropic => "anthropic",
            Self::Litellm => "litellm",
            Self::Sharegpt => "sharegpt",
            Self::Messages => "messages",
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::OpenaiChat => {
                r#"OpenAI's Chat Completions: `{"request": …, "response": …}`, or a stored chat completion with its `messages`"#
            }
            Self::OpenaiResponses => {
                r#"OpenAI's Responses: `{"request": …, "response": …}`, or a stored response with its `input`"#
            }
            Self::OpenaiBatch => "The output and error files of OpenAI's Batch API. `--requests` adds the requests",
            Self::Anthropic => r#"Anthropic's Messages: `{"request": …, "response": …, "created": …}`"#,
            Self::Litellm => "LiteLLM's `StandardLoggingPayload`, as its generic API, S3 and GCS loggers write it",
            Self::Sharegpt => r#"ShareGPT's conversations: `{"conversations": [{"from": "human", "value": …}, …]}`"#,
            Self::Messages => r#"Fine-tuning data: `{"messages": [{"role": "user", "content": …}, …]}`"#,
        }
    }
}
