//! Stored JSON values, read one level at a time. No digit is lost, and no large value is parsed twice.

use std::fmt;

use indexmap::IndexMap;
use serde_json::{Value, value::RawValue};

/// The largest value that is formatted over several lines, in bytes of JSON.
const LAID_OUT_BYTES: usize = 64 * 1024;

/// The largest formatted value, in bytes. The indentation of deep nesting multiplies the size of a value.
const LAID_OUT_MAX: usize = 4 * LAID_OUT_BYTES;

/// One stored JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Reads one value. Returns `None` if the text is not JSON.
    pub fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str::<&RawValue>(text).ok().map(Self::from)
    }

    /// Returns the stored text.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Returns the members of an object; `None` for any other value.
    pub fn object(self) -> Option<Members<'a>> {
        if self.0.starts_with('{') { serde_json::from_str(self.0).ok().map(Members) } else { None }
    }

    /// Returns the values of an array; `None` for any other value.
    pub fn list(self) -> Option<Vec<Self>> {
        let values: Vec<&RawValue> =
            if self.0.starts_with('[') { serde_json::from_str(self.0).ok()? } else { return None };
        Some(values.into_iter().map(Self::from).collect())
    }

    /// Returns a string's text; `None` for any other value.
    pub fn string(self) -> Option<String> {
        if self.0.starts_with('"') { serde_json::from_str(self.0).ok() } else { None }
    }

    /// Returns a string's text, or the JSON of any other value.
    pub fn text(self) -> String {
        self.string().unwrap_or_else(|| self.0.to_owned())
    }

    /// Returns a number's value; `None` for any other value.
    pub fn number(self) -> Option<f64> {
        serde_json::from_str(self.0).ok()
    }

    /// Returns a whole number that is not negative; `None` for any other value.
    pub fn count(self) -> Option<u64> {
        serde_json::from_str(self.0).ok()
    }

    /// Returns whether this is `null`, an empty string, an empty array or an empty object.
    pub fn is_empty(self) -> bool {
        matches!(self.0, "null" | "\"\"" | "[]" | "{}")
    }

    /// Returns a string's text, or the JSON of any other value. Formats arrays and objects of moderate size over
    /// several lines.
    pub fn readable(self) -> String {
        if let Some(text) = self.string() {
            return text;
        }
        let is_nested = self.0.starts_with(['[', '{']) && self.0.len() <= LAID_OUT_BYTES;
        is_nested.then(|| self.laid_out()).flatten().unwrap_or_else(|| self.0.to_owned())
    }

    /// Formats a value over several lines. Returns `None` if it is nested deeper than `serde_json` reads, or if the
    /// result would be too large.
    fn laid_out(self) -> Option<String> {
        let value: Value = serde_json::from_str(self.0).ok()?;
        let mut out = Bounded(String::new());
        fmt::write(&mut out, format_args!("{value:#}")).ok()?;
        Some(out.0)
    }
}

impl<'a> From<&'a RawValue> for Json<'a> {
    fn from(value: &'a RawValue) -> Self {
        Self(value.get())
    }
}

/// A string that refuses to grow beyond [`LAID_OUT_MAX`].
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LAID_OUT_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// The members of an object, in their order.
#[derive(Debug, Clone, Default)]
pub struct Members<'a>(IndexMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    /// Reads an object. Returns no members if the bytes are not an object.
    pub fn read(json: &'a [u8]) -> Self {
        let json = std::str::from_utf8(json).unwrap_or_default();
        Self(serde_json::from_str(json).unwrap_or_default())
    }

    /// Reads a list of `key` and `value`, as the JSON encoding of OTLP writes attributes. Returns `None` for any other
    /// value.
    pub fn of_key_values(list: Json<'a>) -> Option<Self> {
        let members = list.list()?.into_iter().map(|pair| {
            let pair = pair.object()?;
            let value = *pair.0.get("value")?;
            let typed = Json::from(value).object().unwrap_or_default();
            let simple = ["stringValue", "intValue", "doubleValue", "boolValue"];
            let inner = simple.iter().find_map(|kind| typed.0.get(*kind).copied());
            Some((pair.string("key")?, inner.unwrap_or(value)))
        });
        members.collect::<Option<_>>().map(Self)
    }

    /// Returns the members whose name starts with this text.
    pub fn starting_with(&self, start: &str) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(name, _)| name.starts_with(start))
                .map(|(name, value)| (name.clone(), *value))
                .collect(),
        )
    }

    /// Returns a member's value.
    pub fn get(&self, name: &str) -> Option<Json<'a>> {
        self.0.get(name).map(|value| Json::from(*value))
    }

    /// Returns a member's value unless it is empty or `null`.
    pub fn filled(&self, name: &str) -> Option<Json<'a>> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Returns the members of the object `name`, or no members if there is no such object.
    pub fn object(&self, name: &str) -> Self {
        self.get(name).and_then(Json::object).unwrap_or_default()
    }

    /// Returns a member that is a string.
    pub fn string(&self, name: &str) -> Option<String> {
        self.get(name)?.string()
    }

    /// Returns the first of these members that is a string.
    pub fn first_string(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.string(name))
    }

    /// Returns the first of these members that has a value.
    pub fn first(&self, names: &[&str]) -> Option<Json<'a>> {
        names.iter().find_map(|name| self.filled(name))
    }

    /// Returns all members.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Json<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), Json::from(*value)))
    }

    /// Replaces or adds members.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Removes a member.
    pub fn remove(&mut self, name: &str) {
        self.0.shift_remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_order_and_every_digit() {
        let members = Members::read(br#"{"z": {"b": 1.50, "a": 340282366920938463463374607431768211456}, "s": "x"}"#);
        let value = members.get("z").expect("a member").readable();
        assert_eq!(value, "{\n  \"b\": 1.50,\n  \"a\": 340282366920938463463374607431768211456\n}");
        assert_eq!(members.get("s").expect("a member").readable(), "x");
    }

    #[test]
    fn values_that_would_grow_by_their_indentation_stay_as_stored() {
        let deep = format!("{{\"a\": {}{}{}}}", "[".repeat(100), "1,".repeat(20_000) + "1", "]".repeat(100));
        let members = Members::read(deep.as_bytes());
        assert_eq!(members.get("a").expect("a member").readable(), members.get("a").expect("a member").as_str());
        let deeper = format!("{{\"a\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let members = Members::read(deeper.as_bytes());
        assert_eq!(members.get("a").expect("a member").readable().len(), 20_000);
    }
}
