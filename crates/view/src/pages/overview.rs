//! The start page: figures by day and model, sizes, and the newest traces.

use std::collections::BTreeMap;

use attest_storage::PlaceKind;
use indicatif::{BinaryBytes, HumanCount};
use jiff::{ToSpan, civil::Date};
use maud::{Markup, html};

use super::{
    chart::{self, Bar, COLORS},
    layout::Frame,
    list::row_of,
    place::PlaceFacts,
};
use crate::{
    query::{Field, Query},
    search::Search,
    stats::{Figures, SIZES, Stats, UNREAD},
};

/// The largest number of days in a chart. The newest days are shown.
const DAYS: usize = 30;

/// The number of series with their own colour. The others are drawn together.
const SERIES: usize = COLORS.len() - 1;

/// The largest number of models in the table.
const MODELS: usize = 50;

#[derive(Debug)]
pub struct Overview {
    pub stats: Stats,
    pub place: PlaceFacts,
}

impl Overview {
    pub fn render(&self) -> Markup {
        let Self { stats, place } = self;
        let models = stats.models();
        let sum = |of: fn(&Figures) -> u64| models.iter().map(|(_, figures)| of(figures)).fold(0, u64::saturating_add);
        let body = html! {
            main.overview #main {
                h1 { "Overview " small { (place.name) } }
                p.bound { (self.bound()) }
                (place.notes())
                @if stats.traces == 0 { (place.first_trace()) } @else {
                    dl.totals {
                        (total("traces", &HumanCount(stats.traces as u64).to_string(), "/traces"))
                        (total("size", &BinaryBytes(stats.bytes).to_string(), "/traces"))
                        (total("tokens", &HumanCount(sum(|figures| figures.tokens)).to_string(), "/traces"))
                        (total("errors", &HumanCount(sum(|figures| figures.errors)).to_string(), &url("is:error")))
                        (total("refusals", &HumanCount(sum(|figures| figures.refusals)).to_string(), &url("is:refusal")))
                    }
                    div.charts {
                        (by_day(stats, &models, "Traces per day", "traces", |figures| figures.traces))
                        (by_day(stats, &models, "Tokens per day", "tokens", |figures| figures.tokens))
                        (sizes(stats))
                        (table(&models))
                    }
                    section aria-labelledby="newest" {
                        h2 #newest { @if place.kind == PlaceKind::Folder && !stats.is_lake { "Newest traces" } @else { "Newest of the traces read" } }
                        ol.rows { @for row in &stats.newest { (row_of(row, &Search::default())) } }
                    }
                }
            }
        };
        Frame { title: "Overview", view: "/", ..Frame::default() }.page(&body)
    }

    fn bound(&self) -> Markup {
        let Stats { traces, read, unreadable, has_more, .. } = self.stats;
        let (traces, read) = (HumanCount(traces as u64), HumanCount(read as u64));
        html! {
            @if self.stats.traces == 0 && self.place.kind == PlaceKind::Files { "No line is a trace." }
            @else if self.stats.traces == 0 { "No trace is stored here yet." }
            @else if self.stats.read == self.stats.traces && !has_more { "All " (traces) " traces were read." }
            @else if self.stats.read + unreadable == self.stats.traces && !has_more { (read) " of " (traces) " traces were read." }
            @else if self.stats.is_lake && has_more {
                (read) " traces of the newest days of the lake were read. The lake does not count the traces of one fingerprint."
            } @else if has_more {
                "The first " (traces) " traces in the order of the keys are counted, because S3 lists in no other order. "
                "Models, tokens, errors and refusals are those of the first " (read) "."
            } @else if self.stats.is_lake {
                "All " (traces) " traces of the lake are counted. Models, tokens, errors, refusals and sizes are those of "
                (read) " traces of the newest days."
            } @else {
                "All " (traces) " traces are counted. Models, tokens, errors and refusals are those of the "
                @match self.place.kind {
                    PlaceKind::Folder => { "newest " (read) "." }
                    PlaceKind::Files => { "first " (read) " in the order of the lines." }
                    PlaceKind::Bucket => { "first " (read) " in the order of the keys." }
                }
            }
            @if unreadable > 0 { " " (HumanCount(unreadable as u64)) " objects cannot be read." }
        }
    }
}

