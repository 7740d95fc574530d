//! One trace as a conversation.

use attest::{key::Key, writer::Writer};
use attest_mapping::conversation::{Conversation, Header, StoredTrace, Turn};
use indicatif::HumanCount;
use maud::{Markup, html};

use super::{
    facts::facts,
    filter::{self, shows},
    highlight::Budget,
    layout::Frame,
    outline::outline,
    part::{FoldLimits, PartText, Style},
    turn::{choices, more, turn_id, turn_of},
    urls::{markdown_url, trace_url},
};
use crate::{commands::TerminalCommand, results::Neighbour, search::Search};

/// The largest number of turns on a page; the next page continues.
pub const TURNS: usize = 500;

/// The size of a page's turns, in bytes of HTML, above which the next page continues.
const HTML_BYTES: usize = 32 * 1024 * 1024;

/// The longest title, in characters.
const TITLE: usize = 160;

/// The state of the page, as in its URL.
#[derive(Debug, Clone, Default)]
pub struct TraceView {
    /// Whether the assistant's messages are plain text instead of Markdown.
    pub plain: bool,
    /// Whether everything is unfolded.
    pub unfolded: bool,
    /// The position of the page's first turn.
    pub turn: usize,
    /// The turns that are shown: those with a role, those with an error, or all.
    pub show: String,
}

#[derive(Debug)]
pub struct TracePage<'a> {
    pub key: &'a str,
    pub json: &'a [u8],
    pub writer: &'a Writer,
    pub view: &'a TraceView,
    pub search: &'a Search,
    /// The traces before and after this one in the results.
    pub neighbours: [Option<Neighbour>; 2],
    pub commands: &'a [TerminalCommand],
}

/// The turns of a page.
struct Turns<'a> {
    html: Markup,
    shown: Vec<(usize, &'a Turn)>,
    /// The position at which the next page starts.
    next: Option<usize>,
}

