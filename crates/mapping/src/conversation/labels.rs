//! The session, the user and the tags of a trace. `docs/mapping.md` lists the member names for writers.

use super::otel::{SpanAttributes, decoded};
use crate::json::{Json, Members};

/// Members that identify a session, the most specific first.
pub const SESSIONS: [&str; 12] = [
    "session_id",
    "conversation_id",
    "gen_ai.conversation.id",
    "session.id",
    "litellm_session_id",
    "langfuse.session.id",
    "traceloop.association.properties.session_id",
    "ai.telemetry.metadata.sessionId",
    "thread_id",
    "litellm_trace_id",
    "trace_id",
    "traceId",
];

/// Members that identify the application's user, the most specific first.
pub const USERS: [&str; 12] = [
    "user",
    "user_id",
    "user.id",
    "enduser.id",
    "end_user",
    "trace_user_id",
    "user_api_key_end_user_id",
    "langfuse.user.id",
    "traceloop.association.properties.user_id",
    "ai.telemetry.metadata.userId",
    "safety_identifier",
    "user_api_key_user_id",
];

/// Members that contain tags.
pub const TAGS: [&str; 5] = ["tags", "request_tags", "tag.tags", "langfuse.trace.tags", "ai.telemetry.metadata.tags"];

/// The places that are searched for labels: the trace, its span's attributes, and then its details.
pub struct LabelPlaces<'a> {
    trace: &'a Members,
    attributes: &'a SpanAttributes<'a>,
    details: Vec<[&'a Members; 3]>,
}

impl<'a> LabelPlaces<'a> {
    /// LiteLLM's proxy nests the caller's metadata in its own.
    pub fn new(trace: &'a Members, details: &[&'a Members], attributes: &'a SpanAttributes<'a>) -> Self {
        let details = details.iter().map(|place| {
            let metadata = place.object("metadata");
            [*place, metadata, metadata.object("requester_metadata")]
        });
        Self { trace, attributes, details: details.collect() }
    }

    fn find<T>(&self, names: &[&str], read: impl Fn(&Json) -> Option<T>) -> Option<T> {
        let of_trace = || names.iter().find_map(|name| read(self.trace.get(name)?));
        let of_span = || names.iter().find_map(|name| read(self.attributes.get(name)?));
        let of_details = || {
            self.details.iter().find_map(|holders| {
                names.iter().find_map(|name| holders.iter().find_map(|holder| read(holder.get(name)?)))
            })
        };
        of_trace().or_else(of_span).or_else(of_details)
    }

    pub fn session(&self) -> Option<String> {
        self.find(&SESSIONS, label)
    }

    pub fn user(&self) -> Option<String> {
        self.find(&USERS, label)
    }

    pub fn tags(&self) -> Vec<String> {
        self.find(&TAGS, tags).unwrap_or_default()
    }
}

/// Returns a non-empty string, or a number as a string. Other values are not labels.
fn label(value: &Json) -> Option<String> {
    match value {
        Json::String(text) if !text.is_empty() => Some(text.clone()),
        Json::Number(number) => Some(number.get().to_owned()),
        _ => None,
    }
}

/// Returns the strings and numbers in a list, or a single value as the only tag. In an attribute, the list may be a
/// JSON string.
fn tags(value: &Json) -> Option<Vec<String>> {
    if matches!(value, Json::Null | Json::Bool(_)) {
        return None;
    }
    let tags = match decoded(value) {
        Json::Array(tags) => tags.iter().filter_map(label).collect(),
        tag => label(&tag).into_iter().collect::<Vec<_>>(),
    };
    (!tags.is_empty()).then_some(tags)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::conversation::Header;

    fn labels(trace: &Value) -> (Option<String>, Option<String>, Vec<String>) {
        let Header { session, user, tags, .. } = Header::read(&Members::read(trace.to_string().as_bytes()));
        (session, user, tags)
    }

    fn expected(session: &str, user: &str, tags: &[&str]) -> (Option<String>, Option<String>, Vec<String>) {
        (Some(session.into()), Some(user.into()), tags.iter().map(|tag| (*tag).to_owned()).collect())
    }

    #[test]
    fn the_page_of_the_mapping_lists_the_names() {
        let page = include_str!("../../../../docs/mapping.md");
        for (label, names) in [("session_id", &SESSIONS[..]), ("user", &USERS), ("tags", &TAGS)] {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{label}` | other names: ")));
            let listed = row.expect("the table has a row").split('`').skip(3).step_by(2);
            let names = names.iter().copied().filter(|name| *name != label);
            assert_eq!(listed.collect::<Vec<_>>(), names.collect::<Vec<_>>(), "{label}");
        }
    }

    #[test]
    fn writers_label_their_traces() {
        let log = json!({"log": {"session_id": "s", "user": "u", "tags": ["a", "b"]}});
        assert_eq!(labels(&log), expected("s", "u", &["a", "b"]));
        let own = json!({"session_id": 7, "user": "u", "tags": "a", "log": {"session_id": "other", "user": "other"}});
        assert_eq!(labels(&own), expected("7", "u", &["a"]));
        for none in [json!(null), json!(""), json!({}), json!([]), json!(true)] {
            let trace = json!({"log": {"session_id": none, "user": none, "tags": none}, "session_id": none});
            assert_eq!(labels(&trace), (None, None, Vec::new()), "{none}");
        }
    }

    #[test]
    fn providers_name_the_user() {
        let openai = json!({"api": "openai-chat", "request": {"user": "u"}});
        let anthropic = json!({"api": "anthropic", "request": {"metadata": {"user_id": "u"}}});
        for trace in [openai, anthropic] {
            assert_eq!(labels(&trace).1.as_deref(), Some("u"), "{trace}");
        }
    }

    #[test]
    fn litellm_labels_its_traces() {
        let proxy = json!({"litellm": {"trace_id": "random", "end_user": "u", "request_tags": ["a"],
            "metadata": {"user_api_key_user_id": "owner", "requester_metadata": {"session_id": "s"}}}});
        assert_eq!(labels(&proxy), expected("s", "u", &["a"]));
        let sdk =
            json!({"litellm": {"trace_id": "s", "metadata": {"user_api_key_end_user_id": "u"}, "request_tags": ["a"]}});
        assert_eq!(labels(&sdk), expected("s", "u", &["a"]));
    }

    #[test]
    fn spans_and_log_records_label_their_traces() {
        let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
        let list = json!({"key": "tag.tags", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}});
        for (session, user) in [("session.id", "user.id"), ("gen_ai.conversation.id", "enduser.id")] {
            let attributes = json!([text(session, "s"), text(user, "u"), list]);
            for otel in [
                json!({"span": {"traceId": "t", "attributes": attributes}}),
                json!({"logRecord": {"traceId": "t", "attributes": attributes}}),
                json!({"logRecords": [{"traceId": "t", "attributes": attributes}]}),
                json!({"resource": {"attributes": attributes}, "span": {"traceId": "t"}}),
            ] {
                assert_eq!(labels(&json!({"otel": otel})), expected("s", "u", &["a", "b"]), "{otel}");
            }
        }
        let json_text =
            json!({"otel": {"span": {"traceId": "t", "attributes": [text("langfuse.trace.tags", "[\"a\"]")]}}});
        assert_eq!(labels(&json_text).2, ["a"]);
    }
}
