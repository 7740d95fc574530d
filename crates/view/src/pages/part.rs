//! Renders the parts of a turn.

use attest_mapping::{
    conversation::{Citation, Media, MediaKind, MediaSource, Part, ToolCall, ToolResult},
    json::Json,
};
use aws_smithy_types::base64;
use indicatif::{BinaryBytes, HumanCount};
use maud::{Markup, html};

use super::{
    highlight::{self, Budget},
    markdown,
};

/// The largest number of parts that are shown of a turn or a result.
const MOST: usize = 1_000;

/// The number of lines above which a member is folded.
const MEMBER_LINES: usize = 8;

/// How much of a folded text is shown, in characters.
const SUMMARY: usize = 200;

/// How the assistant's texts are rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartText {
    Plain,
    Markdown,
    /// Both, for a file without scripts, where the style sheet selects one.
    Both,
}

/// The size above which a string is folded.
#[derive(Debug, Clone, Copy)]
pub struct FoldLimits {
    characters: usize,
    lines: usize,
}

impl FoldLimits {
    pub const TEXT: Self = Self { characters: 2_000, lines: 60 };
    /// A prompt is the same in many traces, so it should not push the question off the screen.
    pub const PROMPT: Self = Self { characters: 400, lines: 8 };

    fn are_exceeded_by(self, text: &str) -> bool {
        text.chars().nth(self.characters).is_some() || text.lines().nth(self.lines).is_some()
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Style<'a> {
    pub text: PartText,
    pub limits: FoldLimits,
    /// Whether everything is unfolded.
    pub is_open: bool,
    /// The page's budget for highlighting code.
    pub code: &'a Budget,
}

/// Shows a link to the element with the fragment `id`. The script adds a button that copies the element next to it.
pub fn anchor(id: &str, what: &str) -> Markup {
    html! { a.anchor href=(format!("#{id}")) aria-label=(format!("Link to this {what}, {id}")) { "#" } }
}

/// Shows parts. The calls in a turn have fragments that start with the turn's `id`.
pub fn parts(parts: &[Part], id: Option<&str>, style: Style<'_>) -> Markup {
    html! {
        @for (place, part) in parts.iter().take(MOST).enumerate() {
            (part_of(part, id.map(|id| part_id(id, place)).as_deref(), style))
        }
        @if parts.len() > MOST {
            p.notice { (HumanCount((parts.len() - MOST) as u64)) " more parts are in the JSON only." }
        }
    }
}

/// Returns the fragment of a part in the turn with the fragment `turn`.
pub fn part_id(turn: &str, place: usize) -> String {
    format!("{turn}-{}", place + 1)
}

fn part_of(part: &Part, id: Option<&str>, style: Style<'_>) -> Markup {
    match part {
        Part::Text { text, citations } => html! { (text_of(text, style)) (sources(citations)) },
        Part::Thinking(Some(text)) => html! {
            details.thinking open[style.is_open] { summary { "Thinking " small { (summary_of(text, 80)) } } (plain(text)) }
        },
        Part::Thinking(None) => html! { p.thinking { "Thinking that the provider encrypted" } },
        Part::Refusal(text) => html! {
            details.refusal open[style.is_open] { summary { "Refusal " small { (summary_of(text, 80)) } } (plain(text)) }
        },
        Part::Media(media) => medium(media, style),
        Part::Call(call) => call_of(call, id, style),
        Part::Result(result) => {
            html! { div.call id=[id] { (result_of(result, &format!("Result of {}", result.call), style)) } }
        }
        Part::Other { kind, json } => html! {
            details.other open[style.is_open] { summary { (kind) } (plain(&json.readable())) }
        },
    }
}

/// Shows text, folded if it is long.
fn text_of(text: &str, style: Style<'_>) -> Markup {
    let shown = if style.text == PartText::Plain || text.len() > markdown::LONGEST {
        plain(text)
    } else {
        html! {
            div.markdown { (markdown::rendered(text, style.code)) }
            @if style.text == PartText::Both { pre.content.exact { (text) } }
        }
    };
    if style.text == PartText::Plain {
        return folded(text, text, &shown, style);
    }
    folded(text, &markdown::text(text, 2 * SUMMARY), &shown, style)
}

/// Folds `shown`, which renders `text`, if the text is long.
fn folded(text: &str, summary: &str, shown: &Markup, style: Style<'_>) -> Markup {
    html! {
        @if style.limits.are_exceeded_by(text) {
            details.long open[style.is_open] { summary { (summary_of(summary, SUMMARY)) } (shown) }
        } @else { (shown) }
    }
}

pub fn members<'a>(members: impl Iterator<Item = (&'a str, &'a Json)>, style: Style<'_>) -> Markup {
    html! {
        dl.members {
            @for (name, value) in members {
                @let text = value.readable();
                dt { (name) }
                dd {
                    @if let Some(lines) = Some(text.lines().count()).filter(|lines| *lines > MEMBER_LINES) {
                        details open[style.is_open] { summary { (HumanCount(lines as u64)) " lines" } pre { (text) } }
                    } @else { pre { (text) } }
                }
            }
        }
    }
}

