//! The attributes of a span or a log record.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use crate::json;

/// The maximum nesting depth of a value that was a JSON string. A message wraps it in a few more levels, and a trace
/// may have at most `attest::trace::MAX_DEPTH`.
const MAX_DEPTH: usize = attest::trace::MAX_DEPTH - 16;

/// The maximum number of digits in a number (`docs/api.md`, "Limits").
const MAX_DIGITS: usize = 4_300;

/// The largest index in a list that is flattened into names. More messages do not fit into a request.
const MAX_INDEX: u32 = 100_000;

/// Attributes by name. If a name occurs twice, which OpenTelemetry forbids, the last value counts.
#[derive(Debug, Default)]
pub struct Attributes<'a> {
    values: HashMap<&'a str, &'a Value>,
    names: Vec<&'a str>,
}

impl<'a> Attributes<'a> {
    /// Reads the member `attributes` of an object in OTLP's JSON encoding.
    #[must_use]
    pub fn of(object: &'a Value) -> Self {
        let mut attributes = Self::default();
        for attribute in object["attributes"].as_array().into_iter().flatten() {
            let name = attribute["key"].as_str().unwrap_or_default();
            if attributes.values.insert(name, &attribute["value"]).is_none() {
                attributes.names.push(name);
            }
        }
        attributes
    }

    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.values.get(name).and_then(|value| value["stringValue"].as_str()).filter(|text| !text.is_empty())
    }

    #[must_use]
    pub fn first_text(&self, names: &[&str]) -> Option<&'a str> {
        names.iter().find_map(|name| self.text(name))
    }

    #[must_use]
    pub fn value(&self, name: &str) -> Option<Value> {
        self.values.get(name).map(|value| plain(value)).filter(|value| !value.is_null())
    }

    /// Returns an attribute as JSON. Parses a string that contains a JSON array or object.
    #[must_use]
    pub fn decoded(&self, name: &str) -> Option<Value> {
        self.value(name).map(decoded)
    }

    #[must_use]
    pub fn has(&self, prefix: &str) -> bool {
        self.names.iter().any(|name| name.starts_with(prefix))
    }

    /// Returns the attributes with this prefix, and strips it from their names.
    pub fn starting_with<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = (&'a str, Value)> + 's {
        self.names.iter().filter_map(move |name| Some((name.strip_prefix(prefix)?, plain(self.values[name]))))
    }

    /// Returns the items of a list that is flattened into names, `PREFIX0.NAME`, in order.
    #[must_use]
    pub fn list(&self, prefix: &str) -> Vec<Map<String, Value>> {
        let mut items: BTreeMap<u32, Map<String, Value>> = BTreeMap::new();
        for (rest, value) in self.starting_with(prefix) {
            let (index, name) = rest.split_once('.').unwrap_or((rest, ""));
            if let Ok(index) = index.parse::<u32>()
                && index <= MAX_INDEX
            {
                items.entry(index).or_default().insert(name.to_owned(), value);
            }
        }
        items.into_values().collect()
    }
}

/// Returns the items of a list that is flattened into the members of `item`.
#[must_use]
pub fn sublist(item: &Map<String, Value>, prefix: &str) -> Vec<Map<String, Value>> {
    let mut items: BTreeMap<u32, Map<String, Value>> = BTreeMap::new();
    for (name, value) in item {
        let Some((index, name)) = name.strip_prefix(prefix).and_then(|rest| rest.split_once('.')) else { continue };
        if let Ok(index) = index.parse::<u32>() {
            items.entry(index).or_default().insert(name.to_owned(), value.clone());
        }
    }
    items.into_values().collect()
}

/// Converts an `AnyValue` to JSON. Bytes stay base64.
#[must_use]
pub fn plain(value: &Value) -> Value {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else { return Value::Null };
    let values = || value["values"].as_array().into_iter().flatten();
    match kind.as_str() {
        "intValue" => value.as_str().and_then(|digits| digits.parse::<i64>().ok()).map_or(Value::Null, Value::from),
        "arrayValue" => values().map(plain).collect(),
        "kvlistValue" => {
            let member = |pair: &Value| (pair["key"].as_str().unwrap_or_default().to_owned(), plain(&pair["value"]));
            Value::Object(values().map(member).collect())
        }
        _ => value.clone(),
    }
}

/// Parses a string that contains a JSON array or object. Returns any other value unchanged.
#[must_use]
pub fn decoded(value: Value) -> Value {
    match &value {
        Value::String(text) if looks_like_json(text) => {
            let text = json::with_paired_surrogates(text);
            serde_json::from_str(&text).ok().filter(|value| fits(value, MAX_DEPTH)).unwrap_or(value)
        }
        _ => value,
    }
}

/// Returns whether a string starts like a JSON array or object. If it is not valid JSON, an exporter has truncated it.
#[must_use]
pub fn looks_like_json(text: &str) -> bool {
    text.trim_start().starts_with(['[', '{'])
}

/// Returns whether a trace may contain the value. `attest` rejects deeper nesting and longer numbers.
fn fits(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|item| fits(item, depth - 1)),
        Value::Object(members) => depth > 0 && members.values().all(|value| fits(value, depth - 1)),
        Value::Number(number) => number.as_str().len() <= MAX_DIGITS,
        _ => true,
    }
}
