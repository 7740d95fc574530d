//! The facts of a trace that its members contain: model, time, duration, tokens and the way it ended.

use jiff::Timestamp;

use super::super::json::{Json, Members};

/// Members of a trace that may contain the details of its call.
const DETAILS: [&str; 6] = ["log", "litellm", "otel", "response", "request", "metadata"];

/// Members that name a session, the most specific first.
const SESSIONS: [&str; 8] = [
    "session_id",
    "conversation_id",
    "gen_ai.conversation.id",
    "session.id",
    "litellm_session_id",
    "thread_id",
    "trace_id",
    "traceId",
];

/// The tokens of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub total: Option<u64>,
}

/// The facts of one trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    pub model: String,
    pub created: String,
    pub api: Option<String>,
    pub seconds: Option<f64>,
    pub tokens: Tokens,
    pub finish_reason: Option<String>,
    pub error: Option<String>,
    pub incomplete: Option<String>,
    pub is_refused: bool,
    pub session: Option<String>,
}

impl Header {
    /// Reads the facts. None of them is required.
    pub fn read(trace: &Members<'_>) -> Self {
        let text = |name: &str| trace.get(name).map(Json::text).unwrap_or_default();
        let response = trace.object("response");
        let finish_reason = finish_reason(trace, &response);
        let api = trace.string("api").filter(|api| !api.is_empty());
        Self {
            model: text("model"),
            created: created(trace),
            api,
            seconds: seconds(trace),
            tokens: tokens(&trace.object("usage")),
            is_refused: is_refused(trace, finish_reason.as_deref()),
            finish_reason,
            error: error(trace, &response),
            incomplete: trace.filled("incomplete").map(Json::text),
            session: session(trace),
        }
    }
}

fn created(trace: &Members<'_>) -> String {
    let created = trace.get("created").map(Json::text).unwrap_or_default();
    let time = created.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or(created, |time| time.to_string())
}

fn tokens(usage: &Members<'_>) -> Tokens {
    let count = |names: &[&str]| names.iter().find_map(|name| usage.get(name)?.count());
    let input = count(&["prompt_tokens", "input_tokens", "gen_ai.usage.input_tokens"]);
    let output = count(&["completion_tokens", "output_tokens", "gen_ai.usage.output_tokens"]);
    let sum = || input.unwrap_or_default().checked_add(output.unwrap_or_default());
    let total = count(&["total_tokens"]).or_else(|| if input.or(output).is_some() { sum() } else { None });
    Tokens { input, output, total }
}

fn finish_reason(trace: &Members<'_>, response: &Members<'_>) -> Option<String> {
    let choice = trace.get("choices").and_then(Json::object).and_then(|choices| choices.iter().next()?.1.object());
    let details = response.object("incomplete_details");
    choice
        .and_then(|choice| choice.string("finish_reason"))
        .or_else(|| response.first_string(&["stop_reason", "finish_reason"]))
        .or_else(|| details.string("reason"))
        .or_else(|| response.string("status"))
        .or_else(|| trace.first_string(&["finish_reason", "stop_reason"]))
        .or_else(|| last_message(trace)?.string("finish_reason"))
}

fn last_message<'a>(trace: &Members<'a>) -> Option<Members<'a>> {
    trace.get("messages").and_then(Json::list)?.last()?.object()
}

/// Whether the model or the provider refused. It is read from the end of the trace only, so that it costs little.
fn is_refused(trace: &Members<'_>, finish_reason: Option<&str>) -> bool {
    if matches!(finish_reason, Some("content_filter" | "refusal")) {
        return true;
    }
    let Some(last) = last_message(trace) else { return false };
    let refuses = |message: &Members<'_>| {
        let parts = message.get("content").and_then(Json::list).unwrap_or_default();
        message.filled("refusal").is_some()
            || parts.iter().any(|part| part.object().is_some_and(|part| part.filled("refusal").is_some()))
    };
    let items = last.get("original").and_then(Json::list).unwrap_or_default();
    refuses(&last)
        || refuses(&last.object("original"))
        || items.iter().filter_map(|item| item.object()).any(|item| refuses(&item))
}

fn error(trace: &Members<'_>, response: &Members<'_>) -> Option<String> {
    let litellm = trace.object("litellm");
    let failed = litellm.string("status").is_some_and(|status| status == "failure");
    let error = trace.filled("error").or_else(|| response.filled("error"));
    let error = error.or_else(|| litellm.filled("error_str").filter(|_| failed));
    error.map(Json::readable).or_else(|| failed.then(|| "failure".to_owned()))
}

/// Returns the duration of the call, in seconds.
fn seconds(trace: &Members<'_>) -> Option<f64> {
    for name in DETAILS {
        let details = trace.object(name);
        let number = |names: &[&str]| names.iter().find_map(|name| details.get(name)?.number());
        let seconds = number(&["duration", "duration_s", "duration_seconds", "seconds", "latency", "response_time"])
            .or_else(|| Some(number(&["duration_ms", "latency_ms", "ms", "_response_ms"])? / 1e3))
            .or_else(|| Some(number(&["endTime", "end_time"])? - number(&["startTime", "start_time"])?))
            .or_else(|| Some((nanoseconds(&details, "end")? - nanoseconds(&details, "start")?) / 1e9));
        if let Some(seconds) = seconds.filter(|seconds| (0.0..1e7).contains(seconds)) {
            return Some(seconds);
        }
    }
    None
}

/// Returns a time of an OpenTelemetry span. OTLP writes 64-bit numbers as text.
fn nanoseconds(details: &Members<'_>, edge: &str) -> Option<f64> {
    let names = [format!("{edge}TimeUnixNano"), format!("{edge}_time_unix_nano")];
    names.iter().find_map(|name| details.get(name)?.text().parse().ok())
}

/// Returns the session that this trace belongs to.
fn session(trace: &Members<'_>) -> Option<String> {
    let find = |members: &Members<'_>| members.first_string(&SESSIONS).filter(|session| !session.is_empty());
    let nested = |name: &str| {
        let details = trace.object(name);
        find(&details).or_else(|| find(&details.object("metadata"))).or_else(|| find(&details.object("attributes")))
    };
    find(trace).or_else(|| DETAILS.iter().find_map(|name| nested(name)))
}
