//! The traces of a session, or of one OpenTelemetry trace, as a tree with one time axis.

use indicatif::HumanCount;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    layout::Frame,
    list::not_searched,
    urls::{session_url, trace_url},
};
use crate::{
    query::{Field, Query},
    search::{Row, Search},
    session::{Session, SessionContent, SessionSpan, start},
};

/// The width of the time axis, in units of its view box.
const WIDTH: f64 = 1_000.0;

/// The largest depth that is indented.
const DEEPEST: usize = 12;

pub fn session(session: &Session) -> Markup {
    let q = Query::default().with(Field::Session, &session.id).to_string();
    let search = Search { q: q.clone(), ..Search::default() };
    let sum = |of: fn(&Row) -> u64| session.rows().map(of).fold(0, u64::saturating_add);
    let tokens = sum(|row| row.header.tokens.total.unwrap_or_default());
    let errors = sum(|row| u64::from(row.header.error.is_some()));
    let is_trace = session.rows().any(|row| row.header.span.is_some());
    let body = html! {
        main.session #main {
            header.facts {
                h1 { (session.id) " " small { @if is_trace { "OpenTelemetry trace" } @else { "session" } } }
                dl {
                    div { dt { "traces" } dd { (HumanCount(session.rows().count() as u64)) } }
                    div { dt { "start" } dd { (time(session.start)) } }
                    div { dt { "duration" } dd { (seconds(session.seconds)) } }
                    @if tokens > 0 { div { dt { "tokens" } dd { (HumanCount(tokens)) } } }
                    @if errors > 0 { div { dt { "errors" } dd { (HumanCount(errors)) } } }
                }
                div.actions { a href=(search.own_url()) { "As a list" } }
            }
            div.axis aria-hidden="true" {
                p { @for part in [0.0, 0.5, 1.0] { span { (seconds(session.seconds * part)) } } }
            }
            ol.rows.spans #rows { @for span in &session.spans { (line(span, session, &q)) } }
            p.none { "No trace here." }
            p.more {
                (HumanCount(session.looked_at as u64)) " traces looked through. "
                (not_searched(session.unreadable))
                @if let Some(next) = &session.next {
                    a rel="next" href=(format!("{}&{}", session_url(&session.id), from(next))) { "Further" }
                }
            }
        }
    };
    Frame { title: &session.id, q: &q, ..Frame::default() }.page(&body)
}

fn from(cursor: &str) -> String {
    serde_urlencoded::to_string([("from", cursor)]).unwrap_or_default()
}

fn line(span: &SessionSpan, session: &Session, q: &str) -> Markup {
    let depth = span.depth.min(DEEPEST);
    html! {
        li class=(format!("depth-{depth}")) {
            @match &span.content {
                SessionContent::Missing(parent) => {
                    p.missing { span.name { "Span " code { (parent) } " is not stored here" } }
                }
                SessionContent::Trace(row) => {
                    a href=(trace_url(&row.entry.key, &[("q", q)])) {
                        span.name {
                            @if span.depth > 0 { span.level { "Level " (span.depth + 1) ": " } }
                            b { (name(row)) }
                            @if row.header.error.is_some() { " " span.badge.bad { "error" } }
                            @if row.header.is_refused { " " span.badge.bad { "refusal" } }
                            " " small { (row.words) }
                        }
                        (bar(row, session))
                        span.time { @if let Some(duration) = row.header.seconds { (seconds(duration)) } }
                        span.tokens {
                            @if let Some(tokens) = row.header.tokens.total { (HumanCount(tokens)) " tokens" }
                        }
                    }
                }
            }
        }
    }
}

fn name(row: &Row) -> &str {
    row.header.span.as_ref().and_then(|span| span.name.as_deref()).unwrap_or(&row.header.model)
}

fn bar(row: &Row, session: &Session) -> Markup {
    let scale = if session.seconds > 0.0 { WIDTH / session.seconds } else { 0.0 };
    let offset = start(row) - session.start;
    let width = (row.header.seconds.unwrap_or_default() * scale).max(4.0);
    let x = (offset * scale).clamp(0.0, WIDTH - 4.0);
    let label = format!("starts after {}", seconds(offset));
    html! {
        svg viewBox=(format!("0 0 {WIDTH} 12")) preserveAspectRatio="none" role="img" aria-label=(label) {
            rect.axis-line x="0" y="5.5" width=(WIDTH) height="1" {}
            rect.span-bar x=(format!("{x:.1}")) y="1" width=(format!("{:.1}", width.min(WIDTH - x))) height="10" {}
        }
    }
}

fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.2} s");
    }
    let minutes = (seconds / 60.0).floor();
    if minutes < 60.0 {
        format!("{minutes} min {:.0} s", seconds - minutes * 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

fn time(seconds: f64) -> String {
    jiff::SignedDuration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|since| Timestamp::from_duration(since).ok())
        .map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}
