//! Reverses the mapping of `docs/mapping.md`: converts a stored message to the provider's form, and a trace to the
//! provider's request.

use std::borrow::{Borrow, Cow};

use crate::json::{Json, Members};

/// The provider's form of a stored message.
#[derive(Debug)]
pub enum Original<'a> {
    Message(Cow<'a, Members>),
    /// Items from which the message was split or merged. An empty list means that the message continues the previous
    /// message's item.
    Items(&'a [Json]),
    /// A request member outside the message list.
    Prompt {
        member: &'a str,
        value: &'a Json,
    },
}

pub fn original(message: &Members) -> Original<'_> {
    match (message.text("member"), message.get("original")) {
        (_, Some(Json::Object(changed))) => {
            let mut original = message.clone();
            original.retain(|name, _| !matches!(name, "role" | "content" | "original"));
            for (name, value) in changed.iter() {
                original.set(name, value.clone());
            }
            Original::Message(Cow::Owned(original))
        }
        (Some(member), Some(value @ Json::Array(_))) => Original::Prompt { member, value },
        (None, Some(Json::Array(items))) => Original::Items(items),
        (Some(member), None) if message.contains("content") => {
            Original::Prompt { member, value: message.get("content").unwrap_or(&Json::Null) }
        }
        _ => Original::Message(Cow::Borrowed(message)),
    }
}

/// Splits the content blocks of an Anthropic message where the mapping splits the message: each tool result is a
/// segment, and so is each run of blocks between them.
pub fn segments<T: Borrow<Json>>(blocks: &[T]) -> impl Iterator<Item = &[T]> {
    let is_result =
        |block: &T| block.borrow().as_object().is_some_and(|block| block.text("type") == Some("tool_result"));
    blocks.chunk_by(move |one, next| !is_result(one) && !is_result(next))
}

/// Rebuilds the provider's request. Returns `None` if the trace has no messages.
pub fn request(trace: &Members) -> Option<Members> {
    let messages = trace.list("messages");
    let last = messages.last()?;
    let is_answered = last.as_object().is_some_and(|last| last.text("role") == Some("assistant"));
    let count = trace.get("request_messages").and_then(Json::as_u64).and_then(|count| usize::try_from(count).ok());
    let count = count.unwrap_or(messages.len() - usize::from(is_answered));
    let mut request = trace.object("request").clone();
    if !request.contains("model") {
        request.push("model", trace.get("model")?.clone());
    }
    let mut items: Vec<Json> = Vec::new();
    for message in messages.iter().take(count) {
        match original(message.as_object()?) {
            Original::Message(message) => items.push(message.into_owned().into()),
            Original::Items(originals) => items.extend_from_slice(originals),
            Original::Prompt { member, value } => request.set(member, value.clone()),
        }
    }
    if !items.is_empty() {
        let member = if trace.text("api") == Some("openai-responses") { "input" } else { "messages" };
        request.set(member, items.into());
    }
    Some(request)
}
