//! The parts of a turn as HTML.

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

/// The length in characters beyond which a text is folded.
const FOLDED: usize = 2_000;

/// The number of lines beyond which a text is folded.
const FOLDED_LINES: usize = 60;

/// The largest number of parts of a turn, or of a result, that are shown.
const MOST: usize = 1_000;

/// The number of lines beyond which a member is folded.
const MEMBER_LINES: usize = 8;

/// The number of characters shown of a folded text.
const SUMMARY: usize = 200;

/// The form of the assistant's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartText {
    Plain,
    Markdown,
    /// Both, for a file without scripts, in which the style sheet selects one.
    Both,
}

#[derive(Debug, Clone, Copy)]
pub struct Style<'a> {
    pub text: PartText,
    /// The amount of code that may still be highlighted.
    pub code: &'a Budget,
}

pub fn parts(parts: &[Part], style: Style<'_>) -> Markup {
    html! {
        @for part in parts.iter().take(MOST) { (part_of(part, style)) }
        @if parts.len() > MOST {
            p.notice { (HumanCount((parts.len() - MOST) as u64)) " more parts are in the JSON only." }
        }
    }
}

fn part_of(part: &Part, style: Style<'_>) -> Markup {
    match part {
        Part::Text { text, citations } => html! { (text_of(text, style)) (sources(citations)) },
        Part::Thinking(Some(text)) => html! {
            details.thinking { summary { "Thinking " small { (summary_of(text, 80)) } } (plain(text)) }
        },
        Part::Thinking(None) => html! { p.thinking { "Thinking that the provider encrypted" } },
        Part::Refusal(text) => html! {
            details.refusal { summary { "Refusal " small { (summary_of(text, 80)) } } (plain(text)) }
        },
        Part::Media(media) => medium(media),
        Part::Call(call) => call_of(call, style),
        Part::Result(result) => {
            html! { div.call { (result_of(result, &format!("Result of {}", result.call), style)) } }
        }
        Part::Other { kind, json } => html! { details.other { summary { (kind) } (plain(&json.readable())) } },
    }
}

/// Shows a text, folded if it is long.
fn text_of(text: &str, style: Style<'_>) -> Markup {
    let shown = if style.text == PartText::Plain || text.len() > markdown::LONGEST {
        plain(text)
    } else {
        html! {
            div.markdown { (markdown::rendered(text, style.code)) }
            @if style.text == PartText::Both { pre.content.exact { (text) } }
        }
    };
    folded(text, &shown)
}

fn folded(text: &str, shown: &Markup) -> Markup {
    let is_long = text.chars().nth(FOLDED).is_some() || text.lines().nth(FOLDED_LINES).is_some();
    html! {
        @if is_long {
            details.long { summary { (summary_of(text, SUMMARY)) } (shown) }
        } @else { (shown) }
    }
}

pub fn members<'a>(members: impl Iterator<Item = (&'a str, &'a Json)>) -> Markup {
    html! {
        dl.members {
            @for (name, value) in members {
                @let text = value.readable();
                dt { (name) }
                dd {
                    @if let Some(lines) = Some(text.lines().count()).filter(|lines| *lines > MEMBER_LINES) {
                        details { summary { (HumanCount(lines as u64)) " lines" } pre { (text) } }
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

fn call_of(call: &ToolCall, style: Style<'_>) -> Markup {
    let language = if is_json(&call.arguments) { "json" } else { "" };
    html! {
        div.call {
            h3 { span.icon aria-hidden="true" { "▸ " } (call.name) " " small { (call.id) } }
            @if !call.arguments.is_empty() {
                div.arguments { (folded(&call.arguments, &highlight::code(style.code, language, &call.arguments))) }
            }
            @if let Some(result) = &call.result { (result_of(result, "Result", style)) }
            @else { p.unanswered { "No result in this trace" } }
        }
    }
}

fn is_json(text: &str) -> bool {
    text.starts_with(['{', '['])
}

fn laid_out(text: &str) -> String {
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
                (folded(&shown, &highlight::code(style.code, "json", &shown)))
            } @else { (parts(&result.parts, Style { text: PartText::Plain, ..style })) }
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

fn medium(media: &Media) -> Markup {
    let Media { kind, name, source } = media;
    let name = name.as_deref().unwrap_or_default();
    let what = match kind {
        MediaKind::Image => "Image",
        MediaKind::Audio => "Audio",
        MediaKind::File => "File",
    };
    match source {
        MediaSource::Elsewhere(place) => html! {
            p.elsewhere { (what) " " (name) " at " code { (place) } " (not loaded)" }
        },
        MediaSource::Text(text) => html! {
            details.other { summary { (what) " " (name) } (plain(text)) }
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

/// Returns a name for a saved file, without folders and control characters.
fn file_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|character| !character.is_control()).take(100).collect();
    if name.trim_matches('.').is_empty() { "file".to_owned() } else { name }
}
