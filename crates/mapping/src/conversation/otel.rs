//! OpenTelemetry: the span that a call was recorded as, and its attributes.
//!
//! The attributes follow the semantic conventions for generative AI: `gen_ai.input.messages`,
//! `gen_ai.output.messages` and `gen_ai.system_instructions` contain the conversation, as values or as JSON strings.
//! Attributes may be an object, or a list of `key` and `value` pairs, as in OTLP's JSON encoding.

use std::borrow::Cow;

use crate::json::{Json, Members};

/// The prefix of attributes that may also be members of the trace.
const GEN_AI: &str = "gen_ai.";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// The id of the OpenTelemetry trace. A stored trace is one span of it.
    pub trace: Option<String>,
    pub id: String,
    pub parent: Option<String>,
    pub name: Option<String>,
}

impl Span {
    /// Reads the span from the first of these objects that has a span id.
    pub fn read(places: &[&Members]) -> Option<Self> {
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

/// Strips the `0x` that some SDKs write. Returns `None` for an empty or all-zero id, which is invalid (W3C Trace
/// Context).
fn hexadecimal(id: &str) -> Option<String> {
    let id = id.strip_prefix("0x").unwrap_or(id);
    (!id.bytes().all(|byte| byte == b'0')).then(|| id.to_owned())
}

/// The attributes of several objects: their `attributes`, and members that have an attribute's name.
#[derive(Default)]
pub struct SpanAttributes<'a>(Vec<(&'a Members, Option<Cow<'a, Members>>)>);

impl<'a> SpanAttributes<'a> {
    pub fn of(places: &[&'a Members]) -> Self {
        let own = |place: &'a Members| match place.get("attributes")? {
            Json::Object(attributes) => Some(Cow::Borrowed(attributes)),
            list => of_key_values(list).map(Cow::Owned),
        };
        Self(places.iter().map(|place| (*place, own(place))).collect())
    }

    /// Returns an attribute. Later objects, and members with an attribute's name, take precedence.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().rev().find_map(|(place, attributes)| {
            let named = name.starts_with(GEN_AI).then(|| place.get(name)).flatten();
            named.or_else(|| attributes.as_ref()?.get(name))
        })
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }
}

/// Reads a list of `key` and `value` pairs, as in OTLP's JSON encoding.
fn of_key_values(list: &Json) -> Option<Members> {
    let pairs = list.as_list()?.iter().map(|pair| {
        let pair = pair.as_object()?;
        let value = pair.get("value")?;
        let simple = ["stringValue", "intValue", "doubleValue", "boolValue"];
        let inner = simple.iter().find_map(|kind| value.as_object()?.get(kind));
        Some((pair.string("key")?, inner.unwrap_or(value).clone()))
    });
    pairs.collect()
}

pub fn finish_reason(attributes: &SpanAttributes<'_>) -> Option<String> {
    let reasons = decoded(attributes.get("gen_ai.response.finish_reasons")?);
    let reason = reasons.as_list().and_then(|reasons| reasons.first()).unwrap_or(&reasons);
    reason.as_str().map(str::to_owned)
}

/// Returns the error of a span whose status is an error.
pub fn error(places: &[&Members], attributes: &SpanAttributes<'_>) -> Option<String> {
    let status = places.iter().map(|place| place.object("status")).find(|status| {
        let code = status.first_filled(&["code", "status_code"]).map(Json::to_text);
        matches!(code.as_deref(), Some("2" | "ERROR" | "STATUS_CODE_ERROR"))
    })?;
    let message = status.first_string(&["message", "description"]).filter(|text| !text.is_empty());
    let kind = || attributes.text("error.type").unwrap_or("error").to_owned();
    Some(message.unwrap_or_else(kind))
}

#[derive(Debug)]
pub struct SpanMessages {
    pub messages: Vec<Json>,
    /// The number of messages that come from the request. The others are alternative answers.
    pub request: usize,
}

impl SpanMessages {
    /// Reads the messages from attributes. Returns `None` if there are none.
    pub fn read(attributes: &SpanAttributes<'_>) -> Option<Self> {
        let read = |name: &str| attributes.get(name).filter(|value| !value.is_empty()).map(decoded);
        let instructions = read("gen_ai.system_instructions").map(|parts| match parts {
            Json::Array(parts) => message("system", "parts", parts.into()),
            text => message("system", "content", text),
        });
        let input = read("gen_ai.input.messages").map(|input| messages("user", input)).unwrap_or_default();
        let output = read("gen_ai.output.messages").map(|output| messages("assistant", output)).unwrap_or_default();
        let mut all: Vec<Json> = instructions.into_iter().chain(input).collect();
        let request = all.len();
        all.extend(output);
        (!all.is_empty()).then_some(Self { messages: all, request })
    }
}

fn message(role: &str, name: &str, content: Json) -> Json {
    Members::from_iter([("role".to_owned(), role.into()), (name.to_owned(), content)]).into()
}

/// Returns a list of messages. A string becomes one message with this role.
fn messages(role: &str, value: Json) -> Vec<Json> {
    match value {
        Json::Array(messages) => messages,
        Json::Object(mut wrapper) => wrapper.take_list("messages").unwrap_or_else(|| vec![wrapper.into()]),
        text => vec![message(role, "content", text)],
    }
}

/// Decodes an attribute value, including a JSON string or a value in OTLP's JSON encoding.
pub fn decoded(value: &Json) -> Json {
    let nested = |value: &Json| matches!(value, Json::Array(_) | Json::Object(_));
    match value {
        Json::Array(_) | Json::Object(_) => plain(value.clone()),
        Json::String(text) => match Json::read(text.as_bytes()).filter(nested) {
            Some(value) => plain(value),
            None => value.clone(),
        },
        value => value.to_string().into(),
    }
}

/// Converts a value from OTLP's JSON encoding. Returns other values unchanged.
fn plain(value: Json) -> Json {
    let Json::Object(mut object) = value else { return value };
    let mut names = object.iter().map(|(name, _)| name.to_owned());
    let only = names.next().filter(|_| names.next().is_none()).unwrap_or_default();
    drop(names);
    let values = |list: Option<Json>| match list {
        Some(Json::Object(mut list)) => list.take_list("values").unwrap_or_default(),
        _ => Vec::new(),
    };
    match only.as_str() {
        "stringValue" | "intValue" | "doubleValue" | "boolValue" | "bytesValue" => {
            object.take(&only).unwrap_or(Json::Null)
        }
        "arrayValue" => Json::Array(values(object.take(&only)).into_iter().map(plain).collect()),
        "kvlistValue" => {
            let pairs = values(object.take(&only)).into_iter().filter_map(|mut pair| {
                let pair = pair.as_object_mut()?;
                Some((pair.string("key")?, plain(pair.take("value").unwrap_or(Json::Null))))
            });
            pairs.collect::<Members>().into()
        }
        _ => object.into(),
    }
}