fn url(q: &str) -> String {
    Search { q: q.to_owned(), ..Search::default() }.own_url()
}

fn total(name: &str, value: &str, url: &str) -> Markup {
    html! { div { dt { (name) } dd { a href=(url) { (value) } } } }
}

/// Returns the URL of a day's traces, limited to one model if it is known.
fn day_url(day: Date, model: Option<&str>) -> String {
    let next = day.checked_add(1.day()).unwrap_or(day);
    let query = Query::default().with(Field::Model, model.unwrap_or_default());
    let query = query.with(Field::Since, &day.to_string()).with(Field::Until, &next.to_string());
    url(&query.to_string())
}

/// Draws a figure by day, stacked by model, with its numbers in a table.
fn by_day(stats: &Stats, models: &[(&str, Figures)], title: &str, unit: &str, of: fn(&Figures) -> u64) -> Markup {
    let series: BTreeMap<&str, usize> = models
        .iter()
        .filter(|(model, _)| *model != UNREAD)
        .take(SERIES)
        .enumerate()
        .map(|(place, (model, _))| (*model, place))
        .collect();
    let days: Vec<_> = stats.days.iter().rev().take(DAYS).collect();
    let bars: Vec<Bar> = days
        .iter()
        .rev()
        .map(|(day, by_model)| {
            let mut bar = Bar { label: chart::day_label(**day), parts: Vec::new(), urls: Vec::new() };
            let mut others = 0;
            for (model, _) in models.iter().filter(|(model, _)| series.contains_key(model)) {
                if let Some(value) = by_model.get(*model).map(of).filter(|value| *value > 0) {
                    bar.parts.push((series[model], value, format!("{day}, {model}: {} {unit}", HumanCount(value))));
                    bar.urls.push(day_url(**day, Some(model)));
                }
            }
            for (model, figures) in by_model.iter().filter(|(model, _)| !series.contains_key(model.as_str())) {
                let _ = model;
                others += of(figures);
            }
            if others > 0 {
                bar.parts.push((SERIES, others, format!("{day}, others: {} {unit}", HumanCount(others))));
                bar.urls.push(day_url(**day, None));
            }
            bar
        })
        .collect();
    let has_others = models.iter().any(|(model, figures)| !series.contains_key(model) && of(figures) > 0);
    html! {
        section.card aria-label=(title) {
            h2 { (title) }
            (chart::bars(title, &bars))
            ul.legend {
                @for (model, _) in models.iter().filter(|(model, _)| series.contains_key(model)) {
                    li { span class=(format!("swatch c{}", series[model])) {} (model) }
                }
                @if has_others { li { span class=(format!("swatch c{SERIES}")) {} "others and " (UNREAD) } }
            }
            details {
                summary { "Numbers" }
                table {
                    thead { tr { th { "Day" } th { (unit) } } }
                    tbody {
                        @for (day, by_model) in &days {
                            tr {
                                td { a href=(day_url(**day, None)) { (day) } }
                                td.number { (HumanCount(by_model.values().map(of).fold(0, u64::saturating_add))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn sizes(stats: &Stats) -> Markup {
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
            h2 { "Sizes" }
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

fn table(models: &[(&str, Figures)]) -> Markup {
    html! {
        section.card aria-labelledby="models" {
            h2 #models { "Models" }
            table {
                thead { tr { th { "Model" } th { "Traces" } th { "Tokens" } th { "Errors" } th { "Refusals" } } }
                tbody {
                    @for (model, figures) in models.iter().take(MODELS) {
                        tr {
                            td {
                                @if *model == UNREAD { (model) }
                                @else { a href=(url(&Query::default().with(Field::Model, model).to_string())) { (model) } }
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
