//! Renders Markdown as HTML without links or requests to other hosts.

use maud::{Markup, PreEscaped};
use pulldown_cmark::{CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd};

use super::highlight::{self, Budget};

/// The longest text that is rendered, in bytes. Longer texts are shown as plain text, because markers can multiply a
/// text's size.
pub const LONGEST: usize = 256 * 1024;

/// Renders Markdown. HTML is shown as text, and links and images as text with their URLs. Headings become paragraphs,
/// because heading elements are reserved for the page's own headings.
pub fn rendered(markdown: &str, budget: &Budget) -> Markup {
    let mut code: Option<(String, String)> = None; // the language and the text of the code block
    let mut places: Vec<CowStr<'_>> = Vec::new();
    let events = parsed(markdown);
    let events = events.filter_map(move |event| match event {
        Event::Start(Tag::CodeBlock(kind)) => {
            let language = match &kind {
                CodeBlockKind::Fenced(info) => info.split([' ', ',', '{']).next().unwrap_or_default(),
                CodeBlockKind::Indented => "",
            };
            code = Some((language.to_owned(), String::new()));
            None
        }
        Event::End(TagEnd::CodeBlock) => {
            let (language, text) = code.take()?;
            Some(Event::Html(highlight::code(budget, &language, &text).into_string().into()))
        }
        Event::Text(text) if code.is_some() => {
            code.as_mut()?.1.push_str(&text);
            None
        }
        Event::Html(html) | Event::InlineHtml(html) => Some(Event::Text(html)),
        Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => None,
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            places.push(dest_url);
            None
        }
        Event::End(TagEnd::Link | TagEnd::Image) => {
            let place = places.pop().filter(|place| !place.is_empty())?;
            Some(Event::Text(format!(" ({place})").into()))
        }
        Event::Start(Tag::Heading { .. }) => Some(Event::Html("<p class=\"heading\">".into())),
        Event::End(TagEnd::Heading(_)) => Some(Event::Html("</p>".into())),
        event => Some(event),
    });
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, events);
    PreEscaped(html)
}

fn parsed(markdown: &str) -> Parser<'_> {
    Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH)
}

/// Returns the plain text of the first `characters` of Markdown, without markers or URLs.
pub fn text(markdown: &str, characters: usize) -> String {
    let end = markdown.char_indices().nth(characters).map_or(markdown.len(), |(end, _)| end);
    let mut text = String::new();
    for event in parsed(&markdown[..end]) {
        match event {
            Event::Text(part) | Event::Code(part) | Event::Html(part) | Event::InlineHtml(part) => text.push_str(&part),
            Event::SoftBreak | Event::HardBreak => text.push(' '),
            Event::End(end) if !is_inline(end) => text.push(' '),
            _ => {}
        }
    }
    text
}

/// Returns whether an element may end within a word.
fn is_inline(end: TagEnd) -> bool {
    matches!(end, TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link | TagEnd::Image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_no_markers() {
        for (markdown, expected) in [
            ("# Title\n\nIt is **on** its _way_, `now`.", "Title It is on its way, now."),
            ("[the rules](https://shop.test/a) and ![a map](b.png)", "the rules and a map"),
            ("| a | b |\n|---|---|\n| 1 | 2 |", "a b  1 2"),
            ("- one\n- ~~two~~\n\n```python\nx = 1\n```", "one two  x = 1"),
            ("snake_case and 2 * 3 * 4", "snake_case and 2 * 3 * 4"),
        ] {
            assert_eq!(text(markdown, 1_000).trim(), expected, "{markdown}");
        }
        assert_eq!(text("Zürich", 2).trim(), "Zü");
    }
}
