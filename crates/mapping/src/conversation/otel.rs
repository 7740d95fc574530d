//! OpenTelemetry: the span that a call was recorded as, and its attributes.
//!
//! The attributes follow the semantic conventions for generative AI: `gen_ai.input.messages`,
//! `gen_ai.output.messages` and `gen_ai.system_instructions` contain the conversation, as values or as text with JSON.
//! Attributes may be an object, or the list of `key` and `value` that the JSON encoding of OTLP defines.

use serde_json::{Map, Value};

use super::json::{Json, Members};

/// The beginning of the names of attributes that this module reads.
const GEN_AI: &str = "gen_ai.";

/// A span of an OpenTelemetry trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// The id of the OpenTelemetry trace.
    pub trace: Option<String>,
    pub id: String,
    pub parent: Option<String>,
    pub name: Option<String>,
}

impl Span {
    /// Reads the span from the first of these objects that has a span id.
    pub fn read(places: &[Members<'_>]) -> Option<Self> {
        places.iter().find_map(|place| {
            let context = place.object("context");
            let text = |names: &[&str]| place.first_string(names).or_else(|| context.first_string(names));
            let id = |names: &[&str]| text(names).as_deref().and_then(hexadecimal);
            Some(Self {
                id: id(&["spanId", "span_id"])?,
                trace: id(&["traceId", "trace_id"]),
                parent: id(&["parentSpanId", "parent_span_id", "parent_id"]),
                name: text(&["name", "span_name"]).filter(|name| !name.is_empty()),
            })
        })
    }
}

/// Returns an id without the prefix that some SDKs write. Ids that are empty or zero are invalid (W3C Trace Context).
fn hexadecimal(id: &str) -> Option<String> {
    let id = id.strip_prefix("0x").unwrap_or(id);
    (!id.bytes().all(|byte| byte == b'0')).then(|| id.to_owned())
}

/// Returns the attributes of these objects: those in their `attributes`, and members that are named like attributes.
pub fn attributes<'a>(places: &[Members<'a>]) -> Members<'a> {
    let mut all = Members::default();
    for place in places {
        let attributes = place.get("attributes");
        let attributes = attributes.and_then(|all| all.object().or_else(|| Members::of_key_values(all)));
        all.extend(attributes.unwrap_or_default());
        all.extend(place.starting_with(GEN_AI));
    }
    all
}

/// Returns the reason why the model stopped.
pub fn finish_reason(attributes: &Members<'_>) -> Option<String> {
    let reasons = decoded(attributes.get("gen_ai.response.finish_reasons")?);
    let reason = reasons.as_array().and_then(|reasons| reasons.first()).unwrap_or(&reasons);
    reason.as_str().map(str::to_owned)
}

/// Returns the error of a span whose status is an error.
pub fn error(places: &[Members<'_>]) -> Option<String> {
    let status = places.iter().map(|place| place.object("status")).find(|status| {
        let code = status.first(&["code", "status_code"]).map(Json::text);
        matches!(code.as_deref(), Some("2" | "ERROR" | "STATUS_CODE_ERROR"))
    })?;
    let kind = || attributes(places).string("error.type");
    status
        .first_string(&["message", "description"])
        .filter(|text| !text.is_empty())
        .or_else(kind)
        .or_else(|| Some("error".to_owned()))
}

/// The messages of a span.
#[derive(Debug)]
pub struct SpanMessages {
    /// The messages, as a list of JSON.
    pub json: String,
    /// The number of messages that come from the request. The others are alternatives of the answer.
    pub request: usize,
}

impl SpanMessages {
    /// Reads the messages from attributes. Returns `None` if there are none.
    pub fn read(attributes: &Members<'_>) -> Option<Self> {
        let read = |name: &str| attributes.filled(&format!("{GEN_AI}{name}")).map(decoded);
        let instructions = read("system_instructions").map(|parts| match parts {
            Value::Array(parts) => message("system", "parts", parts.into()),
            text => message("system", "content", text),
        });
        let input = read("input.messages").map(|input| messages("user", input)).unwrap_or_default();
        let output = read("output.messages").map(|output| messages("assistant", output)).unwrap_or_default();
        let mut all: Vec<Value> = instructions.into_iter().chain(input).collect();
        let request = all.len();
        all.extend(output);
        (!all.is_empty()).then(|| Self { json: Value::Array(all).to_string(), request })
    }
}

fn message(role: &str, name: &str, content: Value) -> Value {
    Value::Object(Map::from_iter([("role".to_owned(), role.into()), (name.to_owned(), content)]))
}

/// Returns a list of messages. A text is one message of this role.
fn messages(role: &str, value: Value) -> Vec<Value> {
    match value {
        Value::Array(messages) => messages,
        Value::Object(mut wrapper) => match wrapper.remove("messages") {
            Some(Value::Array(messages)) => messages,
            _ => vec![Value::Object(wrapper)],
        },
        text => vec![message(role, "content", text)],
    }
}

/// Reads the value of an attribute, including JSON in a text and values in the JSON encoding of OTLP.
fn decoded(value: Json<'_>) -> Value {
    let text = value.text();
    match serde_json::from_str(&text) {
        Ok(value @ (Value::Array(_) | Value::Object(_))) => plain(value),
        _ => Value::String(text),
    }
}

/// Converts a value in the JSON encoding of OTLP. Returns other values unchanged.
fn plain(value: Value) -> Value {
    let Value::Object(mut object) = value else { return value };
    let values = |list: Value| match list {
        Value::Object(mut list) => match list.remove("values") {
            Some(Value::Array(values)) => values,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    let only = if object.len() == 1 { object.keys().next().cloned().unwrap_or_default() } else { String::new() };
    match only.as_str() {
        "stringValue" | "intValue" | "doubleValue" | "boolValue" | "bytesValue" => {
            object.remove(&only).unwrap_or_default()
        }
        "arrayValue" => values(object.remove(&only).unwrap_or_default()).into_iter().map(plain).collect(),
        "kvlistValue" => {
            let pairs = values(object.remove(&only).unwrap_or_default()).into_iter().filter_map(|mut pair| {
                let key = pair.get("key")?.as_str()?.to_owned();
                Some((key, plain(pair.get_mut("value").map(Value::take).unwrap_or_default())))
            });
            Value::Object(pairs.collect())
        }
        _ => Value::Object(object),
    }
}