impl TracePage<'_> {
    pub fn render(&self) -> Markup {
        let TraceView { plain, unfolded, .. } = *self.view;
        let text = if plain { PartText::Plain } else { PartText::Markdown };
        let style = Style { text, limits: FoldLimits::TEXT, is_open: unfolded, code: &Budget::default() };
        let stored = StoredTrace::read(self.json);
        let conversation = stored.conversation();
        let header = Header::read(stored.trace());
        let turns = self.turns(&conversation, style);
        let title = title(self.key, &conversation);
        let body = html! {
            main #main data-markdown=(markdown_url(self.key)) {
                header.facts {
                    h1 { (title) }
                    (facts(self.key, &header, self.json.len(), Some(self.writer)))
                    (self.actions())
                }
                (self.tools(&conversation, &turns))
                div.transcript {
                    (outline(&turns.shown))
                    div.turns {
                        (turns.html)
                        @if let Some(next) = turns.next {
                            p.more {
                                "Turns to " (HumanCount(next as u64)) " of "
                                (HumanCount(conversation.turns.len() as u64)) ". "
                                a href=(self.url(|view| view.turn = next)) { "Further turns" }
                            }
                        } @else { (choices(&conversation.choices, style)) }
                        (more(stored.trace(), style))
                    }
                }
            }
        };
        Frame { title: &title, q: &self.search.q, ..Frame::default() }.page(&body)
    }

    /// Applies `change` to a copy of this page's state, and returns the URL for it.
    fn url(&self, change: impl FnOnce(&mut TraceView)) -> String {
        let mut view = self.view.clone();
        change(&mut view);
        let turn = if view.turn == 0 { String::new() } else { view.turn.to_string() };
        let flag = |is_set: bool| if is_set { "true" } else { "" };
        let state =
            [("plain", flag(view.plain)), ("unfolded", flag(view.unfolded)), ("turn", &turn), ("show", &view.show)];
        let search = [("q", self.search.q.as_str()), ("from", &self.search.from)];
        trace_url(self.key, &[&state[..], &search].concat())
    }

    fn neighbour(&self, neighbour: &Neighbour, direction: &str) -> String {
        let plain = if self.view.plain { "true" } else { "" };
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

    /// Renders turns until the page is full.
    fn turns<'c>(&self, conversation: &'c Conversation, style: Style<'_>) -> Turns<'c> {
        let (mut html, mut shown, mut next) = (String::new(), Vec::new(), None);
        for (place, turn) in conversation.turns.iter().enumerate().skip(self.view.turn) {
            if !shows(&self.view.show, turn) {
                continue;
            }
            if shown.len() >= TURNS || html.len() >= HTML_BYTES {
                next = Some(place);
                break;
            }
            html.push_str(&turn_of(turn, &turn_id(place), style).into_string());
            shown.push((place, turn));
        }
        Turns { html: maud::PreEscaped(html), shown, next }
    }

    /// Shows the filters, and links for folding everything and for going to the next error. None of them needs a
    /// script.
    fn tools(&self, conversation: &Conversation, turns: &Turns<'_>) -> Markup {
        let filters = filter::filters(conversation);
        let has_error = |place: &usize| conversation.turns[*place].has_error();
        let mut errors = (0..conversation.turns.len()).filter(has_error);
        let on_page = turns.shown.iter().map(|(place, _)| *place).find(has_error);
        let elsewhere = match turns.next {
            Some(next) => errors.find(|place| *place >= next),
            None if on_page.is_none() => errors.next(),
            None => None,
        };
        let elsewhere = elsewhere.map(|place| {
            let url = self.url(|view| (view.turn, view.show) = (place, String::new()));
            format!("{url}#{}", turn_id(place))
        });
        let next_error = on_page.map(|place| format!("#{}", turn_id(place))).or_else(|| elsewhere.clone());
        html! {
            nav.tools aria-label="Turns" {
                @if filters.len() > 2 {
                    @for (filter, count) in filters {
                        a href=(self.url(|view| (view.turn, view.show) = (0, filter.to_owned())))
                            aria-current=[(filter == self.view.show).then_some("true")] {
                            @if filter.is_empty() { "all" } @else { (filter) } " " small { (HumanCount(count as u64)) }
                        }
                    }
                }
                a href=(self.url(|view| view.unfolded = true)) data-fold="unfold" { "Unfold all" }
                a href=(self.url(|view| view.unfolded = false)) data-fold="fold" { "Fold all" }
                @if let Some(url) = next_error { a href=(url) data-next-error=(elsewhere.unwrap_or_default()) { "Next error" } }
            }
        }
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
                a data-key="m" href=(self.url(|view| view.plain = !view.plain)) {
                    @if self.view.plain { "Render Markdown" } @else { "Plain text" }
                }
                a href=(Search::default().url(|search| self.key.clone_into(&mut search.with))) { "Compare with another" }
                a href=(raw) { "JSON" }
                a href=(raw.replacen("/raw", "/share", 1)) download=(file_name(self.key)) { "Share as a file" }
                a href=(markdown_url(self.key)) { "Markdown" }
                button type="button" hidden data-copy-url=(raw) { "Copy JSON" }
                button type="button" hidden data-copy-url=(markdown_url(self.key)) { "Copy as Markdown" }
            }
            details.take {
                summary { "Commands" }
                @for TerminalCommand { id, title, text } in self.commands {
                    div.command {
                        p.label { (title) " " button type="button" hidden data-copy=(id) { "Copy" } }
                        pre id=(id) { (text) }
                    }
                }
            }
        }
    }
}

fn file_name(key: &str) -> String {
    let id = Key::read(key).unwrap_or_default().1;
    let safe =
        |character: char| if character.is_ascii_alphanumeric() || "-_.".contains(character) { character } else { '_' };
    format!("trace-{}.html", id.chars().take(80).map(safe).collect::<String>())
}

/// Returns the user's first question, or the key if the trace has no text.
pub fn title(key: &str, conversation: &Conversation) -> String {
    let question = conversation.question().unwrap_or(key);
    let beginning: String = question.chars().take(4 * TITLE).collect();
    let words = beginning.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut title: String = words.chars().take(TITLE).collect();
    if title.len() < words.len() || beginning.len() < question.len() {
        title.push('…');
    }
    title
}
