//! The start page: totals by day and model, sizes, and the newest traces.

use std::{collections::BTreeMap, sync::Arc};

use attest_mapping::Prices;
use attest_query::{Field, Query};
use attest_storage::PlaceKind;
use indicatif::{BinaryBytes, HumanCount};
use jiff::civil::Date;
use maud::{Markup, PreEscaped, html};
use serde::{Deserialize, Serialize};

use super::{
    chart::{self, Bar, COLORS},
    layout::Frame,
    list::{STREAMED, q_with, row_of, stop_form},
    place::PlaceFacts,
};
use crate::{
    search::Search,
    stats::{Days, Figures, OTHERS, SIZES, Stats, TimeBasis, UNREAD, by_model},
};

/// The largest number of days in a chart. The newest days are shown.
const DAYS: usize = 30;

/// The number of series with their own colour. The others share one.
const SERIES: usize = COLORS.len() - 1;

/// The largest number of models in the table.
const MODELS: usize = 50;

/// The user's choices, as in the page's URL.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Choice {
    /// The time that determines a trace's day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeBasis>,
    /// Whether all traces are read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

impl Choice {
    fn url(self) -> String {
        format!("/?{}", serde_urlencoded::to_string(self).unwrap_or_default())
    }
}

#[derive(Debug)]
pub struct Overview {
    pub stats: Stats,
    pub choice: Choice,
    /// Why not all traces were read.
    pub error: Option<anyhow::Error>,
    pub place: PlaceFacts,
    pub prices: Arc<Prices>,
}

