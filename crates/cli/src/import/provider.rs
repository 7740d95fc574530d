//! A provider's log line → a trace. `docs/api.md` has the rules, under "Keep a provider's answer whole"; the cases in
//! `examples/mapping.json` hold it to them.
//!
//! Values are moved as they are written, so no number loses a digit.

use clap::ValueEnum;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// Whose log format a line has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    /// `{"request": …, "response": …}`, what was sent to chat completions and what came back; or a stored chat completion
    /// with its `messages`
    Openai,
    /// `LiteLLM`'s `StandardLoggingPayload`, as its generic API, S3 and GCS loggers write it
    Litellm,
}

type Raw = Box<RawValue>;
type Members = IndexMap<String, Raw>;

/// Maps a log line onto a trace; the error says what the line lacks, without quoting it.
pub fn to_trace(provider: Provider, line: &[u8]) -> Result<Vec<u8>, String> {
    let line: Members = serde_json::from_slice(line).map_err(|error| {
        format!("The line is not a JSON object: {:?} error at column {}.", error.classify(), error.column())
    })?;
    let trace = match provider {
        Provider::Openai => openai(line),
        Provider::Litellm => litellm(line),
    }?;
    Ok(serde_json::to_vec(&trace).expect("what was JSON is JSON"))
}

fn openai(mut line: Members) -> Result<Members, String> {
    let (request, response) = match (object(line.get("request")), object(line.get("response"))) {
        (Some(request), Some(response)) => {
            line.shift_remove("request");
            line.shift_remove("response");
            (request, response)
        }
        (None, None) if line.contains_key("choices") => {
            let mut response = std::mem::take(&mut line);
            let messages = response.shift_remove("messages").into_iter();
            (messages.map(|messages| ("messages".to_owned(), messages)).collect(), response)
        }
        _ => return Err("The line has no `request` and `response`, and is no chat completion.".to_owned()),
    };
    let created = line.get("created").or(request.get("created")).map(|created| integer(created));
    trace(request, Some(response), created.flatten(), ("log", line))
}

fn litellm(mut line: Members) -> Result<Members, String> {
    let mut request = Members::new();
    for name in ["model", "messages"] {
        if let Some(value) = line.shift_remove(name) {
            request.insert(name.to_owned(), value);
        }
    }
    if let Some(parameters) = object(line.get("model_parameters")) {
        line.shift_remove("model_parameters");
        for (name, value) in parameters {
            request.entry(name).or_insert(value);
        }
    }
    let response = object(line.get("response"));
    if response.is_some() {
        line.shift_remove("response");
    }
    let created = line.get("startTime").and_then(|time| integer(time));
    trace(request, response, created, ("litellm", line))
}

/// Puts a trace together; `rest` is what the line has beside request and response, and the member's name for it.
fn trace(
    mut request: Members,
    response: Option<Members>,
    created: Option<i64>,
    (name, rest): (&str, Members),
) -> Result<Members, String> {
    let mut response = response.unwrap_or_default();
    let string = |members: &Members, name: &str| members.get(name).filter(|value| is_string(value)).cloned();
    let model = string(&response, "model").or_else(|| string(&request, "model"));
    let created = response.get("created").and_then(|created| integer(created)).or(created);
    let mut trace = Members::new();
    trace.insert("model".to_owned(), model.ok_or("The line says no `model`.")?);
    trace.insert("created".to_owned(), raw(&created.ok_or("The line does not say when it was `created`.")?));
    if let Some(fingerprint) = string(&response, "system_fingerprint").filter(|value| value.get() != "\"\"") {
        trace.insert("system_fingerprint".to_owned(), fingerprint);
    }
    let mut messages = Vec::new();
    if let Some(list) = list(request.get("messages")) {
        request.shift_remove("messages");
        messages.extend(list.into_iter().map(message));
    }
    let choices = list(response.get("choices"));
    if let Some(choices) = &choices {
        response.shift_remove("choices");
        let answer = choices.first().and_then(|choice| object(Some(choice))?.shift_remove("message"));
        messages.extend(answer.filter(|answer| object(Some(answer)).is_some()).map(message));
    }
    trace.insert("messages".to_owned(), raw(&messages));
    if let Some(choices) = choices {
        let by_place: IndexMap<String, Raw> =
            choices.into_iter().enumerate().map(|(place, choice)| (place.to_string(), choice)).collect();
        trace.insert("choices".to_owned(), raw(&by_place));
    }
    if object(response.get("usage")).is_some() {
        trace.extend(response.shift_remove("usage").map(|usage| ("usage".to_owned(), usage)));
    }
    for (name, members) in [("request", request), ("response", response), (name, rest)] {
        if !members.is_empty() {
            trace.insert(name.to_owned(), raw(&members));
        }
    }
    Ok(trace)
}

