//! One trace as a conversation.

use attest::{key::Key, writer::Writer};
use attest_mapping::{
    conversation::{Choice, Conversation, Header, StoredTrace, Tokens, Turn},
    json::Members,
};
use indicatif::{BinaryBytes, HumanCount};
use maud::{Markup, html};

use super::{
    highlight::Budget,
    layout::Frame,
    outline::{outline, turn_id},
    part::{self, PartText, Style},
    tokens,
    urls::{session_url, trace_url},
};
use crate::{commands::TerminalCommand, results::Neighbour, search::Search};

/// Members of a trace that are shown elsewhere on the page.
const SHOWN: [&str; 5] = ["model", "created", "messages", "api", "request_messages"];

/// The largest number of turns on a page; the next page continues.
pub const TURNS: usize = 500;

/// The largest HTML of turns on a page, in bytes.
const HTML_BYTES: usize = 32 * 1024 * 1024;

/// The largest number of members that are listed.
const MEMBERS: usize = 500;

#[derive(Debug)]
pub struct TracePage<'a> {
    pub key: &'a str,
    pub json: &'a [u8],
    pub writer: &'a Writer,
    /// Whether the assistant's messages are plain text instead of Markdown.
    pub plain: bool,
    pub turn: usize,
    pub search: &'a Search,
    /// The traces before and after this one in the result.
    pub neighbours: [Option<Neighbour>; 2],
    pub commands: &'a [TerminalCommand],
}

impl TracePage<'_> {
    pub fn render(&self) -> Markup {
        let code = Budget::default();
        let style = Style { text: if self.plain { PartText::Plain } else { PartText::Markdown }, code: &code };
        let stored = StoredTrace::read(self.json);
        let conversation = stored.conversation();
        let header = Header::read(stored.trace());
        let (turns, next) = self.turns(&conversation, style);
        let shown = conversation.turns.get(self.turn..next.unwrap_or(conversation.turns.len())).unwrap_or_default();
        let body = html! {
            main #main {
                header.facts {
                    h1 { (self.key) }
                    (facts(self.key, &header, self.json.len(), Some(self.writer)))
                    (self.actions())
                }
                div.transcript {
                    (outline(shown, self.turn))
                    div.turns {
                        (turns)
                        @if let Some(next) = next {
                            p.more {
                                "Turns to " (HumanCount(next as u64)) " of "
                                (HumanCount(conversation.turns.len() as u64)) ". "
                                a href=(self.url(self.plain, next)) { "Further turns" }
                            }
                        } @else { (choices(&conversation.choices, style)) }
                        (more(stored.trace()))
                    }
                }
            }
        };
        Frame { title: self.key, q: &self.search.q, ..Frame::default() }.page(&body)
    }

    fn url(&self, plain: bool, turn: usize) -> String {
        let turn = if turn == 0 { String::new() } else { turn.to_string() };
        let plain = if plain { "true" } else { "" };
        trace_url(self.key, &[("plain", plain), ("turn", &turn), ("q", &self.search.q), ("from", &self.search.from)])
    }

    fn neighbour(&self, neighbour: &Neighbour, direction: &str) -> String {
        let plain = if self.plain { "true" } else { "" };
        match neighbour {
            Neighbour::Trace { key, from } => {
                trace_url(key, &[("plain", plain), ("q", &self.search.q), ("from", from)])
            }
            Neighbour::Page { .. } => {
                let more = [("plain", plain), ("q", &self.search.q), ("from", &self.search.from), ("to", direction)];
                trace_url(self.key, &more).replacen("/trace", "/step", 1)
            }
        }
    }

    /// Renders turns until the page is full. Also returns the index of the next turn.
    fn turns(&self, conversation: &Conversation, style: Style<'_>) -> (Markup, Option<usize>) {
        let mut html = String::new();
        for (place, turn) in conversation.turns.iter().enumerate().skip(self.turn) {
            if place - self.turn >= TURNS || html.len() >= HTML_BYTES {
                return (maud::PreEscaped(html), Some(place));
            }
            html.push_str(&turn_of(turn, Some(place), style).into_string());
        }
        (maud::PreEscaped(html), None)
    }

    fn actions(&self) -> Markup {
        let raw = format!("/raw?{}", serde_urlencoded::to_string([("key", self.key)]).unwrap_or_default());
        let [previous, next] = &self.neighbours;
        html! {
            div.actions {
                @if self.search.own_url() != "/traces" { a href=(self.search.own_url()) { "Results" } }
                @if let Some(previous) = previous {
                    a rel="prev" href=(self.neighbour(previous, "previous")) { "Previous" }
                }
                @if let Some(next) = next { a rel="next" href=(self.neighbour(next, "next")) { "Next" } }
                a data-key="m" href=(self.url(!self.plain, self.turn)) {
                    @if self.plain { "Render Markdown" } @else { "Plain text" }
                }
                a href=(Search::default().url(|search| self.key.clone_into(&mut search.with))) { "Compare with another" }
                a href=(raw) { "JSON" }
                a href=(raw.replacen("/raw", "/share", 1)) download=(file_name(self.key)) { "Share as a file" }
                button type="button" data-copy-url=(raw) { "Copy JSON" }
            }
            details.take {
                summary { "Commands" }
                @for TerminalCommand { id, title, text } in self.commands {
                    div.command {
                        p.label { (title) " " button type="button" data-copy=(id) { "Copy" } }
                        pre id=(id) { (text) }
                    }
                }
            }
        }
    }
}

