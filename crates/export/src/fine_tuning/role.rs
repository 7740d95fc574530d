//! The roles of messages in an example.

use serde::Serialize;

use attest_mapping::json::Members;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
    Function,
}

impl Role {
    /// Returns a message's role in an example. In a trace, tool results have the role `user`.
    pub fn of(message: &Members) -> Self {
        match message.text("role") {
            Some("system") => Self::System,
            Some("assistant") => Self::Assistant,
            _ if message.object("original").text("role") == Some("function") => Self::Function,
            _ if message.text("tool_call_id").is_some() => Self::Tool,
            _ => Self::User,
        }
    }

    pub fn is_named(self, name: &str) -> bool {
        serde_json::to_value(self).is_ok_and(|role| role == name)
    }
}
