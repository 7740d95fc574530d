//! The parts of a turn: texts, thinking, refusals, media, tool calls and their results.

use std::collections::HashMap;

use super::{Turn, media::Media};
use crate::json::{Json, Members};

/// How many levels of nested results are parsed. Deeper results stay JSON.
const DEEPEST: usize = 4;

#[derive(Debug, Clone)]
pub enum Part {
    Text {
        text: String,
        citations: Vec<Citation>,
    },
    /// Thinking; `None` if the provider encrypted it.
    Thinking(Option<String>),
    Refusal(String),
    Media(Media),
    Call(ToolCall),
    /// A result whose call is not in this trace.
    Result(ToolResult),
    Other {
        kind: String,
        json: Json,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Citation {
    pub title: String,
    /// The quoted text, if the provider includes it.
    pub quote: Option<String>,
}

#[derive(Debug, Clone)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// Formatted JSON, or the model's text if that is not JSON.
    pub arguments: String,
    pub result: Option<ToolResult>,
}

#[derive(Debug, Clone)]
pub struct ToolResult {
    pub call: String,
    pub parts: Vec<Part>,
    pub is_error: bool,
}

impl Part {
    pub fn text(text: String) -> Self {
        Self::Text { text, citations: Vec::new() }
    }

    pub fn other(kind: &str, json: &Json) -> Self {
        Self::Other { kind: kind.to_owned(), json: json.clone() }
    }

    /// Calls `visit` with every text of this part.
    pub fn texts(&self, visit: &mut impl FnMut(&str)) {
        match self {
            Self::Text { text, .. } | Self::Refusal(text) | Self::Thinking(Some(text)) => visit(text),
            Self::Call(call) => {
                visit(&call.name);
                visit(&call.arguments);
                call.result.iter().for_each(|result| result.texts(visit));
            }
            Self::Result(result) => result.texts(visit),
            Self::Other { json, .. } => visit(&json.to_text()),
            Self::Thinking(None) | Self::Media(_) => {}
        }
    }
}

impl ToolResult {
    fn texts(&self, visit: &mut impl FnMut(&str)) {
        self.parts.iter().for_each(|part| part.texts(visit));
    }
}

impl ToolCall {
    pub fn of_chat(call: &Members) -> Self {
        let function = if call.get("function").is_some() { call.object("function") } else { call.object("custom") };
        let function = if function.is_empty() { call } else { function };
        let arguments = function.first_filled(&["arguments", "input"]).map(formatted).unwrap_or_default();
        Self {
            id: call.string("id").unwrap_or_default(),
            name: function.string("name").unwrap_or_default(),
            arguments,
            result: None,
        }
    }

    /// Reads a call from a Responses API item, which may also contain the result.
    pub fn of_item(kind: &str, item: &Members) -> Self {
        let name = item.string("name").unwrap_or_else(|| kind.trim_end_matches("_call").to_owned());
        let name = item.string("server_label").map_or(name.clone(), |server| format!("{server}/{name}"));
        let arguments = item.first_filled(&["arguments", "input", "action", "operation", "code", "queries"]);
        let id = item.first_string(&["call_id", "id"]).unwrap_or_default();
        let is_error = item.filled("error").is_some();
        let result = item.first_filled(&["error", "output", "outputs", "results"]);
        let result = result.map(|result| ToolResult { call: id.clone(), parts: content(result), is_error });
        Self { id, name, arguments: arguments.map(formatted).unwrap_or_default(), result }
    }

