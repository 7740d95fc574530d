//! Converts between OTLP's two encodings and JSON values in OTLP's JSON encoding.
//!
//! Both encodings become the same value, so the rest of the crate knows only one form. `prost-reflect` implements
//! protobuf and its JSON mapping. OTLP differs from that mapping in one place: ids are hexadecimal, and other bytes are
//! base64 (OTLP specification, "JSON Protobuf Encoding").

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_STANDARD};
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use crate::json::{self, JsonError};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(opentelemetry_proto::DESCRIPTORS)
        .expect("the crate's descriptors are valid; a test reads them")
});

/// The members that contain ids.
const IDS: [&str; 3] = ["traceId", "spanId", "parentSpanId"];

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
    Json(#[from] JsonError),
    /// The mapping ignores unknown members, so the response would confirm spans that were not read.
    #[error("The body is a request of another signal.")]
    OtherSignal,
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

    /// Returns whether a member of a request belongs to another signal, such as `resourceMetrics`.
    fn is_other(self, member: &str) -> bool {
        let own = match self {
            Self::Traces => "resourceSpans",
            Self::Logs => "resourceLogs",
        };
        member.starts_with("resource") && member != own
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
            let mut value = json::read(body)?;
            if value.as_object().is_some_and(|members| members.keys().any(|name| signal.is_other(name))) {
                return Err(DecodeError::OtherSignal);
            }
            rewrite_ids(&mut value, |id| hex::decode(id).ok().map(|id| BASE64_STANDARD.encode(id)));
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
        0 => serde_json::json!({}),
        _ => serde_json::json!({"partialSuccess": {count: rejected.to_string(), "errorMessage": reason}}),
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
