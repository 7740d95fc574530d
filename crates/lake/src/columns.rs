//! The lake's columns, and the conversion of traces to rows.

use std::{borrow::Cow, sync::Arc};

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{Float64Builder, Int64Builder, ListBuilder, StringBuilder, StructBuilder, TimestampMicrosecondBuilder},
};
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use attest::trace;
use attest_mapping::{conversation::Header, json::Members};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Object;

/// The partition column: the UTC day on which the object was stored.
pub const DAY: &str = "day";

/// The columns that have statistics in the log, so that readers and writers can skip files.
pub const WITH_STATISTICS: [&str; 4] = ["key", "stored", "model", "created"];

/// The columns that tables of earlier versions lack. [`crate::Table::upgrade`] adds them.
pub(crate) const ADDED: [&str; 8] =
    ["etag", API_KEY_ID, PRINCIPAL, "session_id", "user", "tags", "duration", "first_token"];

/// The id of the writer's API key.
const API_KEY_ID: &str = "api_key_id";

/// The ARN of the writer's IAM principal.
const PRINCIPAL: &str = "principal";

/// The largest `created` that counts as a time: the last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// Returns the columns of a data file: the key and the time of storing, the members in `src/trace.schema.json`, and the
/// whole trace. Further columns are metadata of the object, and facts that the traces of each API keep in different
/// members.
///
/// Every column is nullable, because Delta requires a table feature for non-nullable columns.
#[must_use]
pub fn schema() -> Schema {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let message = DataType::Struct(message_fields());
    Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("stored", time, true),
        Field::new("id", DataType::Utf8, true),
        Field::new("object", DataType::Utf8, true),
        Field::new("system_fingerprint", DataType::Utf8, true),
        Field::new("model", DataType::Utf8, true),
        Field::new("created", DataType::Int64, true),
        Field::new("messages", DataType::List(Arc::new(Field::new("element", message, true))), true),
        Field::new("choices", DataType::Utf8, true),
        Field::new("usage", DataType::Utf8, true),
        Field::new("trace", DataType::Utf8, true),
        Field::new("etag", DataType::Utf8, true),
        Field::new(API_KEY_ID, DataType::Utf8, true),
        Field::new(PRINCIPAL, DataType::Utf8, true),
        Field::new("session_id", DataType::Utf8, true),
        Field::new("user", DataType::Utf8, true),
        Field::new("tags", DataType::List(Arc::new(tag())), true),
        Field::new("duration", DataType::Float64, true),
        Field::new("first_token", DataType::Float64, true),
    ])
}

fn tag() -> Field {
    Field::new("element", DataType::Utf8, true)
}

fn message_fields() -> Fields {
    Fields::from(vec![Field::new("role", DataType::Utf8, true), Field::new("content", DataType::Utf8, true)])
}

#[derive(Deserialize)]
struct TraceRow<'a> {
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
    messages: Vec<MessageRow<'a>>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageRow<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
}

pub struct Columns {
    /// Key, id, object, fingerprint, model, choices, usage, trace, etag, API key, principal, session, user.
    texts: [StringBuilder; 13],
    stored: TimestampMicrosecondBuilder,
    created: Int64Builder,
    messages: ListBuilder<StructBuilder>,
    tags: ListBuilder<StringBuilder>,
    duration: Float64Builder,
    first_token: Float64Builder,
    bytes: usize,
}

impl Default for Columns {
    fn default() -> Self {
        let message = Field::new("element", DataType::Struct(message_fields()), true);
        Self {
            texts: Default::default(),
            stored: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            created: Int64Builder::new(),
            messages: ListBuilder::new(StructBuilder::from_fields(message_fields(), 0)).with_field(message),
            tags: ListBuilder::new(StringBuilder::new()).with_field(tag()),
            duration: Float64Builder::new(),
            first_token: Float64Builder::new(),
            bytes: 0,
        }
    }
}

impl Columns {
    /// Adds a row. Returns `false`, and adds nothing, if the object is not a trace.
    pub fn push(&mut self, Object { entry, json, writer }: &Object) -> bool {
        if !trace::is_trace(json) {
            return false;
        }
        let Some((trace, text)) = std::str::from_utf8(json)
            .ok()
            .and_then(|text| Some((serde_json::from_str::<TraceRow<'_>>(text).ok()?, text)))
        else {
            return false;
        };
        let header = Header::read(&Members::read(json));
        let texts = [
            Some(entry.key.as_str()),
            trace.id.as_deref(),
            trace.object.as_deref(),
            trace.system_fingerprint.as_deref(),
            Some(&*trace.model),
            trace.choices.map(RawValue::get),
            trace.usage.map(RawValue::get),
            Some(text),
            entry.etag.as_deref(),
            writer.api_key_id.as_deref(),
            writer.principal.as_deref(),
            header.session.as_deref(),
            header.user.as_deref(),
        ];
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.append_option(text);
        }
        self.stored.append_value(entry.stored.as_microsecond());
        self.created.append_option(time(trace.created));
        for MessageRow { role, content } in &trace.messages {
            let message = self.messages.values();
            message.field_builder::<StringBuilder>(0).expect("the first field is the role").append_value(role);
            message.field_builder::<StringBuilder>(1).expect("the second field is the content").append_value(content);
            message.append(true);
        }
        self.messages.append(true);
        self.tags.append_option((!header.tags.is_empty()).then(|| header.tags.into_iter().map(Some)));
        self.duration.append_option(header.seconds);
        self.first_token.append_option(header.first_token);
        self.bytes += json.len() + 1;
        true
    }

    /// Returns the size of the buffered JSON in bytes, plus one per row.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the buffered rows, and empties the buffer.
    pub fn take(&mut self) -> RecordBatch {
        let mut columns = std::mem::take(self);
        let messages: ArrayRef = Arc::new(columns.messages.finish());
        let [key, id, object, fingerprint, model, choices, usage, trace, etag, api_key, principal, session, user] =
            columns.texts.map(|mut column| Arc::new(column.finish()) as ArrayRef);
        let (tags, duration) = (Arc::new(columns.tags.finish()), Arc::new(columns.duration.finish()));
        let first_token = Arc::new(columns.first_token.finish());
        let (stored, created) = (Arc::new(columns.stored.finish()), Arc::new(columns.created.finish()));
        let columns = vec![
            key,
            stored,
            id,
            object,
            fingerprint,
            model,
            created,
            messages,
            choices,
            usage,
            trace,
            etag,
            api_key,
            principal,
            session,
            user,
            tags,
            duration,
            first_token,
        ];
        RecordBatch::try_new(Arc::new(schema()), columns).expect("the builders have the types of the schema")
    }
}

/// Returns the seconds of a `created` that is a time between 1970 and 9999.
///
/// Any other number, such as one in nanoseconds, would make a reader's conversion to a date fail, and with it the whole
/// query. The column `trace` keeps it.
fn time(number: &RawValue) -> Option<i64> {
    let seconds = number.get().parse().ok()?;
    (0..=LAST_SECOND).contains(&seconds).then_some(seconds)
}