impl Overview {
    /// Renders the page's frame, with a mark where the content goes.
    pub fn frame() -> Markup {
        let body = html! { (stop_form()) main.overview #main { (PreEscaped(STREAMED)) } };
        Frame { title: "Overview", view: "/", ..Frame::default() }.page(&body)
    }

    /// Renders the content of the page, without the frame.
    pub fn content(&self) -> Markup {
        let Self { stats, place, .. } = self;
        let basis = self.choice.time.unwrap_or_else(|| stats.basis());
        let days = stats.days(basis);
        let models = by_model(&days);
        let read = stats.read;
        let count = |count: u64| HumanCount(count).to_string();
        html! {
            h1 { "Overview " small { (place.name) } }
            @if let Some(error) = &self.error {
                div.alert role="alert" { p.label { "Reading failed, so the figures are not complete" } pre { (format!("{error:#}")) } }
            }
            p.bound { (self.bound()) @if !stats.is_whole() { " " a href=(Choice { all: true, ..self.choice }.url()) { "Read all" } } }
            (place.notes())
            @if stats.traces == 0 { (place.first_trace()) } @else {
                dl.totals {
                    (total("traces", &count(read.traces), &self.scope(), "/traces"))
                    (total("size", &BinaryBytes(read.bytes).to_string(), &self.scope(), "/traces"))
                    (total("tokens", &count(read.tokens), &self.scope(), "/traces"))
                    (total("errors", &count(read.errors), &self.scope(), &url("is:error")))
                    (total("refusals", &count(read.refusals), &self.scope(), &url("is:refusal")))
                }
                (self.basis(basis))
                div.charts {
                    (by_day(&days, &models, basis, "Traces per day", "traces", &self.scope_of_days(basis), |figures| figures.traces))
                    (by_day(&days, &models, basis, "Tokens per day", "tokens", &self.scope(), |figures| figures.tokens))
                    (sizes(stats, if stats.has_sizes_of_read() { self.scope() } else { self.scope_of_listing() }.as_str()))
                    (table(&stats.models(), &self.scope()))
                }
                section aria-labelledby="newest" {
                    h2 #newest { @if place.kind == PlaceKind::Folder && !stats.is_lake { "Newest traces" } @else { "Newest of the traces read" } " " small { "times of storage, in UTC" } }
                    ol.rows { @for row in &stats.newest { (row_of(row, &Search::default(), &self.prices)) } }
                }
            }
        }
    }

    /// Says which traces the totals cover, unless they cover all.
    fn scope(&self) -> String {
        if self.stats.is_whole() {
            String::new()
        } else {
            format!("of {} traces read", HumanCount(self.stats.read.traces))
        }
    }

    fn scope_of_listing(&self) -> String {
        let traces = HumanCount(self.stats.traces as u64);
        if self.stats.is_whole() {
            String::new()
        } else if self.stats.has_more {
            format!("of the first {traces} traces")
        } else {
            format!("of all {traces} traces")
        }
    }

    fn scope_of_days(&self, basis: TimeBasis) -> String {
        if basis == TimeBasis::Created || self.stats.is_lake && self.stats.has_more {
            self.scope()
        } else {
            self.scope_of_listing()
        }
    }

    /// Says which time determines the days, and offers the other one.
    fn basis(&self, basis: TimeBasis) -> Markup {
        let timeless = self.stats.timeless;
        html! {
            p.basis {
                @match basis {
                    TimeBasis::Created => {
                        "Days are those of " code { "created" } " in the trace, in UTC. "
                        @if timeless > 0 { (HumanCount(timeless)) @if timeless == 1 { " trace has" } @else { " traces have" } " no such time, and no day here. " }
                        a href=(Choice { time: Some(TimeBasis::Stored), ..self.choice }.url()) { "Show days of storage" }
                    }
                    TimeBasis::Stored => {
                        "Days are those of storage, in UTC. "
                        a href=(Choice { time: Some(TimeBasis::Created), ..self.choice }.url()) { "Show days of " code { "created" } }
                    }
                }
            }
        }
    }

    fn bound(&self) -> Markup {
        let Stats { unreadable, has_more, .. } = self.stats;
        let (traces, read) = (HumanCount(self.stats.traces as u64), HumanCount(self.stats.read.traces));
        html! {
            @if self.stats.traces == 0 && self.place.kind == PlaceKind::Files { "No line is a trace." }
            @else if self.stats.traces == 0 { "No trace is stored here yet." }
            @else if self.stats.is_whole() && unreadable == 0 { "All " (traces) " traces were read." }
            @else if self.stats.is_whole() { (read) " of " (traces) " traces were read." }
            @else if self.stats.is_lake && has_more {
                (read) " traces of the newest days of the lake were read. The lake does not count the traces of one fingerprint."
            } @else if has_more {
                "The first " (traces) " traces in the order of the keys are listed, because S3 lists in no other order. "
                "Figures and models are those of the first " (read) "."
            } @else if self.stats.is_lake {
                "The lake has " (traces) " traces. Figures, models and sizes are those of " (read) " traces of the newest days."
            } @else {
                (traces) " traces are stored. Figures and models are those of the "
                @match self.place.kind {
                    PlaceKind::Folder => { "newest " (read) "." }
                    PlaceKind::Files => { "first " (read) " in the order of the lines." }
                    PlaceKind::Bucket => { "first " (read) " in the order of the keys." }
                }
            }
            @if unreadable > 0 { " " (HumanCount(unreadable as u64)) @if unreadable == 1 { " object" } @else { " objects" } " cannot be read." }
        }
    }
}

fn url(q: &str) -> String {
    Search { q: q.to_owned(), ..Search::default() }.own_url()
}

fn total(name: &str, value: &str, scope: &str, url: &str) -> Markup {
    html! { div { dt { (name) } dd { a href=(url) { (value) } @if !scope.is_empty() { " " small { (scope) } } } } }
}

/// Returns the URL of a day's traces, or of those of one model.
fn day_url(day: Date, basis: TimeBasis, model: Option<&str>) -> String {
    let field = match basis {
        TimeBasis::Created => Field::Created,
        TimeBasis::Stored => Field::Stored,
    };
    let query = Query::default().with(Field::Model, model.unwrap_or_default()).unwrap_or_default();
    url(&q_with(&query, field, &day.to_string()))
}

fn heading(title: &str, scope: &str) -> Markup {
    html! { h2 { (title) @if !scope.is_empty() { " " small { (scope) } } } }
}

/// Renders a bar chart of one metric by day, stacked by model, with the daily totals in a table.
fn by_day(
    all: &Days,
    models: &[(&str, Figures)],
    basis: TimeBasis,
    title: &str,
    unit: &str,
    scope: &str,
    of: fn(&Figures) -> u64,
) -> Markup {
    let series: BTreeMap<&str, usize> = models
        .iter()
        .filter(|(model, _)| *model != UNREAD)
        .take(SERIES)
        .enumerate()
        .map(|(place, (model, _))| (*model, place))
        .collect();
    let days: Vec<_> = all.iter().rev().take(DAYS).collect();
    let bars: Vec<Bar> = days
        .iter()
        .rev()
        .map(|(day, by_model)| {
            let mut bar = Bar { label: chart::day_label(**day), parts: Vec::new(), urls: Vec::new() };
            let mut others = 0;
            for (model, _) in models.iter().filter(|(model, _)| series.contains_key(model)) {
                if let Some(value) = by_model.get(*model).map(of).filter(|value| *value > 0) {
                    bar.parts.push((series[model], value, format!("{day}, {model}: {} {unit}", HumanCount(value))));
                    bar.urls.push(day_url(**day, basis, Some(model)));
                }
            }
            for (_, figures) in by_model.iter().filter(|(model, _)| !series.contains_key(model.as_str())) {
                others += of(figures);
            }
            if others > 0 {
                bar.parts.push((SERIES, others, format!("{day}, others: {} {unit}", HumanCount(others))));
                bar.urls.push(day_url(**day, basis, None));
            }
            bar
        })
        .collect();
    let has = |is_unread: bool| {
        models
            .iter()
            .any(|(model, figures)| !series.contains_key(model) && (*model == UNREAD) == is_unread && of(figures) > 0)
    };
    let rest = [has(false).then_some("others"), has(true).then_some(UNREAD)];
    let rest: Vec<&str> = rest.into_iter().flatten().collect();
    html! {
        section.card aria-label=(title) {
            (heading(title, scope))
            (chart::bars(title, &bars))
            ul.legend {
                @for (model, _) in models.iter().filter(|(model, _)| series.contains_key(model)) {
                    li { span class=(format!("swatch c{}", series[model])) {} (model) }
                }
                @if !rest.is_empty() { li { span class=(format!("swatch c{SERIES}")) {} (rest.join(" and ")) } }
            }
            details {
                summary { "Numbers" }
                table {
                    thead { tr { th { "Day" } th { (unit) } } }
                    tbody {
                        @for (day, by_model) in &days {
                            tr {
                                td { a href=(day_url(**day, basis, None)) { (day) } }
                                td.number { (HumanCount(by_model.values().map(of).fold(0, u64::saturating_add))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn sizes(stats: &Stats, scope: &str) -> Markup {
    let label = |place: usize| match SIZES[place] {
        u64::MAX => format!("over {}", BinaryBytes(SIZES[place - 1])),
        bound => format!("to {}", BinaryBytes(bound)),
    };
    let bars: Vec<Bar> = stats
        .sizes
        .iter()
        .enumerate()
        .map(|(place, count)| Bar {
            label: label(place).replace(".00", ""),
            parts: vec![(0, *count, format!("{}: {} traces", label(place), HumanCount(*count)))],
            urls: vec!["/traces".to_owned()],
        })
        .collect();
    html! {
        section.card aria-label="Sizes" {
            (heading("Sizes", scope))
            (chart::bars("Traces by size", &bars))
            details {
                summary { "Numbers" }
                table {
                    thead { tr { th { "Size" } th { "traces" } } }
                    tbody {
                        @for (place, count) in stats.sizes.iter().enumerate() {
                            tr { td { (label(place)) } td.number { (HumanCount(*count)) } }
                        }
                    }
                }
            }
        }
    }
}

fn table(models: &[(&str, Figures)], scope: &str) -> Markup {
    html! {
        section.card aria-labelledby="models" {
            h2 #models { "Models" @if !scope.is_empty() { " " small { (scope) } } }
            table {
                thead { tr { th { "Model" } th { "Traces" } th { "Tokens" } th { "Errors" } th { "Refusals" } } }
                tbody {
                    @for (model, figures) in models.iter().take(MODELS) {
                        tr {
                            td {
                                @if *model == OTHERS { (model) }
                                @else { a href=(url(&q_with(&Query::default(), Field::Model, model))) { (model) } }
                            }
                            @for value in [figures.traces, figures.tokens, figures.errors, figures.refusals] {
                                td.number { (HumanCount(value)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
