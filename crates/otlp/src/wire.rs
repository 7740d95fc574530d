//! Converts between OTLP's two encodings and JSON values in OTLP's JSON encoding.
//!
//! Both encodings become the same value, so the rest of the crate knows only one form. `prost-reflect` implements
//! protobuf and its JSON mapping. OTLP differs from that mapping in one place: ids are hexadecimal, and other bytes are
//! base64 (OTLP specification, "JSON Protobuf Encoding").

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_STANDARD};
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Value, json};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(opentelemetry_proto::DESCRIPTORS)
        .expect("the crate's descriptors are valid; a test reads them")
});

/// Members that contain ids, in both spellings that the JSON mapping accepts.
const IDS: [&str; 6] = ["traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Logs,
}

/// The encoding of a request and of its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Protobuf,
    Json,
}

/// Why a body is not a request. The messages quote no values, because they are logged.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("The body is not protobuf: {0}.")]
    Protobuf(prost::DecodeError),
    #[error("The body is not JSON: {0}.")]
    Json(serde_json::Error),
    /// Has no source, because the error from `prost-reflect` may quote a value.
    #[error("The body is JSON, but not an OTLP request.")]
    NotOtlp,
}

impl Signal {
    fn message(self, kind: &str) -> MessageDescriptor {
        let (package, service) = match self {
            Self::Traces => ("trace", "Trace"),
            Self::Logs => ("logs", "Logs"),
        };
        let name = format!("opentelemetry.proto.collector.{package}.v1.Export{service}Service{kind}");
        POOL.get_message_by_name(&name).expect("the descriptors contain both services; a test reads them")
    }
}

impl Encoding {
    /// Returns the encoding for a media type.
    #[must_use]
    pub fn of(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        [Self::Protobuf, Self::Json].into_iter().find(|encoding| media_type.eq_ignore_ascii_case(encoding.media_type()))
    }

    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Decodes a request into OTLP's JSON encoding. Omits members that have their default value.
pub fn decode(signal: Signal, encoding: Encoding, body: &[u8]) -> Result<Value, DecodeError> {
    let descriptor = signal.message("Request");
    let message = match encoding {
        Encoding::Protobuf => DynamicMessage::decode(descriptor, body).map_err(DecodeError::Protobuf)?,
        Encoding::Json => {
            let mut value = serde_json::from_slice(body).map_err(DecodeError::Json)?;
            prepare(&mut value);
            from_json(descriptor, value).ok_or(DecodeError::NotOtlp)?
        }
    };
    let options = SerializeOptions::new().use_enum_numbers(true);
    let mut value =
        message.serialize_with_options(serde_json::value::Serializer, &options).map_err(|_| DecodeError::NotOtlp)?;
    rewrite_ids(&mut value, |id| BASE64_STANDARD.decode(id).ok().map(hex::encode));
    Ok(value)
}

/// Encodes a response. `rejected` counts the spans or records that can never be stored, and `reason` states why.
#[must_use]
pub fn encode_response(signal: Signal, encoding: Encoding, rejected: usize, reason: &str) -> Vec<u8> {
    let count = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Logs => "rejectedLogRecords",
    };
    let response = match rejected {
        0 => json!({}),
        _ => json!({"partialSuccess": {count: rejected.to_string(), "errorMessage": reason}}),
    };
    match encoding {
        Encoding::Json => response.to_string().into_bytes(),
        Encoding::Protobuf => from_json(signal.message("Response"), response)
            .expect("the members are those of the message; a test encodes them")
            .encode_to_vec(),
    }
}

fn from_json(descriptor: MessageDescriptor, value: Value) -> Option<DynamicMessage> {
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    DynamicMessage::deserialize_with_options(descriptor, value, &options).ok()
}

/// Adapts OTLP's JSON to protobuf's JSON mapping.
fn prepare(value: &mut Value) {
    rewrite_ids(value, |id| hex::decode(id).ok().map(|id| BASE64_STANDARD.encode(id)));
    rewrite_numbers(value);
}

/// Rewrites the ids. Attribute names are values of `key`, so they are never mistaken for id members.
fn rewrite_ids(value: &mut Value, rewrite: fn(&str) -> Option<String>) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| match value {
            Value::String(id) if IDS.contains(&name.as_str()) => {
                if let Some(rewritten) = rewrite(id) {
                    *id = rewritten;
                }
            }
            value => rewrite_ids(value, rewrite),
        }),
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite_ids(item, rewrite)),
        _ => {}
    }
}

/// Replaces numbers that are not 64-bit integers with strings, which the mapping also accepts.
///
/// With `arbitrary_precision`, `serde_json` passes a number such as `1e3` on as a map, which only its own types can
/// read.
fn rewrite_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if !number.is_i64() && !number.is_u64() => *value = number.to_string().into(),
        Value::Object(members) => members.values_mut().for_each(rewrite_numbers),
        Value::Array(items) => items.iter_mut().for_each(rewrite_numbers),
        _ => {}
    }
}
