//! Converts a request into the traces to store, and counts what is not stored.

use std::{collections::HashMap, rc::Rc};

use serde_json::Value;

use crate::{
    attributes::Attributes,
    call::{CallMembers, Draft, Id},
    conventions::{self, CallMessages, Kind, claude_code, events, gemini_cli},
    wire::Signal,
};

/// The calls of a request, and the counts of everything else.
#[derive(Debug, Default)]
pub struct Batch {
    pub received: usize,
    /// The number of spans or records that are not stored because they repeat another one or are not model calls.
    pub skipped: usize,
    /// Why each span or log record that can never be stored was rejected.
    pub rejected: Vec<&'static str>,
    pub drafts: Vec<Draft>,
    /// The number of bytes left for further traces.
    room: usize,
}

/// The traces of a request exceed its size limit.
///
/// Each trace repeats its resource and scope, so a large resource with many small spans would exhaust the memory.
#[derive(Debug)]
pub struct Expanded;

/// The spans that become traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spans {
    /// Model calls.
    #[default]
    Calls,
    /// Model calls, and agents, tools and other steps as traces without messages.
    All,
}

impl Spans {
    /// Parses the setting `OTEL_SPANS`: `calls`, which is the default, or `all`.
    pub fn read(setting: Option<&str>) -> Result<Self, &'static str> {
        match setting {
            None | Some("" | "calls") => Ok(Self::Calls),
            Some("all") => Ok(Self::All),
            Some(_) => Err("OTEL_SPANS is neither `calls` nor `all`"),
        }
    }
}

/// A span or a log record with its resource and scope, all in OTLP's JSON encoding.
struct BatchEntry<'v> {
    scope: &'v Value,
    value: &'v Value,
    /// The members of `otel` that entries share, as JSON with a comma after each. A large resource is serialized only
    /// once, not for each of its spans.
    of_group: Rc<str>,
    of_scope: Rc<str>,
}

