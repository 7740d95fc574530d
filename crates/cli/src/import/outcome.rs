use serde_json::{Value, json};

#[derive(Debug)]
pub enum LineOutcome {
    Stored,
    /// The trace had been stored before.
    AlreadyThere,
    /// The trace cannot be stored. The problem details (RFC 9457) contain the reason.
    Rejected(Value),
}

impl LineOutcome {
    /// Rejects a line without sending it. `name` is the last part of the problem type.
    pub fn rejected(status: u16, name: &str, detail: &str) -> Self {
        Self::Rejected(json!({"type": format!("urn:attest:problem:{name}"), "status": status, "detail": detail}))
    }
}
