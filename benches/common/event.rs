//! The requests that the benchmarks send: traces that resemble prose, in proxy events.

use aws_smithy_types::base64;
use serde_json::{Value, json};

/// Returns a trace of about this many bytes, with as many JSON escapes as in prose.
pub fn trace(bytes: usize) -> String {
    let line = "Hello, how are you? I am well, thanks! What can I help you with? \"Übung macht den Meister\"\n";
    let content = line.repeat((bytes / 2 / line.len()).max(1));
    let message = |role| json!({"role": role, "content": content});
    let messages = [message("user"), message("assistant")];
    json!({"model": "gpt-4o", "created": 1_795_305_600, "messages": messages}).to_string()
}

/// Wraps a body in a proxy event. The body is base64 because the API declares every media type binary.
pub fn event(body: &str) -> Vec<u8> {
    let mut event: Value = serde_json::from_str(include_str!("../../events/minimal.json")).expect("an event is JSON");
    event["body"] = base64::encode(body).into();
    event["isBase64Encoded"] = true.into();
    event.to_string().into_bytes()
}
