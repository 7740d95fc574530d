//! JSON in which numbers keep every digit, and no name occurs twice in one object.

use std::{borrow::Cow, collections::HashSet};

use attest::trace::MAX_DEPTH;
use jiter::{Jiter, JiterError, Peek};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::error::Unmapped;

/// Below this number of members, comparing names is faster than hashing them.
const FEW: usize = 16;

/// A JSON value.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Json {
    Null,
    Bool(bool),
    /// A number with its original text.
    Number(Box<RawValue>),
    String(String),
    Array(Vec<Json>),
    Object(Members),
}

/// The members of an object, in their order.
#[derive(Debug, Clone, Default)]
pub struct Members(Vec<(String, Json)>);

impl Members {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find_map(|(own, value)| (own == name).then_some(value))
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Json> {
        self.0.iter_mut().find_map(|(own, value)| (own == name).then_some(value))
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the text of a member, if it is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// Removes a member.
    pub fn take(&mut self, name: &str) -> Option<Json> {
        self.take_if(name, |_| true)
    }

    /// Removes a member if its value passes the test.
    pub fn take_if(&mut self, name: &str, is_wanted: impl FnOnce(&Json) -> bool) -> Option<Json> {
        let place = self.0.iter().position(|(own, _)| own == name)?;
        is_wanted(&self.0[place].1).then(|| self.0.remove(place).1)
    }

    /// Removes a member if its value is an object.
    pub fn take_object(&mut self, name: &str) -> Option<Members> {
        match self.take_if(name, |value| matches!(value, Json::Object(_)))? {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Removes a member if its value is an array.
    pub fn take_array(&mut self, name: &str) -> Option<Vec<Json>> {
        match self.take_if(name, |value| matches!(value, Json::Array(_)))? {
            Json::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// Adds a member after the others. Its name must be new.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Json>) {
        let name = name.into();
        debug_assert!(!self.contains(&name));
        self.0.push((name, value.into()));
    }

    /// Adds members after the others. Their names must be new.
    pub fn append(&mut self, members: Members) {
        self.0.extend(members.0);
    }
}

impl IntoIterator for Members {
    type Item = (String, Json);
    type IntoIter = std::vec::IntoIter<(String, Json)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<(String, Json)> for Members {
    fn from_iter<I: IntoIterator<Item = (String, Json)>>(members: I) -> Self {
        Self(members.into_iter().collect())
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Json {
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub fn as_object(&self) -> Option<&Members> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    pub fn as_object_mut(&mut self) -> Option<&mut Members> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    pub fn as_array(&self) -> Option<&[Json]> {
        if let Self::Array(elements) = self { Some(elements) } else { None }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Self {
        Self::Number(raw(number.to_string()))
    }
}

impl From<Vec<Json>> for Json {
    fn from(elements: Vec<Json>) -> Self {
        Self::Array(elements)
    }
}

impl From<Members> for Json {
    fn from(members: Members) -> Self {
        Self::Object(members)
    }
}

fn raw(number: String) -> Box<RawValue> {
    RawValue::from_string(number).expect("the text of a number is JSON")
}

/// Parses JSON. NaN and infinities, which some languages write, become strings; unpaired surrogates become U+FFFD.
pub fn parse(text: &[u8]) -> Result<Json, Unmapped> {
    let text = with_paired_surrogates(text);
    let mut jiter = Jiter::new(&text).with_allow_inf_nan();
    let not_json = |error: JiterError| {
        Unmapped::Format(format!("The line is not JSON: {} at byte {}.", error.error_type, error.index + 1))
    };
    let value = jiter.peek().map_err(not_json).and_then(|peek| value(&mut jiter, peek, &not_json, MAX_DEPTH))?;
    jiter.finish().map_err(not_json)?;
    Ok(value)
}

fn value(
    jiter: &mut Jiter<'_>,
    peek: Peek,
    not_json: &impl Fn(JiterError) -> Unmapped,
    depth: usize,
) -> Result<Json, Unmapped> {
    let below =
        || depth.checked_sub(1).ok_or_else(|| Unmapped::Format(format!("It is nested deeper than {MAX_DEPTH}.")));
    Ok(match peek {
        Peek::Null => {
            jiter.known_null().map_err(not_json)?;
            Json::Null
        }
        Peek::True | Peek::False => Json::Bool(jiter.known_bool(peek).map_err(not_json)?),
        Peek::String => Json::String(jiter.known_str().map_err(not_json)?.to_owned()),
        Peek::Array => {
            let depth = below()?;
            let mut elements = Vec::new();
            let mut next = jiter.known_array().map_err(not_json)?;
            while let Some(peek) = next {
                let element = value(jiter, peek, not_json, depth);
                elements.push(element.map_err(|unmapped| unmapped.below(&elements.len().to_string()))?);
                next = jiter.array_step().map_err(not_json)?;
            }
            Json::Array(elements)
        }
        Peek::Object => {
            let depth = below()?;
            let mut members = Members::default();
            let mut names = HashSet::new();
            let mut next = jiter.known_object().map_err(not_json)?.map(ToOwned::to_owned);
            while let Some(name) = next {
                if members.0.len() == FEW {
                    names = members.0.iter().map(|(name, _)| name.clone()).collect();
                }
                let is_few = members.0.len() < FEW;
                if if is_few { members.contains(&name) } else { !names.insert(name.clone()) } {
                    return Err(Unmapped::RepeatedName { pointer: String::new() }.below(&name));
                }
                let peek = jiter.peek().map_err(not_json)?;
                let member = value(jiter, peek, not_json, depth).map_err(|unmapped| unmapped.below(&name))?;
                members.0.push((name, member));
                next = jiter.next_key().map_err(not_json)?.map(ToOwned::to_owned);
            }
            Json::Object(members)
        }
        _ => {
            let number = jiter.known_number_bytes(peek).map_err(not_json)?;
            let number = String::from_utf8_lossy(number).into_owned();
            if number.ends_with(char::is_alphabetic) { Json::String(number) } else { Json::Number(raw(number)) }
        }
    })
}

/// Replaces escapes of surrogates (RFC 8259, section 7) that are not a pair. The replacement does not change the
/// length of the text.
fn with_paired_surrogates(text: &[u8]) -> Cow<'_, [u8]> {
    let unit = |at: usize| {
        let escape = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(escape).ok()?, 16).ok()
    };
    let mut text_out = Cow::Borrowed(text);
    let mut at = 0;
    while let Some(next) = text[at..].iter().position(|byte| *byte == b'\\').map(|offset| at + offset) {
        at = match unit(next) {
            Some(0xd800..0xdc00) if unit(next + 6).is_some_and(|low| (0xdc00..0xe000).contains(&low)) => next + 12,
            Some(0xd800..0xe000) => {
                text_out.to_mut()[next..next + 6].copy_from_slice(b"\\ufffd");
                next + 6
            }
            _ => next + 2,
        }
        .min(text.len());
    }
    text_out
}
