//! Parses JSON into a value that protobuf's JSON mapping reads without losing any of it.
//!
//! JSON parsers keep the last of two equal names. With a repeated `spans`, the response would confirm spans that were
//! lost. A repeated name is therefore refused, as in a trace.

use std::borrow::Cow;

use attest::trace::MAX_DEPTH;
use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};
use serde_json::{Map, Number, Value};

/// The maximum number of zeros that an exponent may append. A 64-bit integer has at most 20 digits.
const MAX_DIGITS: usize = 20;

/// Why a body is not JSON. The messages quote nothing, because they are logged.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("{0} at byte {1}")]
    Syntax(JsonErrorType, usize),
    #[error("an object repeats a name before byte {0}")]
    RepeatedName(usize),
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

impl From<JiterError> for JsonError {
    fn from(error: JiterError) -> Self {
        match error.error_type {
            JiterErrorType::JsonError(kind) => Self::Syntax(kind, error.index),
            JiterErrorType::WrongType { .. } => Self::Syntax(JsonErrorType::ExpectedSomeValue, error.index),
        }
    }
}

/// Parses JSON. Converts names to camel case, and numbers that are not 64-bit integers to strings, which the mapping
/// also accepts. With `arbitrary_precision`, `serde_json` would pass a number such as `0.5` on as a map.
pub fn read(body: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(body).map_err(|_| JsonError::NotUtf8)?;
    let text = with_paired_surrogates(text);
    let mut jiter = Jiter::new(text.as_bytes());
    let peek = jiter.peek()?;
    let value = value(&mut jiter, peek, 0)?;
    jiter.finish()?;
    Ok(value)
}

fn value(jiter: &mut Jiter<'_>, peek: Peek, depth: usize) -> Result<Value, JsonError> {
    if matches!(peek, Peek::Array | Peek::Object) && depth == MAX_DEPTH {
        return Err(JsonError::TooDeep);
    }
    Ok(match peek {
        Peek::Null => {
            jiter.known_null()?;
            Value::Null
        }
        Peek::True | Peek::False => jiter.known_bool(peek)?.into(),
        Peek::String => jiter.known_str()?.into(),
        Peek::Array => {
            let mut items = Vec::new();
            let mut next = jiter.known_array()?;
            while let Some(peek) = next {
                items.push(value(jiter, peek, depth + 1)?);
                next = jiter.array_step()?;
            }
            items.into()
        }
        Peek::Object => {
            let mut members = Map::new();
            let mut next = jiter.known_object()?.map(camel_case);
            while let Some(name) = next {
                let peek = jiter.peek()?;
                let member = value(jiter, peek, depth + 1)?;
                if members.insert(name, member).is_some() {
                    return Err(JsonError::RepeatedName(jiter.current_index()));
                }
                next = jiter.next_key()?.map(camel_case);
            }
            members.into()
        }
        _ => number(std::str::from_utf8(jiter.known_number_bytes(peek)?).map_err(|_| JsonError::NotUtf8)?),
    })
}

/// Converts a name to camel case, because the mapping reads `trace_id` and `traceId` as the same field.
fn camel_case(name: &str) -> String {
    let mut is_after_underscore = false;
    let mut camel = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '_' => is_after_underscore = true,
            _ if is_after_underscore => {
                camel.push(character.to_ascii_uppercase());
                is_after_underscore = false;
            }
            _ => camel.push(character),
        }
    }
    camel
}

fn number(text: &str) -> Value {
    match text.parse::<Number>() {
        Ok(number) if number.is_i64() || number.is_u64() => number.into(),
        _ => integer(text).unwrap_or_else(|| text.to_owned()).into(),
    }
}

/// Returns the digits of an integer that is written with a fraction or an exponent, such as `1.5e3`.
fn integer(text: &str) -> Option<String> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let exponent: usize = exponent.parse().ok()?;
    let zeros = exponent.checked_sub(fraction.len()).filter(|zeros| *zeros <= MAX_DIGITS)?;
    Some(format!("{whole}{fraction}{}", "0".repeat(zeros)))
}

/// Replaces unpaired surrogate escapes with `\ufffd`, as protobuf encoders do.
///
/// JavaScript writes such an escape if an instrumentation has cut a string within a character. Refusing it would lose the
/// whole batch, because exporters drop what is refused.
pub fn with_paired_surrogates(text: &str) -> Cow<'_, str> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut repaired, mut copied, mut from) = (String::new(), 0, 0);
    while let Some(found) = text[from..].find('\\') {
        let at = from + found;
        from = match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => at + 12,
            Some(0xD800..=0xDFFF) => {
                repaired.push_str(&text[copied..at]);
                repaired.push_str("\\ufffd");
                copied = at + 6;
                copied
            }
            // Skips the escaped character too: it may be another backslash or, in invalid JSON, a multi-byte character.
            _ => text[at + 1..].chars().next().map_or(text.len(), |escaped| at + 1 + escaped.len_utf8()),
        };
    }
    if copied == 0 {
        return text.into();
    }
    repaired.push_str(&text[copied..]);
    repaired.into()
}
