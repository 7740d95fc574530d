//! The traces that a check sends, and the responses that this program's own handler would return.

use attest::{key::Key, trace::DEFAULT_OBJECT};
use serde_json::{Value, json};
use uuid::Uuid;

use super::endpoint::Endpoint;

/// The fingerprint of every trace that a check stores, or the fingerprint's first segment.
pub const FINGERPRINT: &str = "attest-check";

#[derive(Clone)]
pub struct Trace {
    pub json: String,
    pub id: String,
    pub fingerprint: String,
}

impl Trace {
    /// Returns the key under which the endpoint must store the trace.
    pub fn key(&self) -> Option<String> {
        Some(Key::new(&self.fingerprint, &self.id).ok()?.as_str().to_owned())
    }

    /// Returns the receipt that the endpoint must send.
    pub fn receipt(&self) -> Value {
        json!({"id": self.id, "object": DEFAULT_OBJECT, "system_fingerprint": self.fingerprint, "key": self.key()})
    }

    /// Returns the trace with the first occurrence of `from` in its JSON replaced by `to`.
    pub fn with(&self, from: &str, to: &str) -> Self {
        Self { json: self.json.replacen(from, to, 1), ..self.clone() }
    }

    /// Returns the trace with another member at the start of its object.
    pub fn with_member(&self, member: &str) -> Self {
        self.with("{", &format!("{{{member},"))
    }
}

impl Endpoint {
    /// Returns a trace with a new id, and with all members that have a default.
    pub fn new_trace(&self) -> Trace {
        self.trace(FINGERPRINT, &Uuid::new_v4().to_string())
    }

    /// Returns a trace with this fingerprint and id, and with all members that have a default.
    pub fn trace(&self, fingerprint: &str, id: &str) -> Trace {
        let json = format!(
            r#"{{"id":{},"object":"{DEFAULT_OBJECT}","system_fingerprint":{},"model":"{FINGERPRINT}","created":1,"messages":[{{"role":"user","content":"{}"}}]}}"#,
            Value::from(id),
            Value::from(fingerprint),
            self.secret
        );
        Trace { json, id: id.to_owned(), fingerprint: fingerprint.to_owned() }
    }

    /// Returns a trace without an id, which the endpoint must store under `id`.
    pub fn trace_without_id(&self, id: &str) -> Trace {
        self.trace(FINGERPRINT, id).with(&format!(r#""id":"{id}","#), "")
    }

    /// Returns a trace of exactly this size. The padding is in a member that is not in the schema.
    pub fn padded(&self, size: usize) -> Trace {
        let trace = self.new_trace();
        let padding = size.saturating_sub(trace.json.len() + r#""padding":"","#.len());
        trace.with_member(&format!(r#""padding":"{}""#, "x".repeat(padding)))
    }

    /// Returns a trace of exactly this size, most of which is the content of its message.
    pub fn long(&self, size: usize) -> Trace {
        let trace = self.new_trace();
        let padding = "x".repeat(size.saturating_sub(trace.json.len()));
        trace.with(&self.secret, &format!("{}{padding}", self.secret))
    }
}

/// Returns the problem details with which this program's handler refuses a body.
pub fn expected_problem(body: &[u8]) -> Option<Value> {
    let problem = attest::trace::Trace::parse(body.to_vec(), || Uuid::new_v4().to_string()).err()?;
    serde_json::from_str(&problem.body()).ok()
}
