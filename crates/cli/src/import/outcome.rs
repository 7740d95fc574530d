//! The outcome of a line.

use serde_json::{Value, json};

/// The answer to one line.
#[derive(Debug)]
pub enum Outcome {
    /// It is stored now; in a dry run, it is valid.
    Stored,
    /// It was stored before.
    AlreadyThere,
    /// It cannot be stored. The problem details (RFC 9457) have the reason.
    Rejected(Value),
}

impl Outcome {
    /// Rejects a line that is not sent. `name` is the end of the problem's type.
    pub fn rejected(status: u16, name: &str, detail: &str) -> Self {
        Self::Rejected(json!({"type": format!("urn:attest:problem:{name}"), "status": status, "detail": detail}))
    }
}
