//! Bytes → [`Trace`]: parsed, valid under the published schema, complete.
//!
//! The stored object is the received bytes, with the missing members added after the last one. Numbers and strings are
//! never reformatted, and members keep their order.

use serde_json::Value;

use crate::{
    key::Key,
    problem::Problem,
    walk::{self, KeyMembers},
};

pub use crate::walk::MAX_DEPTH;

pub const DEFAULT_OBJECT: &str = "chat.trace";

/// A trace as it is stored: valid under the schema, with every default filled in.
#[derive(Debug)]
pub struct Trace {
    /// The received text, with the missing members added after the last one.
    pub json: Vec<u8>,
    pub id: String,
    pub fingerprint: String,
    pub object: String,
    pub key: Key,
}

impl Trace {
    /// Parses the body of a request and completes it. Calls `assign_id` if the trace has no `id`.
    pub fn parse(mut json: Vec<u8>, assign_id: impl FnOnce() -> String) -> Result<Self, Problem> {
        let KeyMembers { id, fingerprint, object, model } = walk::members_of_trace(text_of(&json)?)?;

        let mut missing = Vec::new();
        let mut add = |name: &str, value: &str| {
            missing.extend_from_slice(b",\"");
            missing.extend_from_slice(name.as_bytes());
            missing.extend_from_slice(b"\":");
            missing.extend_from_slice(value.as_bytes());
        };
        let id = id.unwrap_or_else(|| {
            let id = assign_id();
            add("id", &Value::from(id.as_str()).to_string());
            id
        });
        let fingerprint = match fingerprint {
            Some(fingerprint) => fingerprint,
            None => {
                add("system_fingerprint", &Value::from(model.as_str()).to_string());
                model
            }
        };
        let object = object.unwrap_or_else(|| {
            add("object", &Value::from(DEFAULT_OBJECT).to_string());
            DEFAULT_OBJECT.to_owned()
        });
        let key = Key::new(&fingerprint, &id).map_err(Problem::Key)?;
        if !missing.is_empty() {
            let end = json.iter().rposition(|byte| *byte == b'}').expect("a valid trace is an object");
            json.truncate(end);
            json.append(&mut missing);
            json.push(b'}');
        }
        Ok(Self { json, id, fingerprint, object, key })
    }
}

/// The size in bytes that no trace exceeds, regardless of an endpoint's limit: API Gateway accepts no larger request
/// (Amazon API Gateway quotas, "Payload size").
pub const MAX_BYTES: usize = 10 * 1024 * 1024;

/// Returns whether an object is a trace, that is, whether the endpoint would store it.
///
/// Every tool that reads stored objects uses this definition, so each tool accepts what another one writes.
#[must_use]
pub fn is_trace(json: &[u8]) -> bool {
    // Assigned ids are UUIDs, so the nil UUID has the right length for the check.
    json.len() <= MAX_BYTES && key_of(json, || uuid::Uuid::nil().to_string()).is_ok()
}

/// Returns the key of a valid trace. Calls `assign_id` if the trace has no `id`.
pub fn key_of(json: &[u8], assign_id: impl FnOnce() -> String) -> Result<Key, Problem> {
    let KeyMembers { id, fingerprint, model, .. } = walk::members_of_trace(text_of(json)?)?;
    Key::new(&fingerprint.unwrap_or(model), &id.unwrap_or_else(assign_id)).map_err(Problem::Key)
}

fn text_of(json: &[u8]) -> Result<&str, Problem> {
    simdutf8::compat::from_utf8(json).map_err(|error| Problem::NotUtf8 { offset: error.valid_up_to() })
}

/// Returns whether two JSON texts are the same trace: their members have the same names and, as written, the same
/// values.
///
/// Ignores the order of the members and the white space between them.
#[must_use]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    let members = |json| walk::sorted_members(std::str::from_utf8(json).ok()?);
    members(one).is_some_and(|one| Some(one) == members(other))
}
