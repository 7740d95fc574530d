//! Converts a model call, described by a span or by log records, into a stored trace.

use attest::{
    problem::Problem,
    trace::{MAX_BYTES, Trace},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    attributes::Attributes,
    conventions::{CallMessages, openinference, usage},
};

/// The value of `api` (`docs/mapping.md`).
const API: &str = "otel";

/// The value of `object` in a trace that is not a call with messages, but a call without content or another step.
///
/// A query that counts calls by `chat.trace` therefore does not count any call twice.
const SPAN_OBJECT: &str = "otel.span";

/// The value of `model` if the span has none. The clients use the same value.
const UNKNOWN: &str = "unknown";

/// The attribute with which Anthropic's API and SDKs mark a span whose content they have truncated. The remaining JSON
/// is valid.
const CUT: &str = "anthropic.content.truncated";

/// Room for the members that a draft lacks: the id, `object`, and the model as `system_fingerprint`. A key has at most
/// 1,024 bytes, which may be escaped.
const ADDED_BYTES: usize = 16 * 1024;

/// The number of hexadecimal digits of a hash in an id. 64 bits distinguish the few contents that share a span.
const HASH_DIGITS: usize = 16;

#[derive(Debug)]
pub struct Draft {
    /// All members except `id`, as a JSON object.
    members: String,
    id: String,
    /// The number of spans or log records in the trace.
    weight: usize,
}

/// The contents of a trace before serialization.
pub struct CallMembers<'a> {
    pub attributes: &'a Attributes<'a>,
    pub conversation: CallMessages,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// The span, record or records, with their resource and scope, as JSON.
    pub otel: String,
    /// The `status` of a span.
    pub status: Option<&'a Value>,
    /// The call's raw request or response, if it was logged completely.
    pub body: Option<(&'static str, Value)>,
    /// Whether another trace describes the whole call, so that queries must not count this one.
    pub is_repeated: bool,
}

/// The source of a trace's id.
pub enum Id {
    /// A span's ids, `TRACEID-SPANID`, which are globally unique.
    Span(String),
    /// A log record has no id of its own. A hash of its content follows the ids of its span, if it has one.
    Content(Option<String>),
}

impl Draft {
    #[must_use]
    pub fn new(id: Id, mut members: CallMembers<'_>) -> Self {
        let otel = std::mem::take(&mut members.otel);
        let mut trace = members.into_trace();
        let mut members = with_otel(&trace, &otel);
        if members.len() > MAX_BYTES - ADDED_BYTES {
            remove_copies(&mut trace);
            members = with_otel(&trace, &otel);
        }
        let id = match id {
            Id::Span(id) => id,
            Id::Content(None) => hash(&members),
            Id::Content(Some(id)) => format!("{id}-{}", hash(&members)),
        };
        Self { members, id, weight: 1 }
    }

    #[must_use]
    pub fn made_of(self, weight: usize) -> Self {
        Self { weight, ..self }
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.members.len()
    }

    #[must_use]
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Returns the trace, or the reason why it can never be stored.
    pub fn trace(&self) -> Result<Trace, Problem> {
        self.named(&self.id)
    }

    /// Returns the trace with its fallback id, for use if a trace with other content has the id.
    pub fn renamed(&self) -> Result<Trace, Problem> {
        self.named(&format!("{}-{}", self.id, hash(&self.members)))
    }

    fn named(&self, id: &str) -> Result<Trace, Problem> {
        let json = format!("{{\"id\":{},{}", Value::from(id), &self.members[1..]);
        let trace = Trace::parse(json.into_bytes(), String::new)?;
        match trace.json.len() {
            size if size > MAX_BYTES => Err(Problem::TooLarge { limit: MAX_BYTES, size }),
            _ => Ok(trace),
        }
    }
}

/// Serializes a trace, and appends the member `otel`. The trace has at least a model.
fn with_otel(trace: &Map<String, Value>, otel: &str) -> String {
    let mut json = serde_json::to_string(trace).expect("a map with text keys is JSON");
    json.truncate(json.len() - 1);
    json + ",\"otel\":" + otel + "}"
}

/// Removes what the span also contains. The page reads the messages from the span if the trace has none.
///
/// Tools that read a bucket do not read a larger object.
fn remove_copies(trace: &mut Map<String, Value>) {
    trace.retain(|name, _| !["choices", "request"].contains(&name.as_str()));
    trace.insert("messages".to_owned(), Value::Array(Vec::new()));
    trace.insert("object".to_owned(), SPAN_OBJECT.into());
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))[..HASH_DIGITS].to_owned()
}

