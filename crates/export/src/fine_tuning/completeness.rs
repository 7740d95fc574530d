//! Whether an answer is complete, according to the provider.
//!
//! A limit or a filter may cut an answer off, even within the arguments of a call. A model that is trained on such an
//! answer learns to stop there.

use attest_mapping::json::{Json, Members};

/// The values of `finish_reason` (Chat Completions, and the servers that implement it) and of `stop_reason` (Messages
/// API) after which nothing is missing.
const FINISHED: [&str; 8] =
    ["stop", "tool_calls", "function_call", "eos", "eos_token", "end_turn", "tool_use", "stop_sequence"];

/// The `status` of a complete response (Responses API).
const COMPLETED: &str = "completed";

/// The `status` of an output item that the provider has not completed (Responses API).
const UNFINISHED_ITEM: [&str; 2] = ["incomplete", "in_progress"];

/// How an answer ended, according to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerEnd {
    /// The answer is complete, or the trace does not say how the provider ended it.
    Complete,
    /// The provider gives no reason, although its API has a member for it.
    Unknown,
    Incomplete,
}

pub fn end_of(trace: &Members, messages: &[&Members]) -> AnswerEnd {
    if is_set(trace.get("incomplete")) || is_set(trace.get("error")) {
        return AnswerEnd::Incomplete;
    }
    let response = trace.object("response");
    let api = trace.text("api");
    let is_responses = api == Some("openai-responses") || response.text("object") == Some("response");
    let is_anthropic = api == Some("anthropic") || response.text("type") == Some("message");
    let choices = trace.object("choices").iter().filter_map(|(_, choice)| choice.as_object());
    let mut ends: Vec<AnswerEnd> = choices.filter_map(|choice| finished(choice.get("finish_reason"))).collect();
    match api {
        // Another program wrote the trace, and may have stored the reason next to the messages.
        None => ends.extend(["finish_reason", "stop_reason"].iter().filter_map(|name| finished(trace.get(name)))),
        Some(_) if is_responses => {
            ends.extend(status(response));
            ends.extend(messages.iter().filter(|message| has_unfinished_item(message)).map(|_| AnswerEnd::Incomplete));
        }
        Some(_) if is_anthropic => ends.extend(finished(response.get("stop_reason"))),
        Some(_) => {}
    }
    [AnswerEnd::Incomplete, AnswerEnd::Unknown]
        .into_iter()
        .find(|end| ends.contains(end))
        .unwrap_or(AnswerEnd::Complete)
}

fn finished(reason: Option<&Json>) -> Option<AnswerEnd> {
    Some(match reason? {
        Json::Null => AnswerEnd::Unknown,
        Json::String(reason) if FINISHED.iter().any(|finished| reason.eq_ignore_ascii_case(finished)) => {
            AnswerEnd::Complete
        }
        _ => AnswerEnd::Incomplete,
    })
}

fn status(response: &Members) -> Option<AnswerEnd> {
    if is_set(response.get("incomplete_details")) || is_set(response.get("error")) {
        return Some(AnswerEnd::Incomplete);
    }
    Some(match response.get("status")? {
        Json::Null => AnswerEnd::Unknown,
        Json::String(status) if status == COMPLETED => AnswerEnd::Complete,
        _ => AnswerEnd::Incomplete,
    })
}

fn has_unfinished_item(message: &Members) -> bool {
    let items = match message.get("original") {
        Some(Json::Array(items)) => items,
        Some(item) => std::slice::from_ref(item),
        None => &[],
    };
    let is_unfinished = |item: &Members| item.text("status").is_some_and(|status| UNFINISHED_ITEM.contains(&status));
    is_unfinished(message) || items.iter().filter_map(Json::as_object).any(is_unfinished)
}

/// Returns whether a member is set. Some programs write `false` or an empty value instead of omitting it.
fn is_set(value: Option<&Json>) -> bool {
    value.is_some_and(|value| !value.is_empty() && !matches!(value, Json::Bool(false)))
}
