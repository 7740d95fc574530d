//! The messages of an example. They are the trace's messages, with the calls, results and images of the provider's form.

use std::collections::{HashSet, VecDeque};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    json::{Members, list, members, text},
    parts::{self, Part},
    refusal::Refusal,
    role::Role,
    tools::{self, Call, CalledFunction},
};

/// A message in OpenAI's format, which accepts no other members.
#[derive(Serialize)]
pub struct Message<'a> {
    pub role: Role,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<CalledFunction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a RawValue>,
    /// Whether to train on a message of the assistant: 0 or 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a RawValue),
    Parts(Vec<Part<'a>>),
    Null,
}

/// Converts the messages of a trace. `is_mapped` tells whether the trace was made by the mapping of docs/mapping.md.
pub fn convert<'a>(messages: &[Members<'a>], is_mapped: bool) -> Result<Vec<Message<'a>>, Refusal> {
    let mut blocks = VecDeque::new();
    let messages = messages
        .iter()
        .map(|message| convert_message(message, is_mapped, &mut blocks))
        .collect::<Result<Vec<_>, _>>()?;
    check_calls(&messages)?;
    Ok(messages)
}

/// Converts a message. `blocks` holds the content of the next messages that were split from one message.
fn convert_message<'a>(
    message: &Members<'a>,
    is_mapped: bool,
    blocks: &mut VecDeque<Vec<&'a RawValue>>,
) -> Result<Message<'a>, Refusal> {
    let role = Role::of(message);
    let parts = provider_parts(message, is_mapped, blocks)?;
    let parts = parts::convert(&parts, role)?;
    let member = |name: &str| message.get(name).copied().filter(|value| value.get() != "null");
    let is_assistant = role == Role::Assistant;
    if is_assistant && member("audio").is_some() {
        return Err(Refusal::Audio);
    }
    let string = |name: &str| member(name).filter(|value| value.get().starts_with('"'));
    let content = string("content").ok_or(Refusal::UnknownContent)?;
    let mut made = Message {
        role,
        content: if parts.iter().any(Part::is_image) { Content::Parts(parts) } else { Content::Text(content) },
        name: string("name").filter(|_| role != Role::Tool),
        refusal: string("refusal").filter(|_| is_assistant),
        tool_calls: Vec::new(),
        function_call: None,
        tool_call_id: string("tool_call_id").filter(|_| role == Role::Tool),
        weight: member("weight").filter(|weight| is_assistant && matches!(weight.get(), "0" | "1")),
    };
    if is_assistant {
        made.tool_calls = member("tool_calls").map_or(Ok(Vec::new()), tools::calls)?;
        made.function_call = member("function_call").map_or(Ok(None), tools::function_call)?;
        if content.get() == r#""""# {
            if made.tool_calls.is_empty() && made.function_call.is_none() && made.refusal.is_none() {
                return Err(Refusal::EmptyAssistant);
            }
            made.content = Content::Null;
        }
    }
    Ok(made)
}

/// Returns the provider's content parts of a message, or an empty list if its content was a string.
fn provider_parts<'a>(
    message: &Members<'a>,
    is_mapped: bool,
    blocks: &mut VecDeque<Vec<&'a RawValue>>,
) -> Result<Vec<&'a RawValue>, Refusal> {
    let Some(original) = message.get("original") else { return Ok(Vec::new()) };
    if let Some(original) = members(original) {
        let is_own = original.keys().any(|name| !["role", "content", "original"].contains(&name.as_str()));
        let content = original.get("content").filter(|_| !is_own); // an application may use the same name
        return Ok(content.and_then(|content| list(content)).unwrap_or_default());
    }
    let Some(items) = list(original).filter(|_| is_mapped) else { return Ok(Vec::new()) };
    if message.contains_key("member") {
        return Ok(items); // the blocks of a prompt
    }
    if items.is_empty() {
        return Ok(blocks.pop_front().unwrap_or_default());
    }
    let mut found = Vec::new();
    for item in &items {
        let item = members(item).ok_or(Refusal::UnknownContent)?;
        let kind = text(&item, "type").filter(|kind| kind != "message");
        let content = match kind.as_deref() {
            None => item.get("content"),
            Some("reasoning" | "function_call") => None,
            Some("function_call_output") => item.get("output"),
            Some("item_reference" | "compaction") => return Err(Refusal::StoredMessages),
            Some(other) => return Err(parts::refusal_of(other)),
        };
        found.extend(content.and_then(|content| list(content)).unwrap_or_default());
    }
    // Each result of Anthropic's tools became a separate message, and so did the blocks between them.
    blocks.clear();
    blocks.extend(split(found));
    Ok(blocks.pop_front().unwrap_or_default())
}

/// Splits blocks at each result of a tool.
fn split(blocks: Vec<&RawValue>) -> Vec<Vec<&RawValue>> {
    let mut segments: Vec<Vec<&RawValue>> = Vec::new();
    let mut after_result = true;
    for block in blocks {
        let is_result = members(block).is_some_and(|block| text(&block, "type").as_deref() == Some("tool_result"));
        if is_result || after_result {
            segments.push(Vec::new());
        }
        segments.last_mut().expect("the first block starts a segment").push(block);
        after_result = is_result;
    }
    segments
}

/// Checks that the results of all calls follow them, as Chat Completions requires. The calls of the last message have no
/// results yet.
fn check_calls(messages: &[Message<'_>]) -> Result<(), Refusal> {
    let mut open: HashSet<String> = HashSet::new();
    for message in messages {
        if let Some(id) = message.tool_call_id {
            let id = serde_json::from_str::<String>(id.get()).map_err(|_| Refusal::UnknownContent)?;
            if !open.remove(&id) {
                return Err(Refusal::UnmatchedCalls);
            }
        } else if !open.is_empty() {
            return Err(Refusal::UnmatchedCalls);
        }
        open.extend(message.tool_calls.iter().map(|call| call.id.clone()));
    }
    let is_answer = messages.last().is_some_and(|last| last.role == Role::Assistant);
    if open.is_empty() || is_answer { Ok(()) } else { Err(Refusal::UnmatchedCalls) }
}
