//! Facts from the members of a trace: model, time, duration, tokens and outcome.

use jiff::Timestamp;

use super::{
    labels::LabelPlaces,
    otel::{self, Span, SpanAttributes},
    tokens::Tokens,
};
use crate::json::{Json, Members};

/// Members of a trace that may contain the details of its call.
const DETAILS: [&str; 8] = ["timing", "log", "litellm", "otel", "span", "response", "request", "metadata"];

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    pub model: String,
    pub created: String,
    pub api: Option<String>,
    /// The start of the call, in seconds since 1970, if it is known more exactly than `created`.
    pub start: Option<f64>,
    /// The duration of the call, in seconds.
    pub seconds: Option<f64>,
    /// The time until the first part of a streamed answer, in seconds.
    pub first_token: Option<f64>,
    pub tokens: Tokens,
    pub finish_reason: Option<String>,
    pub error: Option<String>,
    pub incomplete: Option<String>,
    pub is_refused: bool,
    pub session: Option<String>,
    /// The application's user.
    pub user: Option<String>,
    pub tags: Vec<String>,
    pub span: Option<Span>,
}

impl Header {
    pub fn read(trace: &Members) -> Self {
        let response = trace.object("response");
        let places = places(trace);
        let attributes = SpanAttributes::of(&places);
        let finish_reason = finish_reason(trace, response).or_else(|| otel::finish_reason(&attributes));
        let api = trace.string("api").filter(|api| !api.is_empty());
        let times = times(&places);
        let labels = LabelPlaces::new(trace, &places[1..], &attributes);
        Self {
            model: trace.get("model").map(Json::to_text).unwrap_or_default(),
            created: created(trace),
            api,
            start: times.map(|(start, _)| start),
            seconds: seconds(&places[1..])
                .or_else(|| times.map(|(start, end)| end - start).filter(|seconds| is_duration(*seconds)))
                .or_else(|| response_time(&places[1..])),
            first_token: first_token(&places[1..], &attributes),
            tokens: Tokens::read(trace.object("usage"), &attributes),
            is_refused: is_refused(trace, finish_reason.as_deref()),
            finish_reason,
            error: error(trace, response).or_else(|| otel::error(&places, &attributes)),
            incomplete: trace.filled("incomplete").map(Json::to_text),
            session: labels.session(),
            user: labels.user(),
            tags: labels.tags(),
            span: Span::read(&places),
        }
    }

    /// Returns whether the trace belongs to this session or OpenTelemetry trace.
    pub fn is_of_session(&self, session: &str) -> bool {
        let trace = self.span.as_ref().and_then(|span| span.trace.as_deref());
        self.session.as_deref() == Some(session) || trace == Some(session)
    }
}

/// Returns the trace, and its members that may contain details.
pub fn places(trace: &Members) -> Vec<&Members> {
    let otel = trace.object("otel");
    // An OTLP endpoint stores the span or log record next to its resource and scope.
    let recorded = ["resource", "span", "logRecord"].into_iter().map(|name| otel.object(name));
    let first = otel.list("logRecords").first().and_then(Json::as_object);
    let details = DETAILS.iter().map(|name| trace.object(name)).chain(recorded).chain(first);
    [trace].into_iter().chain(details.filter(|details| !details.is_empty())).collect()
}

fn created(trace: &Members) -> String {
    let created = trace.get("created").map(Json::to_text).unwrap_or_default();
    let time = created.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or(created, |time| time.to_string())
}

fn finish_reason(trace: &Members, response: &Members) -> Option<String> {
    let choice = trace.object("choices").iter().next().and_then(|(_, choice)| choice.as_object());
    let details = response.object("incomplete_details");
    choice
        .and_then(|choice| choice.string("finish_reason"))
        .or_else(|| response.first_string(&["stop_reason", "finish_reason"]))
        .or_else(|| details.string("reason"))
        .or_else(|| response.string("status"))
        .or_else(|| trace.first_string(&["finish_reason", "stop_reason"]))
        .or_else(|| {
            let last = last_message(trace)?;
            last.string("finish_reason").or_else(|| last.object("original").string("finish_reason"))
        })
}

