//! The proxy event that API Gateway invokes the function with → the [`Event`] that this endpoint needs of it.
//!
//! `lambda_http`'s own event type panics on a body that is flagged base64 and is not, and refuses one with a lone
//! surrogate; here every JSON object is an event, and what is missing or odd in it is the handler's to answer.

use std::{borrow::Cow, fmt};

use jiter::{Jiter, Peek};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// What a proxy event of API Gateway (payload format 1.0) says of one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The body's bytes as the event holds them; empty where there is none.
    pub body: Vec<u8>,
    /// Whether the body is base64.
    pub is_base64: bool,
    /// The value of the `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header), unless it is empty.
    pub idempotency_key: Option<Vec<u8>>,
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a proxy event")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<Event, M::Error> {
        let mut event = Event::default();
        while let Some(Text(name)) = members.next_key()? {
            // A value is taken as the JSON it is, which cannot fail, and then read as what it should be.
            match &*name {
                b"body" => event.body = text(members.next_value()?).unwrap_or_default(),
                b"isBase64Encoded" => event.is_base64 = read(members.next_value()?).unwrap_or_default(),
                b"headers" => {
                    event.idempotency_key = read::<IdempotencyKey>(members.next_value()?).and_then(|key| key.0);
                }
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(event)
    }
}

/// The bytes of a string that may be long: looked at once, and never in memory twice, as they would be by [`Text`].
fn text(value: &RawValue) -> Option<Vec<u8>> {
    let json = value.get().as_bytes();
    let mut jiter = Jiter::with_tape(json, Vec::with_capacity(json.len()));
    let length = match jiter.peek() {
        Ok(Peek::String) => jiter.known_str().map(str::len).ok(),
        _ => None,
    };
    match length {
        // A text without escapes is what stands between the quotes, and nothing is on the tape.
        Some(length) => {
            Some(jiter.into_tape()).filter(|tape| !tape.is_empty()).or_else(|| Some(json[1..=length].to_owned()))
        }
        // A lone surrogate, or no string at all.
        None => read::<Text>(value).map(|text| text.0.into_owned()),
    }
}

fn read<'de, T: Deserialize<'de>>(json: &'de RawValue) -> Option<T> {
    serde_json::from_str(json.get()).ok()
}

/// A JSON string's bytes: UTF-8, but for lone surrogates, which a `String` could not hold.
struct Text<'t>(Cow<'t, [u8]>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(bytes)))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(bytes.to_owned())))
    }
}

/// The one header that this endpoint looks at, picked from an event's `headers`.
struct IdempotencyKey(Option<Vec<u8>>);

impl<'de> Deserialize<'de> for IdempotencyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = IdempotencyKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("headers")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut headers: M) -> Result<Self::Value, M::Error> {
        let mut key = None;
        while let Some(Text(name)) = headers.next_key()? {
            let value = headers.next_value::<&RawValue>()?;
            // Names keep the case in which the client wrote them (RFC 9110, section 5.1: it has no meaning).
            if name.eq_ignore_ascii_case(b"idempotency-key") {
                key = read::<Text>(value).map(|value| value.0.into_owned()).filter(|value| !value.is_empty());
            }
        }
        Ok(IdempotencyKey(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_json_object_is_an_event() {
        let event = |body: &[u8], is_base64, key: Option<&str>| Event {
            body: body.to_owned(),
            is_base64,
            idempotency_key: key.map(|key| key.as_bytes().to_owned()),
        };
        for (json, expected) in [
            ("{}", event(b"", false, None)),
            (r#"{"body": null, "isBase64Encoded": null, "headers": null}"#, event(b"", false, None)),
            (r#"{"body": {"model": 1e400}, "isBase64Encoded": "yes", "headers": [1e400]}"#, event(b"", false, None)),
            (r#"{"body": "\"é\"", "isBase64Encoded": true}"#, event("\"é\"".as_bytes(), true, None)),
            (r#"{"body": "é", "isBase64Encoded": false}"#, event("é".as_bytes(), false, None)),
            (r#"{"body": ""}"#, event(b"", false, None)),
            (r#"{"body": "\ud800"}"#, event(b"\xED\xA0\x80", false, None)),
            (
                r#"{"\ud800": 1e400, "headers": {"\ud800": 1e400, "iDEMPOTENCY-kEY": "k"}}"#,
                event(b"", false, Some("k")),
            ),
            (r#"{"headers": {"Idempotency-Key": ""}}"#, event(b"", false, None)),
            (r#"{"headers": {"Idempotency-Key": 7}}"#, event(b"", false, None)),
        ] {
            assert_eq!(serde_json::from_str::<Event>(json).ok(), Some(expected), "{json}");
        }
    }
}