impl CallMembers<'_> {
    /// Returns the members in the order of `docs/mapping.md`, without `id` and `otel`.
    fn into_trace(self) -> Map<String, Value> {
        let Self { attributes, conversation, time, status, body, is_repeated, otel: _ } = self;
        let response = openinference::response(attributes);
        let mut trace = Map::new();
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                trace.insert(name.to_owned(), value);
            }
        };
        let CallMessages { request, answer, choices, is_cut } = conversation;
        let is_cut = is_cut || attributes.value(CUT).is_some_and(|is_cut| is_cut == true);
        let is_empty = request.is_empty() && answer.is_empty();
        add("object", (is_empty || is_repeated).then(|| SPAN_OBJECT.into()));
        add("model", Some(model(attributes, body.as_ref().map(|(_, body)| body)).into()));
        add("created", Some((time / 1_000_000_000).into()));
        add("system_fingerprint", fingerprint(attributes, response.as_ref()).map(Value::from));
        let request_messages = request.len();
        let messages: Value = request.into_iter().chain(answer).collect();
        add("messages", Some(messages));
        add("choices", (!choices.is_empty()).then(|| indexed(choices)));
        add("usage", usage_of(attributes, body.as_ref()));
        add("api", Some(API.into()));
        add("request_messages", Some(request_messages.into()));
        add("request", request_members(attributes, body.as_ref()));
        add("response", response_members(attributes, body.as_ref(), response.as_ref()));
        add("incomplete", is_cut.then(|| "truncated".into()));
        add("error", error(status, attributes));
        trace
    }
}

fn model(attributes: &Attributes<'_>, body: Option<&Value>) -> String {
    const NAMES: [&str; 7] = [
        "gen_ai.response.model",
        "ai.response.model",
        "llm.model_name",
        "gen_ai.request.model",
        "ai.model.id",
        "llm.request.model",
        "model",
    ];
    let of_body = || body.and_then(|body| body["model"].as_str()).filter(|model| !model.is_empty());
    attributes.first_text(&NAMES).or_else(of_body).unwrap_or(UNKNOWN).to_owned()
}

fn fingerprint(attributes: &Attributes<'_>, response: Option<&Value>) -> Option<String> {
    const NAMES: [&str; 4] = [
        "openai.response.system_fingerprint",
        "gen_ai.openai.response.system_fingerprint",
        "gen_ai.response.system_fingerprint",
        "gen_ai.system_fingerprint",
    ];
    let of_response = || response.and_then(|response| response["system_fingerprint"].as_str());
    attributes.first_text(&NAMES).or_else(of_response).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Converts a list to an object with the indexes as names.
fn indexed(items: Vec<Value>) -> Value {
    Value::Object(items.into_iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect())
}

fn usage_of(attributes: &Attributes<'_>, body: Option<&(&'static str, Value)>) -> Option<Value> {
    usage::read(attributes).or_else(|| body.map(|(_, body)| body["usage"].clone()).filter(Value::is_object))
}

/// Returns the request's other members, from the attributes of several conventions or from a raw body that was logged.
fn request_members(attributes: &Attributes<'_>, body: Option<&(&'static str, Value)>) -> Option<Value> {
    if let Some(("request", body)) = body {
        return other_members(body, &["messages", "system"]);
    }
    let mut request = openinference::parameters(attributes);
    if let Some(model) = attributes.first_text(&["gen_ai.request.model", "ai.model.id"]) {
        request.insert("model".to_owned(), model.into());
    }
    let tools = attributes.decoded("gen_ai.tool.definitions").or_else(|| openinference::tools(attributes));
    if let Some(tools) = tools {
        request.insert("tools".to_owned(), tools);
    }
    (!request.is_empty()).then_some(Value::Object(request))
}

fn response_members(
    attributes: &Attributes<'_>,
    body: Option<&(&'static str, Value)>,
    response: Option<&Value>,
) -> Option<Value> {
    if let Some(("response", body)) = body {
        return other_members(body, &["role", "content", "usage"]);
    }
    let of_response = || response.and_then(|response| response["id"].as_str());
    let id = attributes.first_text(&["gen_ai.response.id", "ai.response.id"]).or_else(of_response)?;
    Some(json!({"id": id}))
}

fn other_members(body: &Value, without: &[&str]) -> Option<Value> {
    let members = body.as_object()?.iter().filter(|(name, _)| !without.contains(&name.as_str()));
    let members: Map<String, Value> = members.map(|(name, value)| (name.clone(), value.clone())).collect();
    (!members.is_empty()).then_some(Value::Object(members))
}

/// Returns the error of a span with the status `STATUS_CODE_ERROR`, or of a record with `error.type`.
fn error(status: Option<&Value>, attributes: &Attributes<'_>) -> Option<Value> {
    let kind = attributes.text("error.type");
    let mut error = Map::new();
    if let Some(kind) = kind {
        error.insert("type".to_owned(), kind.into());
    }
    match status {
        Some(status) if status["code"] == 2 => {
            error.insert("message".to_owned(), status["message"].as_str().unwrap_or_default().into());
        }
        None if kind.is_some() => {}
        _ => return None,
    }
    Some(Value::Object(error))
}
