//! Maps a conversation's items to messages: Chat Completions and Anthropic messages, and Responses items.
//!
//! A message that had to change keeps the provider's values in its member `original`.

use crate::{
    json::{Json, Members},
    rebuild::segments,
};

const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// The Responses item types, besides calls, that belong to an assistant turn.
const ASSISTANT_ITEMS: [&str; 5] = ["reasoning", "mcp_list_tools", "mcp_approval_request", "compaction", "program"];

/// The Anthropic block types whose messages must change to fit the schema.
const TOOL_BLOCKS: [&str; 4] = ["thinking", "redacted_thinking", "tool_use", "tool_result"];

/// Converts a conversation's items to messages. `default_role` is for items without a role.
pub fn to_messages(items: Vec<Json>, default_role: &str) -> Vec<Json> {
    let mut messages = Vec::new();
    let mut turn = Vec::new();
    for item in items {
        if is_assistant_item(&item) || is_assistant_message(&item) {
            turn.push(item);
        } else {
            end_turn(&mut turn, default_role, &mut messages);
            one_item(item, default_role, &mut messages);
        }
    }
    end_turn(&mut turn, default_role, &mut messages);
    messages
}

/// Merges the items of a turn, unless all of them are messages.
fn end_turn(turn: &mut Vec<Json>, default_role: &str, messages: &mut Vec<Json>) {
    let turn = std::mem::take(turn);
    if turn.iter().any(is_assistant_item) {
        messages.push(merge(turn));
    } else {
        for message in turn {
            one_item(message, default_role, messages);
        }
    }
}

fn one_item(item: Json, default_role: &str, messages: &mut Vec<Json>) {
    match item {
        Json::Object(item) if item_type(&item).is_some() => messages.push(typed(item, default_role)),
        Json::Object(item) if has_tool_blocks(&item) => messages.extend(split(item, default_role)),
        Json::Object(item) => messages.push(fit(item, default_role)),
        item => messages.push(MessageDraft { original: vec![item], ..MessageDraft::default() }.finish(default_role)),
    }
}

/// Returns the type of a Responses item that is not a message.
fn item_type(item: &Members) -> Option<&str> {
    item.text("type").filter(|kind| *kind != "message")
}

fn is_assistant_item(item: &Json) -> bool {
    let kind = item.as_object().and_then(item_type);
    kind.is_some_and(|kind| ASSISTANT_ITEMS.contains(&kind) || kind.ends_with("_call"))
}

fn is_assistant_message(item: &Json) -> bool {
    item.as_object().is_some_and(|item| item_type(item).is_none() && item.text("role") == Some("assistant"))
}

fn has_tool_blocks(item: &Members) -> bool {
    let blocks = item.get("content").and_then(Json::as_list).unwrap_or_default();
    blocks.iter().filter_map(block_type).any(|kind| TOOL_BLOCKS.contains(&kind))
}

fn block_type(block: &Json) -> Option<&str> {
    block.as_object()?.text("type")
}

/// Merges the reasoning, text and tool calls of a Responses API turn into one message.
fn merge(items: Vec<Json>) -> Json {
    let mut message = MessageDraft::default();
    for item in items.iter().filter_map(Json::as_object) {
        match (item_type(item), item.text("call_id")) {
            (None, _) => message.add_text(text(item.get("content"), "assistant")),
            (Some("reasoning"), _) => {
                let content = text(item.get("content"), "user");
                message.add_reasoning(if content.is_empty() { text(item.get("summary"), "user") } else { content });
            }
            (Some(kind), Some(call_id)) => {
                let name = item.text("name").unwrap_or_else(|| kind.strip_suffix("_call").unwrap_or(kind));
                let arguments = ["arguments", "input", "action", "operation"].iter().find_map(|name| item.get(name));
                message.add_call(call_id, name, arguments);
            }
            (Some(_), None) => {}
        }
    }
    message.original = items;
    message.finish("assistant")
}

/// Converts a Responses item that is not part of a turn, such as a tool output, into a message.
fn typed(item: Members, default_role: &str) -> Json {
    let mut message = MessageDraft { call_id: item.text("call_id").map(ToOwned::to_owned), ..MessageDraft::default() };
    message.add_text(text(item.get("output").or_else(|| item.get("content")), "user"));
    let is_output = item_type(&item).is_some_and(|kind| kind.ends_with("_output"));
    let role = if is_output { "user" } else { role(item.get("role"), default_role) };
    message.original = vec![item.into()];
    message.finish(role)
}