/// Shows the facts of a trace. A shared file has no writer, because it leaves the account, and no links to other pages.
pub fn facts(key: &str, header: &Header, bytes: usize, writer: Option<&Writer>) -> Markup {
    let (fingerprint, id) = Key::read(key).unwrap_or_default();
    let fact = |name: &str, value: Option<String>| {
        html! { @if let Some(value) = value.filter(|value| !value.is_empty()) { div { dt { (name) } dd { (value) } } } }
    };
    html! {
        @if let Some(error) = &header.error { div.alert { p.label { "Error" } pre { (error) } } }
        @if let Some(incomplete) = &header.incomplete { p.notice { "The response is incomplete: " (incomplete) } }
        dl {
            (fact("model", Some(header.model.clone())))
            (fact("fingerprint", Some(fingerprint)))
            (fact("id", Some(id)))
            (fact("created", Some(header.created.clone())))
            (fact("duration", header.seconds.map(|seconds| format!("{seconds:.2} s"))))
            (fact("tokens", in_and_out(header.tokens)))
            (fact("finish", header.finish_reason.clone()))
            (fact("api", header.api.clone()))
            (fact("size", Some(BinaryBytes(bytes as u64).to_string())))
            @if let Some(Writer { api_key_id, principal }) = writer {
                (fact("API key", api_key_id.clone()))
                (fact("principal", principal.clone()))
            }
            @for (name, session) in sessions(header) {
                div { dt { (name) } dd { @if writer.is_some() { a href=(session_url(session)) { (session) } } @else { (session) } } }
            }
            (fact("span", header.span.as_ref().and_then(|span| span.name.clone())))
        }
        (tokens::bar(header.tokens))
    }
}

fn sessions(header: &Header) -> Vec<(&'static str, &str)> {
    let trace = header.span.as_ref().and_then(|span| span.trace.as_deref());
    let session = header.session.as_deref().filter(|session| Some(*session) != trace);
    [("session", session), ("OpenTelemetry trace", trace)]
        .into_iter()
        .filter_map(|(name, id)| Some((name, id?)))
        .collect()
}

fn file_name(key: &str) -> String {
    let id = Key::read(key).unwrap_or_default().1;
    let safe =
        |character: char| if character.is_ascii_alphanumeric() || "-_.".contains(character) { character } else { '_' };
    format!("trace-{}.html", id.chars().take(80).map(safe).collect::<String>())
}

fn in_and_out(tokens: Tokens) -> Option<String> {
    let count = |tokens: u64| HumanCount(tokens).to_string();
    match tokens {
        Tokens { input: Some(input), output: Some(output), .. } => {
            Some(format!("{} in, {} out", count(input), count(output)))
        }
        Tokens { total, .. } => total.map(count),
    }
}

pub fn turn_of(turn: &Turn, place: Option<usize>, style: Style<'_>) -> Markup {
    let style = Style { text: if turn.role == "assistant" { style.text } else { PartText::Plain }, ..style };
    html! {
        article.message id=[place.map(turn_id)] data-role=(turn.role) {
            h2 { (turn.role) @if let Some(name) = &turn.name { " " small { (name) } } }
            (part::parts(&turn.parts, style))
            @if !turn.more.is_empty() {
                details {
                    summary { "More of this message" }
                    (part::members(turn.more.iter().take(MEMBERS).map(|(name, value)| (name.as_str(), value))))
                }
            }
        }
    }
}

/// Shows alternatives of the answer as tabs. They are radio buttons, so they need no script.
pub fn choices(choices: &[Choice], style: Style<'_>) -> Markup {
    html! {
        @if !choices.is_empty() {
            fieldset.tabs #choices {
                legend { (choices.len()) " choices" }
                @for (place, choice) in choices.iter().take(MEMBERS).enumerate() {
                    @let id = format!("choice-{place}");
                    input type="radio" name="choice" id=(id) checked[place == 0];
                    label for=(id) {
                        "Choice " (choice.name) @if let Some(reason) = &choice.finish_reason { " " small { (reason) } }
                    }
                    div.panel { (turn_of(&choice.turn, None, style)) }
                }
            }
        }
    }
}

pub fn more(trace: &Members) -> Markup {
    let more: Vec<_> = trace.iter().filter(|(name, _)| !SHOWN.contains(name)).take(MEMBERS).collect();
    html! {
        @if !more.is_empty() {
            details.rest open {
                summary { "More of this trace" }
                (part::members(more.into_iter()))
            }
        }
    }
}