    fn of_block(block: &Members) -> Self {
        let arguments =
            block.first_filled(&["input", "arguments", "server_tool_call"]).map(formatted).unwrap_or_default();
        let text = |name: &str| block.string(name).unwrap_or_default();
        Self { id: text("id"), name: text("name"), arguments, result: None }
    }
}

/// Formats arguments that are JSON, including JSON in a string, as in Chat Completions.
fn formatted(arguments: &Json) -> String {
    let text = arguments.readable();
    let is_nested = arguments.as_str().is_some() && text.trim_start().starts_with(['{', '[']);
    let within = is_nested.then(|| Json::read(text.as_bytes())).flatten();
    within.map_or(text, |within| within.readable())
}

pub fn content(content: &Json) -> Vec<Part> {
    content_at(content, 0)
}

fn content_at(content: &Json, depth: usize) -> Vec<Part> {
    if matches!(content, Json::Null) || content.as_str() == Some("") {
        return Vec::new();
    }
    if let Some(text) = content.as_str() {
        return vec![Part::text(text.to_owned())];
    }
    match content.as_list() {
        Some(parts) if depth < DEEPEST => {
            let mut read: Vec<Part> = Vec::new();
            for part in parts {
                // Providers split text where citations begin and end.
                match (block(part, depth), read.last_mut()) {
                    (Part::Text { text, citations }, Some(Part::Text { text: last, citations: all }))
                        if !(citations.is_empty() && all.is_empty()) =>
                    {
                        last.push_str(&text);
                        all.extend(citations);
                    }
                    (part, _) => read.push(part),
                }
            }
            read
        }
        _ => match content.as_object() {
            Some(object) if object.get("type").is_some() && depth < DEEPEST => vec![block(content, depth)],
            _ => vec![Part::other("JSON", content)],
        },
    }
}

fn block(json: &Json, depth: usize) -> Part {
    if let Some(text) = json.as_str() {
        return Part::text(text.to_owned());
    }
    let Some(part) = json.as_object() else { return Part::other("part", json) };
    let kind = part.text("type").unwrap_or_default();
    let text = |names: &[&str]| part.first_string(names);
    let known = match kind {
        "text" | "input_text" | "output_text" | "summary_text" => text(&["text", "content"])
            .map(|text| Part::Text { text, citations: citations(part.first_filled(&["citations", "annotations"])) }),
        "refusal" => text(&["refusal"]).map(Part::Refusal),
        "thinking" | "reasoning" | "reasoning_text" => {
            Some(Part::Thinking(part.first_filled(&["thinking", "text", "content"]).map(joined)))
        }
        "redacted_thinking" => Some(Part::Thinking(None)),
        "tool_use" | "server_tool_use" | "mcp_tool_use" | "tool_call" | "server_tool_call" => {
            Some(Part::Call(ToolCall::of_block(part)))
        }
        _ if kind.ends_with("tool_call_response") || kind.ends_with("tool_result") => {
            let result = part.first_filled(&["content", "response", "result", "server_tool_call_response"]);
            Some(Part::Result(ToolResult {
                call: text(&["tool_use_id", "id"]).unwrap_or_default(),
                parts: result.map(|result| returned(result, depth + 1)).unwrap_or_default(),
                is_error: matches!(part.get("is_error"), Some(Json::Bool(true))),
            }))
        }
        _ => Media::of_block(kind, part).map(Part::Media),
    };
    known.unwrap_or_else(|| Part::other(if kind.is_empty() { "part" } else { kind }, json))
}

/// Reads a tool's return value: message parts, or any other value as JSON.
fn returned(result: &Json, depth: usize) -> Vec<Part> {
    let is_part = |value: &Json| value.as_object().map_or(value.as_str().is_some(), |part| part.get("type").is_some());
    match result.as_list() {
        Some(list) if list.iter().all(is_part) => content_at(result, depth),
        None if is_part(result) => content_at(result, depth),
        _ => vec![Part::text(result.readable())],
    }
}

/// Joins the texts of a list. Mistral sends thinking as such a list.
fn joined(value: &Json) -> String {
    match value.as_list() {
        None => value.readable(),
        Some(values) => {
            let text = |value: &Json| {
                value.as_object().and_then(|value| value.string("text")).unwrap_or_else(|| value.to_text())
            };
            values.iter().map(text).collect::<Vec<_>>().join("\n")
        }
    }
}

pub fn reasoning(item: &Members) -> Vec<Part> {
    let texts: Vec<_> = ["summary", "content"].iter().filter_map(|name| item.filled(name)).map(joined).collect();
    vec![Part::Thinking(Some(texts.join("\n\n")).filter(|text| !text.is_empty()))]
}

/// Reads the spoken answer of Chat Completions: its audio and its transcript.
pub fn spoken(audio: &Members) -> Vec<Part> {
    let sound = audio.string("data").map(|data| Part::Media(Media::base64("audio/wav", &data, None)));
    let transcript = audio.string("transcript").filter(|text| !text.is_empty()).map(Part::text);
    sound.into_iter().chain(transcript).collect()
}

/// Adds the annotations of a Chat Completions message to its last text.
pub fn annotate(parts: &mut [Part], message: &Members) {
    let added = citations(message.filled("annotations"));
    if let Some(Part::Text { citations, .. }) = parts.iter_mut().rfind(|part| matches!(part, Part::Text { .. })) {
        citations.extend(added);
    }
}

/// Reads the sources that a string cites, in the formats of OpenAI and Anthropic.
fn citations(list: Option<&Json>) -> Vec<Citation> {
    let citations = list.and_then(Json::as_list).unwrap_or_default().iter().filter_map(|citation| {
        let citation = citation.as_object()?;
        let nested = citation.object("url_citation");
        let citation = if nested.is_empty() { citation } else { nested };
        let names = [
            citation.first_string(&["title", "document_title", "filename"]),
            citation.first_string(&["url", "source", "file_id"]),
        ];
        let title = names.into_iter().flatten().collect::<Vec<_>>().join(" · ");
        let title = if title.is_empty() {
            citation.get("document_index").map(|index| format!("document {index}")).unwrap_or_default()
        } else {
            title
        };
        let quote = citation.string("cited_text").filter(|quote| !quote.is_empty());
        (!title.is_empty() || quote.is_some()).then_some(Citation { title, quote })
    });
    citations.collect()
}

/// Moves each result into its call, and removes turns that become empty.
pub fn pair(turns: &mut Vec<Turn>) {
    let mut calls: HashMap<String, (usize, usize)> = HashMap::new();
    let mut moved = vec![false; turns.len()];
    for at in 0..turns.len() {
        let parts = std::mem::take(&mut turns[at].parts);
        let had_parts = !parts.is_empty();
        let mut kept: Vec<Part> = Vec::with_capacity(parts.len());
        for part in parts {
            let Part::Result(result) = part else {
                if let Part::Call(ToolCall { id, result: None, .. }) = &part
                    && !id.is_empty()
                {
                    calls.insert(id.clone(), (at, kept.len()));
                }
                kept.push(part);
                continue;
            };
            let call = calls.remove(&result.call).and_then(|(turn, place)| {
                if turn == at { kept.get_mut(place) } else { turns[turn].parts.get_mut(place) }
            });
            match call {
                Some(Part::Call(call)) => call.result = Some(result),
                _ => kept.push(Part::Result(result)),
            }
        }
        moved[at] = had_parts && kept.is_empty() && turns[at].more.is_empty();
        turns[at].parts = kept;
    }
    let mut moved = moved.into_iter();
    turns.retain(|_| !moved.next().unwrap_or_default());
}
