//! One trace as a self-contained file, without scripts or external resources.

use attest_mapping::conversation::{Header, StoredTrace};
use aws_smithy_types::base64;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::{
    facts::facts,
    highlight::Budget,
    outline::outline,
    part::{FoldLimits, PartText, Style},
    trace::title,
    turn::{choices, more, turn_id, turn_of},
};

const CSS: &str = include_str!("../view.css");

pub fn shared_page(key: &str, json: &[u8]) -> Markup {
    let stored = StoredTrace::read(json);
    let conversation = stored.conversation();
    let header = Header::read(stored.trace());
    let code = Budget::default();
    let style = Style { text: PartText::Both, limits: FoldLimits::TEXT, is_open: false, code: &code };
    let title = title(key, &conversation);
    let turns: Vec<_> = conversation.turns.iter().enumerate().collect();
    let content = html! {
        header.facts {
            h1 { (title) }
            (facts(key, &header, json.len(), None, None))
            p.switch { input #plain type="checkbox"; " " label for="plain" { "Plain text" } }
        }
        div.transcript {
            (outline(&turns))
            div.turns {
                @for (place, turn) in &turns { (turn_of(turn, &turn_id(*place), style)) }
                (choices(&conversation.choices, style))
                (more(stored.trace(), style))
                details.rest {
                    summary { "JSON, as it is stored" }
                    pre #raw { (String::from_utf8_lossy(json)) }
                }
            }
        }
    };
    file(&title, &content)
}

/// An entry in the table of contents of several shared traces.
#[derive(Debug)]
pub struct SharedEntry {
    pub key: String,
    pub title: String,
    /// The URL of the trace's file.
    pub href: String,
}

pub fn shared_title(key: &str, json: &[u8]) -> String {
    title(key, &StoredTrace::read(json).conversation())
}

/// The table of contents of several shared traces.
pub fn shared_contents(entries: &[SharedEntry]) -> Markup {
    let title = format!("Shared traces: {}", entries.len());
    let content = html! {
        h1 { (title) }
        ol.shared {
            @for SharedEntry { key, title, href } in entries {
                li { a href=(href) { (title) } @if key != title { " " code { (key) } } }
            }
        }
    };
    file(&title, &content)
}

fn file(title: &str, content: &Markup) -> Markup {
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'",
        base64::encode(Sha256::digest(CSS.as_bytes()))
    );
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="content-security-policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(CSS)) }
            }
            body { main #main { (content) } }
        }
    }
}
