//! A stored trace as the page reads it: members in their order, each as it is stored, so that no digit is lost.

use indexmap::IndexMap;
use serde_json::{Value, value::RawValue};

/// The members of an object.
#[derive(Debug, Default)]
pub struct Members<'a>(IndexMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    fn read(json: &'a str) -> Self {
        Self(serde_json::from_str(json).unwrap_or_default())
    }

    /// A member as text: a string's own, all else as JSON; empty if there is none.
    pub fn text(&self, name: &str) -> String {
        readable(self.raw(name))
    }

    /// The member as it is stored; empty if there is none.
    pub fn raw(&self, name: &str) -> &'a str {
        self.0.get(name).map_or("", |value| value.get())
    }

    /// The members that are not among `shown`, as text.
    pub fn except(&self, shown: &[&str]) -> Vec<(&str, String)> {
        let more = self.0.iter().filter(|(name, _)| !shown.contains(&name.as_str()));
        more.map(|(name, value)| (name.as_str(), readable(value.get()))).collect()
    }
}

/// A string's text; of an array or an object, JSON with line breaks.
fn readable(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(Value::String(text)) => text,
        Ok(value @ (Value::Array(_) | Value::Object(_))) => format!("{value:#}"),
        _ => json.to_owned(), // a number with the digits it has, or nested deeper than `serde_json` goes
    }
}

/// A trace and its messages. What is no trace has neither members nor messages.
#[derive(Debug, Default)]
pub struct Conversation<'a> {
    pub trace: Members<'a>,
    pub messages: Vec<Members<'a>>,
}

impl<'a> Conversation<'a> {
    pub fn read(json: &'a [u8]) -> Self {
        let trace = Members::read(std::str::from_utf8(json).unwrap_or_default());
        let messages: Vec<&RawValue> = serde_json::from_str(trace.raw("messages")).unwrap_or_default();
        Self { messages: messages.into_iter().map(|message| Members::read(message.get())).collect(), trace }
    }
}
