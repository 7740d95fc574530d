//! The roles of messages in an example.

use serde::Serialize;

use super::json::{Members, members, text};

/// The role of a message in an example.
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
    /// Returns the role of a trace's message. Results of tools have the role `user` in a trace.
    pub fn of(message: &Members<'_>) -> Self {
        let original = message.get("original").and_then(|original| members(original));
        match text(message, "role").as_deref() {
            Some("system") => Self::System,
            Some("assistant") => Self::Assistant,
            _ if original.is_some_and(|original| text(&original, "role").as_deref() == Some("function")) => {
                Self::Function
            }
            _ if text(message, "tool_call_id").is_some() => Self::Tool,
            _ => Self::User,
        }
    }

    pub fn is_named(self, name: &str) -> bool {
        serde_json::to_value(self).is_ok_and(|role| role == name)
    }
}
