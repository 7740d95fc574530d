//! JSON in which numbers keep every digit, and members their order and repeated names.

mod read;

use std::{fmt, io};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

pub use read::parse;

/// The maximum nesting depth of a trace. A test compares it with the endpoint's limit, because this crate does not
/// depend on the endpoint.
pub const MAX_DEPTH: usize = 128;

/// The largest value that is pretty-printed, in bytes of compact JSON.
const LAID_OUT_BYTES: usize = 64 * 1024;

/// The largest pretty-printed result, in bytes. The indentation of deeply nested values multiplies their size.
const LAID_OUT_MAX: usize = 4 * LAID_OUT_BYTES;

/// Removes the line breaks between JSON tokens. JSON does not allow line breaks within a token (RFC 8259, section 7).
pub fn one_line(json: &[u8]) -> Vec<u8> {
    json.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect()
}

static NO_MEMBERS: Members = Members(Vec::new());

#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Json {
    Null,
    Bool(bool),
    /// A number as it was written, because `f64` would lose digits.
    Number(Box<RawValue>),
    String(String),
    Array(Vec<Json>),
    Object(Members),
}

/// The members of an object in document order, including repeated names.
#[derive(Debug, Clone, Default)]
pub struct Members(Vec<(String, Json)>);

impl Members {
    /// Reads a stored object. Returns no members if the bytes are not an object.
    pub fn read(json: &[u8]) -> Self {
        match Json::read(json) {
            Some(Json::Object(members)) => members,
            _ => Self::default(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Returns the last member with this name, as most parsers do.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().rfind(|(own, _)| own == name).map(|(_, value)| value)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Json> {
        self.0.iter_mut().rfind(|(own, _)| own == name).map(|(_, value)| value)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// Returns a copy of a member's value if it is a string.
    pub fn string(&self, name: &str) -> Option<String> {
        self.text(name).map(ToOwned::to_owned)
    }

    pub fn first_string(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.string(name))
    }

    /// Returns a member unless it is `null`, an empty string, an empty array or an empty object.
    pub fn filled(&self, name: &str) -> Option<&Json> {
        self.get(name).filter(|value| !value.is_empty())
    }

    pub fn first_filled(&self, names: &[&str]) -> Option<&Json> {
        names.iter().find_map(|name| self.filled(name))
    }

    /// Returns the members of the object `name`, or no members if there is no such object.
    pub fn object(&self, name: &str) -> &Members {
        self.get(name).and_then(Json::as_object).unwrap_or(&NO_MEMBERS)
    }

    /// Returns the elements of the array `name`, or no elements if there is no such array.
    pub fn list(&self, name: &str) -> &[Json] {
        self.get(name).and_then(Json::as_list).unwrap_or_default()
    }

    pub fn take(&mut self, name: &str) -> Option<Json> {
        self.take_if(name, |_| true)
    }

    pub fn take_if(&mut self, name: &str, is_wanted: impl FnOnce(&Json) -> bool) -> Option<Json> {
        let place = self.0.iter().rposition(|(own, _)| own == name)?;
        is_wanted(&self.0[place].1).then(|| self.0.remove(place).1)
    }

    pub fn take_object(&mut self, name: &str) -> Option<Members> {
        match self.take_if(name, |value| matches!(value, Json::Object(_)))? {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    pub fn take_list(&mut self, name: &str) -> Option<Vec<Json>> {
        match self.take_if(name, |value| matches!(value, Json::Array(_)))? {
            Json::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// Appends a member. Its name must be new.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Json>) {
        let name = name.into();
        debug_assert!(!self.contains(&name));
        self.0.push((name, value.into()));
    }

    /// Replaces a member's value, or appends the member.
    pub fn set(&mut self, name: &str, value: Json) {
        match self.get_mut(name) {
            Some(own) => *own = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    pub fn retain(&mut self, is_wanted: impl Fn(&str, &Json) -> bool) {
        self.0.retain(|(name, value)| is_wanted(name, value));
    }

    /// Appends members. Their names must be new.
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
    /// Reads a stored value, in which names may be repeated. Returns `None` if the bytes are not JSON, or are nested
    /// deeper than a trace can be.
    pub fn read(json: &[u8]) -> Option<Self> {
        read::stored(json)
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub fn as_object(&self) -> Option<&Members> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    pub fn as_object_mut(&mut self) -> Option<&mut Members> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    pub fn as_list(&self) -> Option<&[Json]> {
        if let Self::Array(elements) = self { Some(elements) } else { None }
    }

    pub fn as_f64(&self) -> Option<f64> {
        if let Self::Number(number) = self { number.get().parse().ok() } else { None }
    }

    pub fn as_u64(&self) -> Option<u64> {
        if let Self::Number(number) = self { number.get().parse().ok() } else { None }
    }

    /// Returns whether this is `null`, an empty string, an empty array or an empty object.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::String(text) => text.is_empty(),
            Self::Array(elements) => elements.is_empty(),
            Self::Object(members) => members.is_empty(),
            Self::Bool(_) | Self::Number(_) => false,
        }
    }

    /// Returns the content of a string, or any other value as JSON.
    pub fn to_text(&self) -> String {
        self.as_str().map_or_else(|| self.to_string(), ToOwned::to_owned)
    }

    /// Returns the content of a string, or any other value as JSON. Pretty-prints arrays and objects of moderate size.
    pub fn readable(&self) -> String {
        let text = self.to_text();
        let is_nested = matches!(self, Self::Array(_) | Self::Object(_)) && text.len() <= LAID_OUT_BYTES;
        is_nested.then(|| self.laid_out()).flatten().unwrap_or(text)
    }

    /// Pretty-prints a value. Returns `None` if the result would be too large.
    fn laid_out(&self) -> Option<String> {
        let mut out = Bounded(Vec::new());
        serde_json::to_writer_pretty(&mut out, self).ok()?;
        String::from_utf8(out.0).ok()
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// A buffer that cannot grow beyond [`LAID_OUT_MAX`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.0.len() + text.len() > LAID_OUT_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_depth_is_that_of_the_endpoint() {
        assert_eq!(MAX_DEPTH, attest::trace::MAX_DEPTH);
    }

    #[test]
    fn values_keep_their_order_their_repeated_names_and_every_digit() {
        let json = r#"{"z":{"b":1.50,"a":340282366920938463463374607431768211456},"s":"x","s":"y"}"#;
        let members = Members::read(json.as_bytes());
        let value = members.get("z").expect("a member").readable();
        assert_eq!(value, "{\n  \"b\": 1.50,\n  \"a\": 340282366920938463463374607431768211456\n}");
        assert_eq!(members.text("s"), Some("y"));
        assert_eq!(Json::from(members).to_string(), json);
    }

    #[test]
    fn values_that_would_grow_by_their_indentation_stay_on_one_line() {
        let deep = format!("{}{}{}", "[".repeat(100), "1,".repeat(20_000) + "1", "]".repeat(100));
        let value = Json::read(deep.as_bytes()).expect("it is JSON");
        assert_eq!(value.readable(), deep);
    }

    #[test]
    fn values_that_no_trace_can_contain_are_not_read() {
        for json in ["", "{", "NaN", "\"\\ud83d\"", "[1] 2", &"[".repeat(10_000), &("[".repeat(129) + &"]".repeat(129))]
        {
            assert!(Json::read(json.as_bytes()).is_none(), "{json:.20}");
        }
    }
}
