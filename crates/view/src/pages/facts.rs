//! Lists the facts of a trace above its conversation.

use attest::{key::Key, writer::Writer};
use attest_mapping::conversation::{Header, Tokens};
use indicatif::{BinaryBytes, HumanCount};
use maud::{Markup, html};

use super::{tokens, urls::session_url};

/// The facts with a button for copying.
const COPIED: [&str; 3] = ["key", "fingerprint", "id"];

/// Lists what is known about a trace, in display order.
pub fn known(key: &str, header: &Header, bytes: usize) -> Vec<(&'static str, String)> {
    let (fingerprint, id) = Key::read(key).unwrap_or_default();
    let facts = [
        ("model", Some(header.model.clone())),
        ("created", Some(header.created.clone())),
        ("duration", header.seconds.map(seconds)),
        ("tokens", in_and_out(header.tokens)),
        ("finish", header.finish_reason.clone()),
        ("api", header.api.clone()),
        ("size", Some(BinaryBytes(bytes as u64).to_string())),
        ("key", Some(key.to_owned())),
        ("fingerprint", Some(fingerprint)),
        ("id", Some(id)),
        ("span", header.span.as_ref().and_then(|span| span.name.clone())),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?))).collect()
}

/// Shows the facts. A shared file has no writer, because it leaves the account, no links to other pages and no buttons.
pub fn facts(key: &str, header: &Header, bytes: usize, writer: Option<&Writer>) -> Markup {
    let writers = writer.map(|writer| [("API key", &writer.api_key_id), ("principal", &writer.principal)]);
    let writers = writers.into_iter().flatten().filter_map(|(name, value)| Some((name, value.clone()?)));
    html! {
        @if let Some(error) = &header.error { div.alert #error { p.label { "Error" } pre { (error) } } }
        @if let Some(incomplete) = &header.incomplete { p.notice { "The response is incomplete: " (incomplete) } }
        dl {
            @for (name, value) in known(key, header, bytes).into_iter().chain(writers) {
                @let id = COPIED.contains(&name).then(|| format!("fact-{name}"));
                div {
                    dt { (name) }
                    dd {
                        span id=[id.as_deref()] { (value) }
                        @if let Some(id) = id.filter(|_| writer.is_some()) {
                            " " button type="button" hidden title=(format!("Copy the {name}")) data-copy=(id) { "Copy" }
                        }
                    }
                }
            }
            @for (name, session) in sessions(header) {
                div { dt { (name) } dd { @if writer.is_some() { a href=(session_url(session)) { (session) } } @else { (session) } } }
            }
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

pub fn seconds(seconds: f64) -> String {
    format!("{seconds:.2} s")
}

pub fn in_and_out(tokens: Tokens) -> Option<String> {
    let count = |tokens: u64| HumanCount(tokens).to_string();
    match tokens {
        Tokens { input: Some(input), output: Some(output), .. } => {
            Some(format!("{} in, {} out", count(input), count(output)))
        }
        Tokens { total, .. } => total.map(count),
    }
}
