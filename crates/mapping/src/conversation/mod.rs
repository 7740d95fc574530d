//! Reads a stored trace as the original conversation: the provider's roles and parts, and each tool call with its
//! result.
//!
//! `docs/mapping.md` defines how a trace stores a provider's call. This module reverses the mapping for display. It
//! uses a message's `original` if there is one, and recognizes the parts of every API by their `type`.

use crate::json::{Json, Members};

mod header;
mod item;
mod labels;
mod media;
mod otel;
mod part;
mod tokens;

pub use header::Header;
pub use labels::{SESSIONS, TAGS, USERS};
pub use media::{Media, MediaKind, MediaSource};
pub use part::{Citation, Part, ToolCall, ToolResult};
pub use tokens::Tokens;

/// A stored trace. Its messages may be in the attributes of an OpenTelemetry span, as JSON strings.
#[derive(Debug)]
pub struct StoredTrace {
    trace: Members,
    /// The messages of the span, if the trace itself has none.
    span: Option<otel::SpanMessages>,
}

impl StoredTrace {
    pub fn read(json: &[u8]) -> Self {
        let trace = Members::read(json);
        let span = match trace.filled("messages") {
            None => otel::SpanMessages::read(&otel::SpanAttributes::of(&header::places(&trace))),
            Some(_) => None,
        };
        Self { trace, span }
    }

    pub fn trace(&self) -> &Members {
        &self.trace
    }

    pub fn conversation(&self) -> Conversation {
        match &self.span {
            Some(span) => Conversation::of_span(span),
            None => Conversation::read(&self.trace),
        }
    }
}

/// The turns of a trace. Bytes that are not a trace have none.
#[derive(Debug, Default)]
pub struct Conversation {
    pub turns: Vec<Turn>,
    pub choices: Vec<Choice>,
}

#[derive(Debug, Clone, Default)]
pub struct Turn {
    pub role: String,
    /// The participant's name, or the request's member that this prompt comes from.
    pub name: Option<String>,
    pub parts: Vec<Part>,
    /// Members that are not shown as parts.
    pub more: Vec<(String, Json)>,
}

impl Turn {
    /// Returns whether this turn has a selected role. A tool result has the role `tool`, even within its call.
    pub fn has_role(&self, is_selected: impl Fn(&str) -> bool) -> bool {
        is_selected(&self.role) || is_selected("tool") && self.results().next().is_some()
    }

    pub fn has_error(&self) -> bool {
        self.results().any(|result| result.is_error)
    }

    fn results(&self) -> impl Iterator<Item = &ToolResult> {
        self.parts.iter().filter_map(|part| match part {
            Part::Call(call) => call.result.as_ref(),
            Part::Result(result) => Some(result),
            _ => None,
        })
    }

    fn text(&self) -> Option<&str> {
        self.parts.iter().find_map(|part| match part {
            Part::Text { text, .. } if !text.trim().is_empty() => Some(text.as_str()),
            _ => None,
        })
    }
}

#[derive(Debug, Clone)]
pub struct Choice {
    pub name: String,
    pub turn: Turn,
    pub finish_reason: Option<String>,
}

impl Conversation {
    fn read(trace: &Members) -> Self {
        let messages = trace.list("messages");
        let answer = trace.get("request_messages").and_then(Json::as_u64).and_then(|count| usize::try_from(count).ok());
        let mut choices = choices(trace);
        let mut turns: Vec<Turn> = Vec::new();
        let is_answered =
            answer.is_some_and(|answer| answer < messages.len()) || messages.last().is_some_and(is_of_the_assistant);
        let prompt = match (answer, choices.len()) {
            (_, 0 | 1) => messages.len(),
            (Some(answer), _) => answer.min(messages.len()),
            (None, _) => messages.len() - usize::from(is_answered),
        };
        for message in &messages[..prompt] {
            item::read(message, &mut turns);
        }
        if choices.len() == 1 && !is_answered {
            turns.extend(choices.pop().map(|choice| choice.turn));
        }
        if choices.len() < 2 {
            choices.clear();
        }
        part::pair(&mut turns);
        Self { turns, choices }
    }

    /// Reads the messages of an OpenTelemetry span. Several output messages are alternative answers.
    fn of_span(span: &otel::SpanMessages) -> Self {
        let (request, answers) = span.messages.split_at(span.request);
        let mut turns = Vec::new();
        for message in request {
            item::read(message, &mut turns);
        }
        let mut choices = Vec::new();
        if let [answer] = answers {
            item::read(answer, &mut turns);
        } else {
            choices.extend(answers.iter().enumerate().filter_map(|(place, answer)| {
                let mut turns = Vec::new();
                item::read(answer, &mut turns);
                let finish_reason = answer.as_object().and_then(|answer| answer.string("finish_reason"));
                Some(Choice { name: place.to_string(), turn: turns.into_iter().next()?, finish_reason })
            }));
        }
        part::pair(&mut turns);
        Self { turns, choices }
    }

    /// Calls `visit` with every searchable string.
    pub fn texts(&self, mut visit: impl FnMut(&str)) {
        for turn in self.turns.iter().chain(self.choices.iter().map(|choice| &choice.turn)) {
            turn.parts.iter().for_each(|part| part.texts(&mut visit));
        }
    }

    /// Returns whether any turn or choice has a selected role.
    pub fn has_role(&self, is_selected: impl Fn(&str) -> bool) -> bool {
        self.turns.iter().chain(self.choices.iter().map(|choice| &choice.turn)).any(|turn| turn.has_role(&is_selected))
    }

    /// Returns the user's first text, or the first text of any turn if the user has none.
    pub fn question(&self) -> Option<&str> {
        let of_user = self.turns.iter().filter(|turn| turn.role == "user").find_map(Turn::text);
        of_user.or_else(|| self.turns.iter().find_map(Turn::text))
    }

    /// Returns whether a tool with a selected name is called.
    pub fn calls(&self, is_selected: impl Fn(&str) -> bool) -> bool {
        let mut turns = self.turns.iter().chain(self.choices.iter().map(|choice| &choice.turn));
        turns.any(|turn| turn.parts.iter().any(|part| matches!(part, Part::Call(call) if is_selected(&call.name))))
    }
}

fn is_of_the_assistant(message: &Json) -> bool {
    message.as_object().is_some_and(|message| message.text("role") == Some("assistant"))
}

fn choices(trace: &Members) -> Vec<Choice> {
    let choices = trace.object("choices");
    let read = choices.iter().filter_map(|(place, choice)| {
        let choice = choice.as_object()?;
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
