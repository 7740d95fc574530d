//! The published schema, and the part of a trace that it constrains.
//!
//! A trace may have 4 MiB, but the schema constrains only a few members. Validation therefore sees a *view*: the
//! members that are in the schema, with arrays and objects left empty. Messages are validated one by one.

use jiter::Peek;
use jsonschema::ValidationError;
use serde_json::{Map, Value};

use crate::problem::Violation;

/// The schema of a trace, compiled into this program at build time.
#[jsonschema::validator(path = "src/trace.schema.json", draft = Draft4, methods = { validate = false })]
pub(crate) struct TraceSchema;

/// The schema of one message, which is part of the trace schema.
#[jsonschema::validator(
    schema = r##"{"$schema": "http://json-schema.org/draft-04/schema#", "allOf": [{"$ref": "trace#/properties/messages/items"}]}"##,
    draft = Draft4,
    base_uri = "json-schema:///message",
    resources = { "json-schema:///trace" => { path = "src/trace.schema.json" } },
    methods = { validate = false }
)]
pub(crate) struct MessageSchema;

/// The members of a trace that are in [`TraceSchema`]. A test compares them with the schema.
pub(crate) const TRACE_MEMBERS: [&str; 8] =
    ["model", "created", "system_fingerprint", "id", "object", "messages", "choices", "usage"];

/// The members of a message that are in [`MessageSchema`]. A test compares them with the schema.
pub(crate) const MESSAGE_MEMBERS: [&str; 2] = ["role", "content"];

/// The longest message string that a view keeps, in bytes with its quotes. A test checks that every `enum` value in
/// [`MessageSchema`] is shorter.
pub(crate) const MAX_SHOWN: usize = 64;

/// Returns the view of a value: a scalar unchanged, an array or object empty. A string that is written in more than
/// `max_shown` bytes becomes the empty string.
///
/// `text` must be valid JSON, and `peek` must be the kind of its value.
pub(crate) fn view(peek: Peek, text: &str, max_shown: usize) -> Value {
    match peek {
        Peek::String if text.len() > max_shown => Value::String(String::new()),
        Peek::Array => Value::Array(Vec::new()),
        Peek::Object => Value::Object(Map::new()),
        _ => serde_json::from_str(text).expect("jiter has checked the syntax, and a scalar has no depth"),
    }
}

/// Describes an error below the pointer `parent` without quoting the value.
pub(crate) fn violation(parent: &str, error: &ValidationError<'_>) -> Violation {
    Violation { pointer: format!("{parent}{}", error.instance_path()), detail: error.masked().to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn schema() -> Value {
        serde_json::from_str(include_str!("trace.schema.json")).expect("the schema is JSON")
    }

    fn names(schema: &Value) -> BTreeSet<&str> {
        schema["properties"].as_object().expect("the schema of an object").keys().map(String::as_str).collect()
    }

    /// A view leaves out nested values, and messages are validated separately. This is correct only while the schema
    /// constrains nothing else.
    #[test]
    fn the_view_contains_everything_that_the_schema_constrains() {
        let schema = schema();
        let message = &schema["properties"]["messages"]["items"];
        assert_eq!(names(&schema), BTreeSet::from(TRACE_MEMBERS));
        assert_eq!(names(message), BTreeSet::from(MESSAGE_MEMBERS));
        let keywords = |schema: &Value, of: &[&str]| {
            for keyword in schema.as_object().expect("a schema is an object").keys() {
                let known = ["type", "description", "default", "enum"].contains(&keyword.as_str());
                assert!(known || of.contains(&keyword.as_str()), "the view does not support `{keyword}`");
            }
        };
        keywords(&schema, &["$schema", "required", "properties"]);
        keywords(message, &["required", "properties"]);
        keywords(&schema["properties"]["messages"], &["items"]);
        for (name, member) in schema["properties"].as_object().expect("checked above") {
            if name != "messages" {
                keywords(member, &[]);
            }
        }
        for member in message["properties"].as_object().expect("checked above").values() {
            keywords(member, &[]);
            for value in member["enum"].as_array().into_iter().flatten() {
                // An escape such as `\u0061` writes one byte as six.
                assert!(value.as_str().is_none_or(|value| !value.is_empty() && value.len() * 6 + 2 <= MAX_SHOWN));
            }
        }
    }
}
