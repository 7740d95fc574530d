//! The reasons why a line cannot be mapped. They never quote the line.

use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmapped {
    /// The line is not JSON, is not a call in this format, or lacks a member.
    Format(String),
    /// A name occurs twice in one object, so a value would be lost.
    RepeatedName {
        /// JSON Pointer (RFC 6901) to the member.
        pointer: String,
    },
}

impl Unmapped {
    pub fn not_an_object() -> Self {
        Self::Format("The line is not a JSON object.".to_owned())
    }

    pub fn no_model() -> Self {
        Self::Format("The line has no `model`.".to_owned())
    }

    pub fn no_time() -> Self {
        Self::Format("The line has no time `created`.".to_owned())
    }

    /// Prefixes the pointer with the name of the member or element that contains the value.
    #[must_use]
    pub fn below(self, name: &str) -> Self {
        match self {
            Self::RepeatedName { pointer } => {
                Self::RepeatedName { pointer: format!("/{}{pointer}", name.replace('~', "~0").replace('/', "~1")) }
            }
            Self::Format(_) => self,
        }
    }

    /// Returns problem details (RFC 9457).
    pub fn problem(&self) -> Value {
        let r#type = "urn:attest:problem:unmapped";
        match self {
            Self::Format(detail) => json!({"type": r#type, "status": 400, "detail": detail}),
            Self::RepeatedName { pointer } => json!({
                "type": r#type,
                "status": 400,
                "detail": "A name occurs twice in one object.",
                "errors": [{"pointer": pointer, "detail": "the name occurs twice in its object"}],
            }),
        }
    }
}