fn plain(text: &str) -> Markup {
    html! { pre.content { (text) } }
}

fn summary_of(text: &str, characters: usize) -> String {
    let mut summary: String = text.trim_start().chars().take(characters).collect();
    if text.chars().nth(characters).is_some() {
        summary.push('…');
    }
    summary
}

fn call_of(call: &ToolCall, id: Option<&str>, style: Style<'_>) -> Markup {
    let language = if is_json(&call.arguments) { "json" } else { "" };
    html! {
        div.call id=[id] {
            div.bar {
                h3 { span.icon aria-hidden="true" { "▸ " } (call.name) " " small { (call.id) } }
                @if let Some(id) = id { (anchor(id, "call")) }
            }
            @if !call.arguments.is_empty() {
                div.arguments { (folded(&call.arguments, &call.arguments, &highlight::code(style.code, language, &call.arguments), style)) }
            }
            @if let Some(result) = &call.result { (result_of(result, "Result", style)) }
            @else { p.unanswered { "No result in this trace" } }
        }
    }
}

pub fn is_json(text: &str) -> bool {
    text.starts_with(['{', '['])
}

pub fn laid_out(text: &str) -> String {
    Json::read(text.as_bytes()).map_or_else(|| text.to_owned(), |json| json.readable())
}

fn result_of(result: &ToolResult, title: &str, style: Style<'_>) -> Markup {
    let json = match &result.parts[..] {
        [Part::Text { text, .. }] if is_json(text) => Some(text),
        _ => None,
    };
    html! {
        div.result data-error[result.is_error] {
            p.label { @if result.is_error { "Error: " } (title) }
            @if result.parts.is_empty() { p { "Empty" } }
            @if let Some(text) = json {
                @let shown = if style.text == PartText::Plain { text.clone() } else { laid_out(text) };
                (folded(&shown, &shown, &highlight::code(style.code, "json", &shown), style))
            } @else { (parts(&result.parts, None, Style { text: PartText::Plain, ..style })) }
        }
    }
}

fn sources(citations: &[Citation]) -> Markup {
    html! {
        @if !citations.is_empty() {
            div.sources {
                p.label { "Sources" }
                ol {
                    @for Citation { title, quote } in citations.iter().take(MOST) {
                        li { (title) @if let Some(quote) = quote { " " q { (quote) } } }
                    }
                }
            }
        }
    }
}

fn medium(media: &Media, style: Style<'_>) -> Markup {
    let Media { kind, name, source } = media;
    let name = name.as_deref().unwrap_or_default();
    let what = kind.name();
    match source {
        MediaSource::Elsewhere(place) => html! {
            p.elsewhere { (what) " " (name) " at " code { (place) } " (not loaded)" }
        },
        MediaSource::Text(text) => html! {
            details.other open[style.is_open] { summary { (what) " " (name) } (plain(text)) }
        },
        MediaSource::Data { media_type, bytes } => {
            let base64 = base64::encode(bytes);
            let url = format!("data:{media_type};base64,{base64}");
            let size = BinaryBytes(bytes.len() as u64);
            html! {
                figure {
                    @match kind {
                        MediaKind::Image => { img src=(url) alt=(if name.is_empty() { "An image of this message" } else { name }); }
                        MediaKind::Audio => { audio controls preload="none" src=(url) aria-label="Audio of this message" {} }
                        MediaKind::File => {
                            a href=(format!("data:application/octet-stream;base64,{base64}")) download=(file_name(name)) {
                                "Download " (file_name(name))
                            }
                        }
                    }
                    figcaption { (what) " " (name) " · " (media_type) " · " (size) }
                }
            }
        }
    }
}

/// Returns a name for a saved file, without folders or control characters.
fn file_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|character| !character.is_control()).take(100).collect();
    if name.trim_matches('.').is_empty() { "file".to_owned() } else { name }
}
