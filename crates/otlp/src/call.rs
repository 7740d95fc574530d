//! A model call, as a span or log records describe it → a stored trace.

use attest::{problem::Problem, trace::Trace};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    attributes::Attributes,
    conventions::{CallMessages, openinference, usage},
};

/// The value of `api` (`docs/mapping.md`).
const API: &str = "otel";

/// The value of `object` in a trace that is not a call with messages: a call without content, or another step.
///
/// A query that counts calls by `chat.trace` therefore counts none of them twice.
const SPAN_OBJECT: &str = "otel.span";

/// The value of `model` if the span names none, as for the clients.
const UNKNOWN: &str = "unknown";

/// The number of hexadecimal digits of a hash in an id. 64 bits distinguish the few contents that share a span.
const HASH_DIGITS: usize = 16;

#[derive(Debug)]
pub struct Draft {
    /// All members but `id`, as JSON text.
    members: String,
    id: String,
    /// The number of spans or log records in it.
    weight: usize,
}

/// The members of a trace before they are printed.
pub struct CallMembers<'a> {
    pub attributes: &'a Attributes<'a>,
    pub conversation: CallMessages,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// The span, the record or the records, with their resource and scope.
    pub otel: Value,
    /// `status` of a span.
    pub status: Option<&'a Value>,
    /// The call's own request or response, if it was logged whole.
    pub body: Option<(&'static str, Value)>,
    /// Whether another trace describes the whole call, so that no query must count this one.
    pub is_repeated: bool,
}

/// The source of a trace's id.
pub enum Id {
    /// A span's ids, `TRACEID-SPANID`. They name a span everywhere.
    Span(String),
    /// A log record has no name. A hash of its content follows the ids of its span, if it has one.
    Content(Option<String>),
}

impl Draft {
    #[must_use]
    pub fn new(id: Id, members: CallMembers<'_>) -> Self {
        let members = Value::Object(members.into_trace()).to_string();
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

    /// Returns the trace under its fallback id. It is needed if a trace with other content has the id.
    pub fn renamed(&self) -> Result<Trace, Problem> {
        self.named(&format!("{}-{}", self.id, hash(&self.members)))
    }

    fn named(&self, id: &str) -> Result<Trace, Problem> {
        let json = format!("{{\"id\":{},{}", Value::from(id), &self.members[1..]);
        Trace::parse(json.into_bytes(), String::new)
    }
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))[..HASH_DIGITS].to_owned()
}

impl CallMembers<'_> {
    /// Returns the members in the order of `docs/mapping.md`, without `id`.
    fn into_trace(self) -> Map<String, Value> {
        let Self { attributes, conversation, time, otel, status, body, is_repeated } = self;
        let response = openinference::response(attributes);
        let mut trace = Map::new();
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                trace.insert(name.to_owned(), value);
            }
        };
        let CallMessages { request, answer, choices, is_cut } = conversation;
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
        add("otel", Some(otel));
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

/// Returns a list as an object with the indexes as names.
fn indexed(items: Vec<Value>) -> Value {
    Value::Object(items.into_iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect())
}

fn usage_of(attributes: &Attributes<'_>, body: Option<&(&'static str, Value)>) -> Option<Value> {
    usage::read(attributes).or_else(|| body.map(|(_, body)| body["usage"].clone()).filter(Value::is_object))
}

/// Returns the request's other members, from the attributes of several conventions or from a body that was logged
/// whole.
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

/// Returns the error of a span whose status is `STATUS_CODE_ERROR`, or of a record with `error.type`.
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
