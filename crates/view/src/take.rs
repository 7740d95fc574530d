//! Commands that print a trace in a terminal, POST it to another endpoint, or send its request to the provider again.

use std::fmt::Write;

use attest_storage::TraceReader;
use local_aws::s3::{ACCESS_KEY, REGION};
use serde_json::{Map, Value};

/// The largest trace that is written into a command, in bytes. Larger ones are read from a file.
const INLINE: usize = 64 * 1024;

/// A command, with its id on the page and its title.
#[derive(Debug)]
pub struct Command {
    pub id: &'static str,
    pub title: &'static str,
    pub text: String,
}

/// Writes the commands for a trace.
pub fn commands(traces: &TraceReader, key: &str, json: &[u8]) -> Vec<Command> {
    let read = aws(traces, key);
    let mut commands = vec![
        Command { id: "curl", title: "POST it to an endpoint", text: curl(&read, json) },
        Command { id: "command", title: "Read it with the AWS CLI", text: read },
    ];
    if let Some(text) = python(json) {
        commands.push(Command { id: "python", title: "Send the request again, in Python", text });
    }
    commands
}

fn aws(traces: &TraceReader, key: &str) -> String {
    let endpoint = traces.endpoint().map(|endpoint| format!(" --endpoint-url {endpoint}")).unwrap_or_default();
    let credentials = if traces.folder().is_some() {
        format!("AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={ACCESS_KEY} AWS_REGION={REGION} ")
    } else {
        String::new()
    };
    format!("{credentials}aws s3 cp{endpoint} {} -", quoted(&format!("s3://{}/{key}", traces.bucket())))
}

fn curl(read: &str, json: &[u8]) -> String {
    let post = "curl -X POST \"$ATTEST_URL\" -H \"x-api-key: $ATTEST_API_KEY\" -H 'content-type: application/json'";
    match std::str::from_utf8(json) {
        Ok(json) if json.len() <= INLINE => format!("{post} --data-binary {}", quoted(json)),
        _ => format!("{read} |\n  {post} --data-binary @-"),
    }
}

/// Quotes a text for a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Writes a program that sends the provider's request again. Returns `None` if the trace has no messages or is too
/// large.
fn python(json: &[u8]) -> Option<String> {
    if json.len() > INLINE {
        return None;
    }
    let trace: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let api = trace.get("api").and_then(Value::as_str).unwrap_or_default();
    let request = request(&trace, api)?;
    let (import, call) = match api {
        "anthropic" => ("import anthropic", "anthropic.Anthropic().messages.create"),
        "openai-responses" => ("import openai", "openai.OpenAI().responses.create"),
        "litellm" => ("import litellm", "litellm.completion"),
        _ => ("import openai", "openai.OpenAI().chat.completions.create"),
    };
    let mut text = format!("{import}\n\nrequest = ");
    literal(&Value::Object(request), 0, &mut text);
    let _ = write!(text, "\n\nprint({call}(**request))\n");
    Some(text)
}

/// Rebuilds the provider's request, as `docs/mapping.md` describes.
fn request(trace: &Map<String, Value>, api: &str) -> Option<Map<String, Value>> {
    let messages = trace.get("messages")?.as_array().filter(|messages| !messages.is_empty())?;
    let is_answer = |message: &Value| message.get("role").and_then(Value::as_str) == Some("assistant");
    let unmapped = messages.len() - usize::from(messages.last().is_some_and(is_answer));
    let count = trace.get("request_messages").and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
    let mut request = trace.get("request").and_then(Value::as_object).cloned().unwrap_or_default();
    request.entry("model").or_insert(trace.get("model")?.clone());
    let mut items = Vec::new();
    for message in messages.iter().take(count.unwrap_or(unmapped)) {
        let message = message.as_object()?;
        let original = message.get("original");
        match (message.get("member").and_then(Value::as_str), original) {
            (Some(member), original) => {
                let value = original.or_else(|| message.get("content"))?;
                request.insert(member.to_owned(), value.clone());
            }
            (None, Some(Value::Array(list))) => items.extend(list.iter().cloned()),
            (None, Some(Value::Object(changed))) => {
                let kept = message.iter().filter(|(name, _)| !matches!(name.as_str(), "role" | "content" | "original"));
                let item = changed.iter().chain(kept).map(|(name, value)| (name.clone(), value.clone()));
                items.push(Value::Object(item.collect()));
            }
            (None, _) => items.push(Value::Object(message.clone())),
        }
    }
    if !items.is_empty() {
        let name = if api == "openai-responses" { "input" } else { "messages" };
        request.insert(name.to_owned(), Value::Array(items));
    }
    Some(request)
}

/// Writes a value as a Python literal. A JSON string is also a Python literal.
fn literal(value: &Value, depth: usize, out: &mut String) {
    let indent = |depth: usize| "    ".repeat(depth.min(16));
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Array(values) if values.is_empty() => out.push_str("[]"),
        Value::Object(members) if members.is_empty() => out.push_str("{}"),
        Value::Array(values) => {
            out.push_str("[\n");
            for value in values {
                out.push_str(&indent(depth + 1));
                literal(value, depth + 1, out);
                out.push_str(",\n");
            }
            let _ = write!(out, "{}]", indent(depth));
        }
        Value::Object(members) => {
            out.push_str("{\n");
            for (name, value) in members {
                let _ = write!(out, "{}{}: ", indent(depth + 1), Value::String(name.clone()));
                literal(value, depth + 1, out);
                out.push_str(",\n");
            }
            let _ = write!(out, "{}}}", indent(depth));
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_providers_request_is_rebuilt() {
        let trace = br#"{"model": "m-1", "created": 1, "api": "anthropic", "request_messages": 3, "messages": [
            {"role": "system", "content": "Be brief.", "member": "system"},
            {"role": "user", "content": "a", "original": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
            {"role": "user", "content": "", "original": []},
            {"role": "assistant", "content": "b"}],
            "request": {"model": "m", "max_tokens": 64, "stream": false, "stop": null}}"#;
        let python = python(trace).expect("a program");
        let expected = "import anthropic\n\nrequest = {\n    \"model\": \"m\",\n    \"max_tokens\": 64,\n    \"stream\": False,\n    \
                        \"stop\": None,\n    \"system\": \"Be brief.\",\n    \"messages\": [\n        {\n            \
                        \"role\": \"user\",\n            \"content\": [\n                {\n                    \
                        \"type\": \"text\",\n                    \"text\": \"a\",\n                },\n            ],\n        \
                        },\n    ],\n}\n\nprint(anthropic.Anthropic().messages.create(**request))\n";
        assert_eq!(python, expected);
    }

    #[test]
    fn shells_read_quoted_texts_as_they_are() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