/// Fits a message to the schema. What is changed is kept in its member `original`.
fn message(value: Raw) -> Raw {
    let Some(mut message) = object(Some(&value)) else {
        let message = IndexMap::from([("role", raw(&"user")), ("content", raw(&"")), ("original", value)]);
        return raw(&message);
    };
    let role = message.get("role").and_then(|role| serde_json::from_str::<String>(role.get()).ok());
    let known = matches!(role.as_deref(), Some("system" | "user" | "assistant"));
    if known && message.get("content").is_some_and(|content| is_string(content)) {
        return value;
    }
    let role = match role.as_deref() {
        Some(role @ ("system" | "user" | "assistant")) => role,
        Some("developer") => "system",
        _ => "user",
    };
    let content = message.get("content").map(text).unwrap_or_default();
    let mut original = Members::new();
    for name in ["role", "content", "original"] {
        original.extend(message.shift_remove(name).map(|value| (name.to_owned(), value)));
    }
    let mut fitted = Members::from([("role".to_owned(), raw(&role)), ("content".to_owned(), raw(&content))]);
    fitted.extend(message);
    fitted.insert("original".to_owned(), raw(&original));
    raw(&fitted)
}

/// The text of a content: itself, or that of its parts, one a line.
fn text(content: &Raw) -> String {
    if let Ok(text) = serde_json::from_str(content.get()) {
        return text;
    }
    let texts = list(Some(content)).into_iter().flatten().filter_map(|part| {
        let part = object(Some(&part))?;
        ["text", "refusal"].iter().find_map(|name| serde_json::from_str::<String>(part.get(*name)?.get()).ok())
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn object(value: Option<&Raw>) -> Option<Members> {
    serde_json::from_str(value?.get()).ok()
}

fn list(value: Option<&Raw>) -> Option<Vec<Raw>> {
    serde_json::from_str(value?.get()).ok()
}

/// A number's whole seconds.
fn integer(value: &RawValue) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 are far from 2^53")]
    serde_json::from_str(value.get())
        .ok()
        .or_else(|| Some(serde_json::from_str::<f64>(value.get()).ok()?.floor() as i64))
}

fn is_string(value: &RawValue) -> bool {
    value.get().starts_with('"')
}

fn raw(value: &impl Serialize) -> Raw {
    to_raw_value(value).expect("names and numbers are always JSON")
}

#[cfg(test)]
mod tests {
    use attest::trace::Trace;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        what: String,
        from: String,
        line: Raw,
        trace: Raw,
    }

    /// What the text says without the white space between its tokens.
    fn compact(value: &RawValue) -> String {
        let (mut is_in_string, mut is_escaped) = (false, false);
        let mut compact = String::new();
        for character in value.get().chars() {
            if is_in_string || !character.is_whitespace() {
                compact.push(character);
            }
            if character == '"' && !is_escaped {
                is_in_string = !is_in_string;
            }
            is_escaped = character == '\\' && !is_escaped;
        }
        compact
    }

    #[test]
    fn every_case_of_the_mapping_is_a_valid_trace_to_the_byte() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../../../../examples/mapping.json")).expect("cases");
        for Case { what, from, line, trace } in cases {
            let provider = Provider::from_str(&from, false).expect("a provider");
            let mapped = to_trace(provider, compact(&line).as_bytes()).expect(&what);
            assert_eq!(String::from_utf8_lossy(&mapped), compact(&trace), "{what}");
            Trace::parse(mapped, || "i".to_owned()).expect(&what);
        }
    }

    #[test]
    fn what_is_no_log_line_is_refused_without_quoting_it() {
        for line in ["", "1", "[]", "{}", r#"{"secret":1}"#, r#"{"request":{},"response":{}}"#, r#"{"secret" 1}"#] {
            for provider in [Provider::Openai, Provider::Litellm] {
                let why = to_trace(provider, line.as_bytes()).expect_err("no trace");
                assert!(!why.contains("secret"), "{why}");
            }
        }
    }
}