/// A signal's member names, from the outermost list to the innermost.
struct Names(&'static str, &'static str, &'static str);

const SPANS: Names = Names("resourceSpans", "scopeSpans", "spans");
const RECORDS: Names = Names("resourceLogs", "scopeLogs", "logRecords");

/// The reason why a span is rejected. All-zero ids are invalid (W3C Trace Context, section 3.2.2).
const NO_IDS: &str = "the span has no valid trace id and span id";

impl Batch {
    /// Reads a decoded request, whose traces may have `room` bytes in total.
    pub fn read(signal: Signal, request: &Value, spans: Spans, room: usize) -> Result<Self, Expanded> {
        let batch = Self { room, ..Self::default() };
        match signal {
            Signal::Traces => batch.of_spans(&entries(request, &SPANS), spans),
            Signal::Logs => batch.of_records(&entries(request, &RECORDS)),
        }
    }

    fn add(&mut self, draft: Draft) -> Result<(), Expanded> {
        self.room = self.room.checked_sub(draft.bytes()).ok_or(Expanded)?;
        self.drafts.push(draft);
        Ok(())
    }

    fn of_spans(mut self, entries: &[BatchEntry<'_>], spans: Spans) -> Result<Self, Expanded> {
        self.received = entries.len();
        let read: Vec<_> = entries
            .iter()
            .map(|entry| {
                let attributes = Attributes::of(entry.value);
                let kind = conventions::kind(&attributes);
                let conversation = match kind {
                    Kind::Call => conventions::conversation(entry.scope_name(), &attributes),
                    Kind::Step | Kind::Other => CallMessages::default(),
                };
                (entry, attributes, kind, conversation)
            })
            .collect();
        let with_content: Vec<_> = read.iter().filter(|(.., conversation)| !conversation.is_empty()).collect();
        let mut answered: HashMap<&str, Vec<(u64, u64)>> = HashMap::new();
        for (entry, attributes, ..) in with_content {
            if let Some(response) = attributes.text("gen_ai.response.id") {
                answered.entry(response).or_default().push(times(entry.value));
            }
        }
        let is_repeated: Vec<bool> = read
            .iter()
            .map(|(entry, attributes, _, conversation)| {
                let (start, end) = times(entry.value);
                let others = attributes.text("gen_ai.response.id").and_then(|response| answered.get(response));
                // Compare only the first few calls with this response, so that the time stays linear.
                conversation.is_empty()
                    && others.is_some_and(|all| all.iter().take(64).any(|(from, to)| start <= *to && *from <= end))
            })
            .collect();
        for ((entry, attributes, kind, mut conversation), is_repeated) in read.into_iter().zip(is_repeated) {
            let is_stored = match kind {
                Kind::Call => !is_repeated,
                Kind::Step => spans == Spans::All,
                Kind::Other => false,
            };
            if !is_stored {
                self.skipped += 1;
                continue;
            }
            let Some(id) = ids(entry.value) else {
                self.rejected.push(NO_IDS);
                continue;
            };
            let (start, end) = times(entry.value);
            conversation.is_cut |= has_lost_attributes(entry.value);
            let members = CallMembers {
                attributes: &attributes,
                conversation,
                time: if start == 0 { end } else { start },
                otel: entry.otel("span", &entry.value.to_string()),
                status: Some(&entry.value["status"]),
                body: None,
                is_repeated: false,
            };
            self.add(Draft::new(Id::Span(id), members))?;
        }
        Ok(self)
    }

    fn of_records(mut self, entries: &[BatchEntry<'_>]) -> Result<Self, Expanded> {
        self.received = entries.len();
        // Records with one message each, grouped by span, in the order of the spans' first records.
        let mut messages: Vec<Vec<&BatchEntry<'_>>> = Vec::new();
        let mut place_of: HashMap<String, usize> = HashMap::new();
        for entry in entries {
            let attributes = Attributes::of(entry.value);
            let name = events::name(entry.value, &attributes);
            match events::kind(name) {
                events::EventKind::Other => self.skipped += 1,
                events::EventKind::Call => self.add(entry.call(&attributes))?,
                // With `OTEL_LOG_RAW_API_BODIES=file:…`, the body is in a file on the application's computer.
                events::EventKind::ClaudeCode if attributes.text(claude_code::BODY).is_none() => self.skipped += 1,
                events::EventKind::ClaudeCode => self.add(entry.body(name, &attributes))?,
                events::EventKind::Message => match ids(entry.value) {
                    None => messages.push(vec![entry]),
                    Some(id) => {
                        let place = *place_of.entry(id).or_insert_with(|| {
                            messages.push(Vec::new());
                            messages.len() - 1
                        });
                        messages[place].push(entry);
                    }
                },
            }
        }
        for records in messages {
            self.add(joined(&records))?;
        }
        Ok(self)
    }
}

impl BatchEntry<'_> {
    fn scope_name(&self) -> &str {
        self.scope["scope"]["name"].as_str().unwrap_or_default()
    }

    /// Returns the member `otel` of a trace as JSON.
    fn otel(&self, name: &str, json: &str) -> String {
        format!("{{{}{}\"{name}\":{json}}}", self.of_group, self.of_scope)
    }

    /// Drafts the trace for a record that describes a whole call.
    fn call(&self, attributes: &Attributes<'_>) -> Draft {
        let mut members = self.members(attributes, conventions::conversation(self.scope_name(), attributes));
        members.is_repeated = gemini_cli::is_request(self.scope_name(), attributes);
        Draft::new(Id::Content(ids(self.value)), members)
    }

    /// Drafts the trace for a body that Claude Code has logged.
    fn body(&self, name: &str, attributes: &Attributes<'_>) -> Draft {
        let body = claude_code::read(name, attributes);
        let side = if body.is_request { "request" } else { "response" };
        let mut members = self.members(attributes, body.conversation);
        members.body = body.json.map(|json| (side, json));
        Draft::new(Id::Content(ids(self.value)), members)
    }

    /// Returns the members of a record's trace.
    fn members<'a>(&self, attributes: &'a Attributes<'a>, mut conversation: CallMessages) -> CallMembers<'a> {
        conversation.is_cut |= has_lost_attributes(self.value);
        CallMembers {
            attributes,
            conversation,
            time: record_time(self.value),
            otel: self.otel("logRecord", &self.value.to_string()),
            status: None,
            body: None,
            is_repeated: false,
        }
    }
}

/// Drafts one trace for a span's records, each of which contains one message.
fn joined(records: &[&BatchEntry<'_>]) -> Draft {
    let values: Vec<&Value> = records.iter().map(|entry| entry.value).collect();
    let first = records[0];
    let attributes = Attributes::of(first.value);
    let mut conversation = events::conversation(&values);
    conversation.is_cut |= values.iter().any(|value| has_lost_attributes(value));
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    let members = CallMembers {
        attributes: &attributes,
        conversation,
        time: record_time(first.value),
        otel: first.otel("logRecords", &format!("[{}]", texts.join(","))),
        status: None,
        body: None,
        is_repeated: false,
    };
    Draft::new(Id::Content(ids(first.value)), members).made_of(records.len())
}

fn entries<'v>(request: &'v Value, Names(groups, scopes, values): &Names) -> Vec<BatchEntry<'v>> {
    let list = |value: &'v Value, name: &str| value[name].as_array().into_iter().flatten();
    let mut entries = Vec::new();
    for group in list(request, groups) {
        let of_group = shared(&[("resource", &group["resource"]), ("resourceSchemaUrl", &group["schemaUrl"])]);
        for scope in list(group, scopes) {
            let of_scope = shared(&[("scope", &scope["scope"]), ("scopeSchemaUrl", &scope["schemaUrl"])]);
            entries.extend(list(scope, values).map(|value| BatchEntry {
                scope,
                value,
                of_group: Rc::clone(&of_group),
                of_scope: Rc::clone(&of_scope),
            }));
        }
    }
    entries
}

/// Serializes those members that are not null, with a comma after each.
fn shared(members: &[(&str, &Value)]) -> Rc<str> {
    let present = members.iter().filter(|(_, value)| !value.is_null());
    present.map(|(name, value)| format!("\"{name}\":{value},")).collect::<Vec<_>>().concat().into()
}

/// Returns whether an SDK has dropped attributes. Some conventions need one attribute per message member.
fn has_lost_attributes(value: &Value) -> bool {
    value["droppedAttributesCount"].as_u64() > Some(0)
}

/// Returns `TRACEID-SPANID` if both ids are valid.
fn ids(value: &Value) -> Option<String> {
    let id = |name: &str, digits: usize| {
        value[name].as_str().filter(|id| id.len() == digits && id.bytes().any(|digit| digit != b'0'))
    };
    Some(format!("{}-{}", id("traceId", 32)?, id("spanId", 16)?))
}

/// Returns the start and the end of a span, in nanoseconds since 1970.
fn times(span: &Value) -> (u64, u64) {
    (nanoseconds(&span["startTimeUnixNano"]), nanoseconds(&span["endTimeUnixNano"]))
}

fn record_time(record: &Value) -> u64 {
    match nanoseconds(&record["timeUnixNano"]) {
        0 => nanoseconds(&record["observedTimeUnixNano"]),
        time => time,
    }
}

/// Parses a time. OTLP's JSON encoding writes 64-bit integers as strings.
fn nanoseconds(time: &Value) -> u64 {
    time.as_str().and_then(|time| time.parse().ok()).unwrap_or(0)
}