fn last_message(trace: &Members) -> Option<&Members> {
    trace.list("messages").last()?.as_object()
}

/// Returns whether the model or the provider refused. Reads only the last message, because that is cheap.
fn is_refused(trace: &Members, finish_reason: Option<&str>) -> bool {
    if matches!(finish_reason, Some("content_filter" | "refusal")) {
        return true;
    }
    let Some(last) = last_message(trace) else { return false };
    let refuses = |message: &Members| {
        message.filled("refusal").is_some()
            || message
                .list("content")
                .iter()
                .any(|part| part.as_object().is_some_and(|part| part.filled("refusal").is_some()))
    };
    refuses(last)
        || refuses(last.object("original"))
        || last.list("original").iter().filter_map(Json::as_object).any(refuses)
}

fn error(trace: &Members, response: &Members) -> Option<String> {
    let litellm = trace.object("litellm");
    let failed = litellm.string("status").is_some_and(|status| status == "failure");
    let error = trace.filled("error").or_else(|| response.filled("error"));
    let error = error.or_else(|| litellm.filled("error_str").filter(|_| failed));
    error.map(Json::readable).or_else(|| failed.then(|| "failure".to_owned()))
}

/// Returns the duration of the call that one of these objects states, in seconds.
fn seconds(places: &[&Members]) -> Option<f64> {
    places.iter().find_map(|details| {
        let number = |names: &[&str]| names.iter().find_map(|name| details.get(name)?.as_f64());
        number(&["duration", "duration_s", "duration_seconds", "seconds", "latency"])
            .or_else(|| Some(number(&["duration_ms", "latency_ms", "ms", "_response_ms"])? / 1e3))
            .filter(|seconds| is_duration(*seconds))
    })
}

/// Returns LiteLLM's `response_time`. For a stream, it ends at the first part, so start and end take precedence.
fn response_time(places: &[&Members]) -> Option<f64> {
    let time = |place: &&Members| place.get("response_time")?.as_f64();
    places.iter().find_map(time).filter(|seconds| is_duration(*seconds))
}

fn first_token(places: &[&Members], attributes: &SpanAttributes<'_>) -> Option<f64> {
    let stated = || places.iter().find_map(|place| place.get("first_token")?.as_f64());
    let attribute = |name: &str| attributes.get(name).and_then(Json::as_f64);
    // LiteLLM sets `completionStartTime` to the end of the call if the answer was not streamed.
    let litellm = || {
        places.iter().find_map(|place| {
            let first = time(place, "completionStart")?;
            (first < time(place, "end")?).then_some(first - time(place, "start")?)
        })
    };
    let first = stated()
        .or_else(|| attribute("gen_ai.response.time_to_first_chunk"))
        .or_else(|| Some(attribute("ai.response.msToFirstChunk")? / 1e3))
        .or_else(litellm);
    first.filter(|seconds| is_duration(*seconds))
}

fn is_duration(seconds: f64) -> bool {
    (0.0..1e7).contains(&seconds)
}

/// Returns the start and the end of the call, in seconds since 1970.
fn times(places: &[&Members]) -> Option<(f64, f64)> {
    places.iter().find_map(|details| Some((time(details, "start")?, time(details, "end")?)))
}

/// Returns the start or the end. OTLP writes nanoseconds as a string, LiteLLM writes seconds, and SDKs write RFC 3339.
fn time(details: &Members, edge: &str) -> Option<f64> {
    let first = |names: [String; 2]| names.iter().find_map(|name| details.get(name));
    if let Some(nanoseconds) = first([format!("{edge}TimeUnixNano"), format!("{edge}_time_unix_nano")]) {
        return Some(nanoseconds.to_text().parse::<f64>().ok()? / 1e9);
    }
    let time = first([format!("{edge}Time"), format!("{edge}_time")])?;
    let written = || Some(time.as_str()?.parse::<Timestamp>().ok()?.as_duration().as_secs_f64());
    time.as_f64().or_else(written).filter(|time| time.is_finite())
}