/// Splits a message with Anthropic content blocks: each tool result becomes a message.
fn split(item: Members, default_role: &str) -> Vec<Json> {
    let blocks = item.get("content").and_then(Json::as_list).unwrap_or_default();
    let role = role(item.get("role"), default_role);
    let mut messages: Vec<MessageDraft> = segments(blocks).map(|blocks| segment(blocks, role)).collect();
    if let Some(first) = messages.first_mut() {
        first.original = vec![item.into()];
    }
    messages.into_iter().map(|message| message.finish(role)).collect()
}

fn segment(blocks: &[Json], role: &str) -> MessageDraft {
    let mut message = MessageDraft::default();
    let mut texts = Vec::new();
    for block in blocks {
        let members = block.as_object();
        match (block_type(block), members) {
            (Some("thinking"), Some(block)) => message.add_reasoning(text(block.get("thinking"), "user")),
            (Some("tool_result"), Some(block)) => {
                message.call_id = block.text("tool_use_id").map(ToOwned::to_owned);
                message.add_text(text(block.get("content"), "user"));
            }
            (Some("tool_use"), Some(call)) => {
                if let (Some(id), Some(name)) = (call.text("id"), call.text("name")) {
                    message.add_call(id, name, call.get("input"));
                }
                texts.push(block);
            }
            _ => texts.push(block),
        }
    }
    message.add_text(join(texts, role));
    message
}

/// Adapts a message to the schema. Changed members are kept in `original`.
fn fit(mut item: Members, default_role: &str) -> Json {
    let is_fit = item.text("role").is_some_and(|role| ROLES.contains(&role))
        && item.text("content").is_some()
        && !item.contains("original")
        && !item.contains("member");
    if is_fit {
        return item.into();
    }
    let role = role(item.get("role"), default_role);
    let mut message = Members::default();
    message.push("role", role);
    message.push("content", text(item.get("content"), role));
    if item.contains("member") {
        message.push("original", vec![item.into()]);
        return message.into();
    }
    let mut original = Members::default();
    for name in ["role", "content", "original"] {
        if let Some(value) = item.take(name) {
            original.push(name, value);
        }
    }
    message.append(item);
    message.push("original", original);
    message.into()
}

fn role(role: Option<&Json>, default_role: &str) -> &'static str {
    let role = match role {
        None | Some(Json::Null) => default_role,
        Some(role) => role.as_str().unwrap_or_default(),
    };
    match role {
        "system" | "developer" => "system",
        "assistant" => "assistant",
        _ => "user",
    }
}

/// Returns the text of a message's content, which is a string or a list of parts.
pub fn text(content: Option<&Json>, role: &str) -> String {
    match content {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Array(parts)) => join(parts, role),
        _ => String::new(),
    }
}

/// Joins parts, one per line. Adjacent assistant parts are joined without a line break, because citations split the
/// assistant's text.
fn join<'a>(parts: impl IntoIterator<Item = &'a Json>, role: &str) -> String {
    let mut joined = String::new();
    let (mut is_first, mut is_adjacent) = (true, false);
    for part in parts {
        let part = part.as_object().and_then(|part| part.text("text").or_else(|| part.text("refusal")));
        if let Some(part) = part {
            let is_joined = is_adjacent && role == "assistant";
            if !(is_first || is_joined) {
                joined.push('\n');
            }
            joined.push_str(part);
            is_first = false;
        }
        is_adjacent = part.is_some();
    }
    joined
}

#[derive(Default)]
struct MessageDraft {
    texts: Vec<String>,
    reasoning: Vec<String>,
    calls: Vec<Json>,
    call_id: Option<String>,
    original: Vec<Json>,
}

impl MessageDraft {
    fn add_text(&mut self, text: String) {
        self.texts.extend(Some(text).filter(|text| !text.is_empty()));
    }

    fn add_reasoning(&mut self, text: String) {
        self.reasoning.extend(Some(text).filter(|text| !text.is_empty()));
    }

    fn add_call(&mut self, id: &str, name: &str, arguments: Option<&Json>) {
        let mut function = Members::default();
        function.push("name", name);
        function.push("arguments", arguments.cloned().unwrap_or_else(|| Members::default().into()));
        let mut call = Members::default();
        call.push("id", id);
        call.push("type", "function");
        call.push("function", function);
        self.calls.push(call.into());
    }

    fn finish(self, role: &str) -> Json {
        let mut message = Members::default();
        message.push("role", role);
        message.push("content", self.texts.join("\n"));
        if !self.reasoning.is_empty() {
            message.push("reasoning_content", self.reasoning.join("\n"));
        }
        if !self.calls.is_empty() {
            message.push("tool_calls", self.calls);
        }
        if let Some(call_id) = self.call_id.filter(|id| !id.is_empty()) {
            message.push("tool_call_id", call_id);
        }
        message.push("original", self.original);
        message.into()
    }
}
