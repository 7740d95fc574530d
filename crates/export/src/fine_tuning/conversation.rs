//! Converts a trace's messages into those of an example, with the calls, results and images from the provider's form.

use std::collections::{HashSet, VecDeque};

use attest_mapping::{
    json::{Json, Members},
    rebuild::{Original, original, segments},
};
use serde::Serialize;

use super::{
    parts::{self, ExamplePart},
    refusal::NoExample,
    role::Role,
    tools::{self, CalledFunction, FunctionCall, present},
};

/// A message in OpenAI's format, which accepts no other members.
#[derive(Serialize)]
pub struct ExampleMessage<'a> {
    pub role: Role,
    content: ExampleContent<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<FunctionCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<CalledFunction<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    /// Whether to train on an assistant message: 0 or 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<&'a Json>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ExampleContent<'a> {
    Text(&'a str),
    Parts(Vec<ExamplePart<'a>>),
    Null,
}

/// Converts the messages of a trace. `is_mapped` states whether the mapping of `docs/mapping.md` produced the trace.
pub fn convert<'a>(messages: &[&'a Members], is_mapped: bool) -> Result<Vec<ExampleMessage<'a>>, NoExample> {
    let mut blocks = VecDeque::new();
    let messages = messages
        .iter()
        .map(|message| convert_message(message, is_mapped, &mut blocks))
        .collect::<Result<Vec<_>, _>>()?;
    check_calls(&messages)?;
    Ok(messages)
}

/// Converts a message. If the mapping split one message into several, `blocks` contains the content of those that
/// follow.
fn convert_message<'a>(
    message: &'a Members,
    is_mapped: bool,
    blocks: &mut VecDeque<Vec<&'a Json>>,
) -> Result<ExampleMessage<'a>, NoExample> {
    let role = Role::of(message);
    let parts = provider_parts(message, is_mapped, blocks)?;
    let parts = parts::convert(&parts, role)?;
    let member = |name: &str| present(message, name);
    let is_assistant = role == Role::Assistant;
    if is_assistant && member("audio").is_some() {
        return Err(NoExample::Audio);
    }
    let string = |name: &str| message.text(name);
    let content = string("content").ok_or(NoExample::UnknownContent)?;
    let mut made = ExampleMessage {
        role,
        content: if parts.iter().any(ExamplePart::is_image) {
            ExampleContent::Parts(parts)
        } else {
            ExampleContent::Text(content)
        },
        name: string("name").filter(|_| role != Role::Tool).map(checked_name).transpose()?,
        refusal: string("refusal").filter(|_| is_assistant),
        tool_calls: Vec::new(),
        function_call: None,
        tool_call_id: string("tool_call_id").filter(|_| role == Role::Tool),
        weight: member("weight").filter(|weight| {
            is_assistant && matches!(weight, Json::Number(number) if matches!(number.get(), "0" | "1"))
        }),
    };
    if is_assistant {
        made.tool_calls = member("tool_calls").map_or(Ok(Vec::new()), tools::calls)?;
        made.function_call = member("function_call").map(tools::called_function).transpose()?;
        if content.is_empty() {
            if made.tool_calls.is_empty() && made.function_call.is_none() && made.refusal.is_none() {
                return Err(NoExample::EmptyAssistant);
            }
            made.content = ExampleContent::Null;
        }
    }
    Ok(made)
}

/// The maximum length of a message name, in characters (OpenAI's API reference).
const MAX_NAME: usize = 64;

/// Checks a message name against the pattern in OpenAI's API, `^[^\s<|\\/>]+$`.
fn checked_name(name: &str) -> Result<&str, NoExample> {
    let is_valid = !name.contains(|char: char| char.is_whitespace() || "<|\\/>".contains(char));
    let is_short = (1..=MAX_NAME).contains(&name.chars().count());
    if is_short && is_valid { Ok(name) } else { Err(NoExample::MessageName) }
}

/// Returns the provider's content parts of a message, or an empty list if its content was a string.
fn provider_parts<'a>(
    message: &'a Members,
    is_mapped: bool,
    blocks: &mut VecDeque<Vec<&'a Json>>,
) -> Result<Vec<&'a Json>, NoExample> {
    let items = match original(message) {
        Original::Message(_) => {
            let original = message.object("original");
            let is_own = original.iter().any(|(name, _)| !["role", "content", "original"].contains(&name));
            let content = if is_own { &[] } else { original.list("content") }; // an application may also use this name
            return Ok(content.iter().collect());
        }
        _ if !is_mapped => return Ok(Vec::new()),
        Original::Prompt { value, .. } => return Ok(value.as_list().unwrap_or_default().iter().collect()),
        Original::Items([]) => return Ok(blocks.pop_front().unwrap_or_default()),
        Original::Items(items) => items,
    };
    let mut found = Vec::new();
    for item in items {
        let item = item.as_object().ok_or(NoExample::UnknownContent)?;
        found.extend(match item.text("type").filter(|kind| *kind != "message") {
            None => item.list("content"),
            Some("reasoning" | "function_call") => &[],
            Some("function_call_output") => item.list("output"),
            Some("item_reference" | "compaction") => return Err(NoExample::StoredMessages),
            Some(other) => return Err(parts::refusal_of(other)),
        });
    }
    // The mapping made a separate message of each Anthropic tool result, and of each run of blocks between them.
    blocks.clear();
    blocks.extend(segments(&found).map(<[_]>::to_vec));
    Ok(blocks.pop_front().unwrap_or_default())
}

/// Checks that every call is followed by its result, as Chat Completions requires. The calls in the last message have
/// no results yet.
fn check_calls(messages: &[ExampleMessage<'_>]) -> Result<(), NoExample> {
    let mut open: HashSet<&str> = HashSet::new();
    for message in messages {
        if let Some(id) = message.tool_call_id {
            if !open.remove(id) {
                return Err(NoExample::UnmatchedCalls);
            }
        } else if !open.is_empty() {
            return Err(NoExample::UnmatchedCalls);
        }
        open.extend(message.tool_calls.iter().map(|call| call.id));
    }
    let is_answer = messages.last().is_some_and(|last| last.role == Role::Assistant);
    if open.is_empty() || is_answer { Ok(()) } else { Err(NoExample::UnmatchedCalls) }
}
