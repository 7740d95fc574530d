//! The traces of a session, or of one OpenTelemetry trace, as a tree on one time axis.

use indicatif::HumanCount;
use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};

use super::{
    layout::Frame,
    list::{Outcome, STREAMED, not_searched, searched, stop_form},
    urls::{session_url, trace_url},
};
use crate::{
    search::{Row, Search, Totals},
    session::{Session, SessionContent, SessionSpan, start},
};

/// The width of the time axis, in view box units.
const WIDTH: f64 = 1_000.0;

/// The largest depth that is indented.
const DEEPEST: usize = 12;

/// Renders the page without its content. The search's progress is streamed into it, and then the session.
pub fn session_frame(id: &str, q: &str) -> Markup {
    let body = html! { (stop_form()) main.session #main { (PreEscaped(STREAMED)) } };
    Frame { title: id, q, ..Frame::default() }.page(&body)
}

pub fn session(session: &Session, q: &str, found: Totals, total: Option<usize>, outcome: &Outcome) -> Markup {
    let search = Search { q: q.to_owned(), ..Search::default() };
    let figures = &session.figures;
    let is_trace = session.rows().any(|row| row.header.span.is_some());
    let fact = |name: &str, value: String| html! { div { dt { (name) } dd { (value) } } };
    let count = |count: u64| HumanCount(count).to_string();
    html! {
        header.facts {
            h1 { (session.id) " " small { @if is_trace { "OpenTelemetry trace" } @else { "session" } } }
            @match outcome {
                Outcome::Failed(error) => {
                    div.alert role="alert" {
                        p.label { "The search failed, so traces may be missing here" } pre { (format!("{error:#}")) }
                    }
                }
                Outcome::Stopped => { p.notice { "Stopped: traces may be missing here, and the figures are those of the traces found. " a href=(session_url(&session.id)) { "Search again" } } }
                Outcome::Complete | Outcome::Listed => {}
            }
            @if figures.traces > 0 {
                dl {
                    (fact("traces", count(figures.traces as u64)))
                    @if figures.models.len() == 1 {
                        @for model in figures.models.keys() { (fact("model", model.clone())) }
                    } @else {
                        div {
                            dt { "models" }
                            dd { @for (place, (model, traces)) in figures.models.iter().enumerate() { @if place > 0 { ", " } (model) " (" (HumanCount(*traces)) ")" } }
                        }
                    }
                    (fact("start", time(figures.start())))
                    (fact("duration", seconds(figures.seconds())))
                    @if figures.tokens > 0 { (fact("tokens", count(figures.tokens))) }
                    (fact("errors", count(figures.errors)))
                    @if figures.refusals > 0 { (fact("refusals", count(figures.refusals))) }
                }
                div.actions { a href=(search.own_url()) { "As a list" } }
            }
        }
        @if figures.traces > 0 {
            div.axis aria-hidden="true" {
                p { @for part in [0.0, 0.5, 1.0] { span { (seconds(figures.seconds() * part)) } } }
            }
        }
        ol.rows.spans #rows { @for span in &session.spans { (line(span, session, q)) } }
        p.none { "No trace of this session is stored here." }
        p.more {
            @if session.rows().count() < figures.traces {
                "The " (count(session.rows().count() as u64)) " traces that were found first are shown; the figures are those of all. "
            }
            (searched(found.looked_at, total)) " searched. "
            (not_searched(found.unreadable))
        }
    }
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
                            @if name(row) != row.header.model { " " small.model { (row.header.model) } }
                            " " small { (row.words) }
                        }
                        (bar(row, session))
                        span.time { @if let Some(duration) = row.header.seconds { (seconds(duration)) } }
                        span.tokens {
                            @if let Some(tokens) = row.header.tokens.total { (HumanCount(tokens)) " tokens" }
                        }
                    }
                    @if !row.preview.is_empty() {
                        details.preview {
                            summary { "Preview" }
                            @for (role, text) in &row.preview { p.label { (role) } pre.content { (text) } }
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
    let length = session.figures.seconds();
    let scale = if length > 0.0 { WIDTH / length } else { 0.0 };
    let offset = start(row) - session.figures.start();
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
