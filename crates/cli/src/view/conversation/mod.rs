//! A stored trace as a conversation, as it happened: the provider's roles and parts, and each tool call with its result.
//!
//! `docs/mapping.md` defines how a provider's call is kept in a trace. This module goes the other way, for reading: it takes a
//! message's `original` where there is one, and understands the parts of every API at once by their `type`.

use super::json::{Json, Members};

mod header;
mod item;
mod media;
mod part;

pub use header::{Header, Tokens};
pub use media::{Media, MediaKind, MediaSource};
pub use part::{Call, Citation, Part, ToolResult};

/// A trace that was read. Bytes that are not a trace have neither members nor turns.
#[derive(Debug, Default)]
pub struct Conversation<'a> {
    pub trace: Members<'a>,
    pub turns: Vec<Turn<'a>>,
    /// The alternatives of the answer, if there are several.
    pub choices: Vec<Choice<'a>>,
}

/// One turn of one role.
#[derive(Debug, Clone, Default)]
pub struct Turn<'a> {
    pub role: String,
    /// The participant's name, or the request's member that this prompt comes from.
    pub name: Option<String>,
    pub parts: Vec<Part<'a>>,
    /// Members that are not shown as parts.
    pub more: Vec<(String, Json<'a>)>,
}

/// An alternative of the answer.
#[derive(Debug, Clone)]
pub struct Choice<'a> {
    pub name: String,
    pub turn: Turn<'a>,
    pub finish_reason: Option<String>,
}

impl<'a> Conversation<'a> {
    /// Reads a stored trace.
    pub fn read(json: &'a [u8]) -> Self {
        let trace = Members::read(json);
        let messages = trace.get("messages").and_then(Json::list).unwrap_or_default();
        let answer = trace.get("request_messages").and_then(Json::count).and_then(|count| usize::try_from(count).ok());
        let mut choices = choices(&trace);
        let mut turns: Vec<Turn<'a>> = Vec::new();
        let is_answered = answer.is_some_and(|answer| answer < messages.len())
            || messages.last().is_some_and(|last| is_of_the_assistant(*last));
        let prompt = match (answer, choices.len()) {
            (_, 0 | 1) => messages.len(),
            (Some(answer), _) => answer.min(messages.len()),
            (None, _) => messages.len() - usize::from(is_answered),
        };
        for message in &messages[..prompt] {
            item::read(*message, &mut turns);
        }
        if choices.len() == 1 && !is_answered {
            turns.extend(choices.pop().map(|choice| choice.turn));
        }
        if choices.len() < 2 {
            choices.clear();
        }
        part::pair(&mut turns);
        Self { trace, turns, choices }
    }

    /// Calls `visit` with every text that a search looks through.
    pub fn texts(&self, mut visit: impl FnMut(&str)) {
        for turn in self.turns.iter().chain(self.choices.iter().map(|choice| &choice.turn)) {
            turn.parts.iter().for_each(|part| part.texts(&mut visit));
        }
    }

    /// Whether a role takes part. Results that are shown within their call are of the role `tool`.
    pub fn has_role(&self, role: &str) -> bool {
        let mut turns = self.turns.iter().chain(self.choices.iter().map(|choice| &choice.turn));
        turns.any(|turn| {
            turn.role == role
                || role == "tool"
                    && turn
                        .parts
                        .iter()
                        .any(|part| matches!(part, Part::Call(Call { result: Some(_), .. }) | Part::Result(_)))
        })
    }

    /// Whether a tool of this name is called.
    pub fn calls(&self, tool: &str) -> bool {
        let mut turns = self.turns.iter().chain(self.choices.iter().map(|choice| &choice.turn));
        turns.any(|turn| turn.parts.iter().any(|part| matches!(part, Part::Call(call) if call.name == tool)))
    }
}

fn is_of_the_assistant(message: Json<'_>) -> bool {
    message.object().is_some_and(|message| message.string("role").as_deref() == Some("assistant"))
}

fn choices<'a>(trace: &Members<'a>) -> Vec<Choice<'a>> {
    let choices = trace.object("choices");
    let read = choices.iter().filter_map(|(place, choice)| {
        let choice = choice.object()?;
        let mut turns = Vec::new();
        match (choice.get("message"), choice.string("text")) {
            (Some(message), _) => item::read(message, &mut turns),
            (None, Some(text)) => {
                turns.push(Turn { role: "assistant".to_owned(), parts: vec![Part::text(text)], ..Turn::default() });
            }
            (None, None) => return None,
        }
        let turn = turns.into_iter().next()?;
        Some(Choice { name: place.to_owned(), turn, finish_reason: choice.string("finish_reason") })
    });
    read.collect()
}

#[cfg(test)]
mod tests;
