//! The columns of a Parquet file, which traces are converted to.

use std::{borrow::Cow, sync::Arc};

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{Int64Builder, ListBuilder, StringBuilder, StructBuilder, TimestampMicrosecondBuilder},
};
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::storage::Entry;

/// Returns the columns: the key, the time of storing, the members of `src/trace.schema.json`, and the whole trace.
pub fn schema() -> Schema {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let message = DataType::Struct(message_fields());
    Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("stored", time, false),
        Field::new("id", DataType::Utf8, true),
        Field::new("object", DataType::Utf8, true),
        Field::new("system_fingerprint", DataType::Utf8, true),
        Field::new("model", DataType::Utf8, false),
        // Null if 64 bits do not hold it.
        Field::new("created", DataType::Int64, true),
        Field::new("messages", DataType::List(Arc::new(Field::new("item", message, true))), false),
        Field::new("choices", DataType::Utf8, true),
        Field::new("usage", DataType::Utf8, true),
        Field::new("trace", DataType::Utf8, false),
    ])
}

fn message_fields() -> Fields {
    Fields::from(vec![Field::new("role", DataType::Utf8, false), Field::new("content", DataType::Utf8, false)])
}

#[derive(Deserialize)]
struct Trace<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    object: Option<Cow<'a, str>>,
    #[serde(borrow)]
    system_fingerprint: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    created: &'a RawValue,
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
}

/// Rows that are not yet written.
pub struct Columns {
    /// Key, id, object, fingerprint, model, choices, usage, trace.
    texts: [StringBuilder; 8],
    stored: TimestampMicrosecondBuilder,
    created: Int64Builder,
    messages: ListBuilder<StructBuilder>,
    bytes: usize,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            texts: Default::default(),
            stored: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            created: Int64Builder::new(),
            messages: ListBuilder::new(StructBuilder::from_fields(message_fields(), 0)),
            bytes: 0,
        }
    }
}

impl Columns {
    /// Adds a row. Returns `false` if `json` is not a trace.
    pub fn push(&mut self, entry: &Entry, json: &[u8]) -> bool {
        let Some((trace, text)) =
            std::str::from_utf8(json).ok().and_then(|text| Some((serde_json::from_str::<Trace<'_>>(text).ok()?, text)))
        else {
            return false;
        };
        let texts = [
            Some(entry.key.as_str()),
            trace.id.as_deref(),
            trace.object.as_deref(),
            trace.system_fingerprint.as_deref(),
            Some(&*trace.model),
            trace.choices.map(RawValue::get),
            trace.usage.map(RawValue::get),
            Some(text),
        ];
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.append_option(text);
        }
        self.stored.append_value(entry.stored.as_microsecond());
        self.created.append_option(integer(trace.created));
        for Message { role, content } in &trace.messages {
            let message = self.messages.values();
            message.field_builder::<StringBuilder>(0).expect("the first field is a string").append_value(role);
            message.field_builder::<StringBuilder>(1).expect("the second field is a string").append_value(content);
            message.append(true);
        }
        self.messages.append(true);
        self.bytes += json.len() + 1;
        true
    }

    /// Returns the buffered bytes of JSON, plus one per row.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Removes and returns the rows.
    pub fn take(&mut self) -> RecordBatch {
        let mut columns = std::mem::take(self);
        let messages = columns.messages.finish();
        let [key, id, object, fingerprint, model, choices, usage, trace] =
            columns.texts.map(|mut column| Arc::new(column.finish()) as ArrayRef);
        let (stored, created) = (Arc::new(columns.stored.finish()), Arc::new(columns.created.finish()));
        let columns =
            vec![key, stored, id, object, fingerprint, model, created, Arc::new(messages), choices, usage, trace];
        RecordBatch::try_new(Arc::new(schema()), columns).expect("the columns match the schema")
    }
}

/// Returns the integer that JSON may write as `1`, `1.0` or `1e3`, if 64 bits hold it.
fn integer(number: &RawValue) -> Option<i64> {
    let exact = |number: f64| (number.fract() == 0.0 && number.abs() < 9.0e15).then_some(number);
    #[expect(clippy::cast_possible_truncation, reason = "it is an integer below 2^53")]
    number.get().parse().ok().or_else(|| exact(number.get().parse().ok()?).map(|number| number as i64))
}
