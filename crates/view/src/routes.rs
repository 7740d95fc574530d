use std::sync::Arc;

use attest::writer::Writer;
use attest_mapping::Prices;
use attest_query::{Field, Query, QueryError};
use attest_storage::{PlaceKind, TraceReader};
use axum::{
    Form, Router,
    extract::{FromRequestParts, Query as UrlQuery, State},
    http::{
        StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
        request::Parts,
    },
    middleware::from_fn,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use bytes::Bytes;

use super::{
    body,
    commands::{commands, exports},
    guard::{guard, guarded},
    list_stream::{ListStream, halves, known_page},
    pages::{self, Choice, Failure, List, Overview, PlaceFacts, TracePage, TraceView, trace_url},
    results::{Direction, Neighbour, Results},
    scan::Scan,
    search::Search,
    selection::Selection,
    stats::Stats,
    stop::Searches,
    transcript::{excerpt, transcript},
    whole_scan::{OverviewStream, SessionStream, write_lines},
    workers::Workers,
};

#[derive(Debug, Clone)]
struct Viewer {
    traces: TraceReader,
    workers: Workers,
    results: Results,
    searches: Searches,
    prices: Arc<Prices>,
}

/// Serves the page. `prices` determine the costs that it shows.
pub fn router(traces: TraceReader, prices: Prices) -> Router {
    let prices = Arc::new(prices);
    let workers = Workers::default();
    let results = Results::new(traces.clone(), workers.clone());
    Router::new()
        .route("/", get(overview))
        .route("/traces", get(list))
        .route("/export", get(export))
        .route("/session", get(session))
        .route("/trace", get(trace))
        .route("/stop", post(stop))
        .route("/compare", get(chosen))
        .route("/step", get(step))
        .route("/raw", get(raw))
        .route("/share", get(share))
        .route("/markdown", get(markdown))
        .route("/view.css", get(async || asset("text/css", include_str!("view.css"))))
        .route("/stop.js", get(async || asset("text/javascript", include_str!("stop.js"))))
        .route("/view.js", get(async || asset("text/javascript", include_str!("view.js"))))
        .with_state(Viewer { traces, workers, results, searches: Searches::default(), prices })
        .layer(from_fn(guard))
}

/// Responds to a URL that this page does not serve.
pub async fn no_such_page() -> Response {
    guarded(Failure::NoSuchPage.into_response())
}

/// The parameters of a URL. Responds to invalid ones with an HTML page that explains the failure.
struct Parameters<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match UrlQuery::from_request_parts(parts, state).await {
            Ok(UrlQuery(parameters)) => Ok(Self(parameters)),
            Err(rejection) => Err(Failure::WrongAddress(rejection.body_text())),
        }
    }
}

fn asset(media_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, media_type)], text)
}

async fn overview(
    State(Viewer { traces, workers, searches, prices, .. }): State<Viewer>,
    Parameters(choice): Parameters<Choice>,
) -> Result<Response, Failure> {
    let place = PlaceFacts::of(&traces);
    let overview = |stats| Overview { stats, choice, error: None, place, prices };
    let (before, after) = halves(&Overview::frame());
    if choice.all {
        let (stats, scan) = Stats::begin(&traces, &workers, true).await?;
        let stream = OverviewStream { overview: overview(stats), scan, workers, stop: searches.begin() };
        return Ok(body::html(async move |writer| drop(stream.write(writer, before, after).await)));
    }
    let page = overview(Stats::gather(&traces, &workers).await?);
    let content = workers.run(move || page.content().into_string()).await?;
    Ok(Html(before + &content + &after).into_response())
}

async fn list(
    State(Viewer { traces, workers, results, searches, prices }): State<Viewer>,
    Parameters(search): Parameters<Search>,
) -> Result<Response, Failure> {
    let query = parse(&search.q)?;
    let prefix = query.key_prefix();
    let begin = results.begin(&query, &search.q, &search.from);
    let (tree, page) = tokio::try_join!(traces.tree(&prefix), begin)?;
    let stop = searches.begin();
    // Counting is cheap in a folder, and a search for content reads everything anyway.
    let totals = results.totals(&search.q).filter(|_| !search.from.is_empty());
    let is_counted =
        totals.is_none() && (query.needs_content() || traces.kind() != PlaceKind::Bucket && !page.is_of_a_lake);
    let known = results.unchanged(&search, page.scan.version).filter(|_| query.needs_content());
    let exports = exports(&traces, &search.q);
    let list = List { search: search.clone(), query, tree, place: PlaceFacts::of(&traces) };
    let (before, after) = halves(&workers.run(move || list.render()).await?);
    if let Some(known) = known {
        return Ok(body::html(async move |writer| {
            drop(known_page(known, totals, &search, &prices, &exports, writer, (before, after)).await);
        }));
    }
    let stream = ListStream { search, page, totals, is_counted, exports, stop, prices };
    Ok(body::html(async move |writer| drop(stream.write(writer, before, after).await)))
}

fn parse(q: &str) -> Result<Query, Failure> {
    Query::parse(q).map_err(|error| bad_search(q, error))
}

fn bad_search(q: &str, error: QueryError) -> Failure {
    Failure::BadSearch { q: q.to_owned(), error }
}

/// Downloads the traces that a query selects, as `attest export` writes them.
async fn export(State(viewer): State<Viewer>, Parameters(search): Parameters<Search>) -> Result<Response, Failure> {
    let Viewer { traces, workers, .. } = viewer;
    let selection = Selection::new(&traces, &parse(&search.q)?).with_lines();
    let scan = Scan::begin(&workers, selection, "", usize::MAX).await?;
    let lines = body::written(async move |writer| drop(write_lines(scan, writer).await));
    let headers = [(CONTENT_TYPE, "application/jsonl"), (CONTENT_DISPOSITION, "attachment; filename=\"traces.jsonl\"")];
    Ok((headers, lines).into_response())
}

#[derive(Debug, serde::Deserialize)]
struct Of {
    id: String,
}

async fn session(State(viewer): State<Viewer>, Parameters(Of { id }): Parameters<Of>) -> Result<Response, Failure> {
    if id.is_empty() {
        return Err(Failure::NoSuchTrace("A session needs an id".to_owned()));
    }
    let Viewer { traces, workers, results, searches, .. } = viewer;
    let query = Query::default().with(Field::Session, &id).map_err(|error| bad_search(&id, error))?;
    let (q, selection) = (query.to_string(), Selection::new(&traces, &query).with_previews());
    let scan = Scan::begin(&workers, selection, "", usize::MAX).await?;
    let stop = searches.begin();
    let (before, after) = halves(&pages::session_frame(&id, &q));
    let stream = SessionStream { id, q, scan, results, workers, stop };
    Ok(body::html(async move |writer| drop(stream.write(writer, before, after).await)))
}

#[derive(Debug, serde::Deserialize)]
struct Running {
    search: u64,
}

/// Stops a search. The browser stays on its page.
async fn stop(State(viewer): State<Viewer>, Form(Running { search }): Form<Running>) -> StatusCode {
    viewer.searches.stop(search);
    StatusCode::NO_CONTENT
}

#[derive(Debug, serde::Deserialize)]
struct Shown {
    key: String,
    with: Option<String>,
    #[serde(default)]
    plain: bool,
    #[serde(default)]
    unfolded: bool,
    #[serde(default)]
    turn: usize,
    #[serde(default)]
    show: String,
    #[serde(default)]
    q: String,
    #[serde(default)]
    from: String,
}

impl Viewer {
    async fn get(&self, key: &str) -> Result<Bytes, Failure> {
        Ok(self.get_with_writer(key).await?.0)
    }

    async fn get_with_writer(&self, key: &str) -> Result<(Bytes, Writer), Failure> {
        self.traces.get_with_writer(key).await?.ok_or_else(|| Failure::NoSuchTrace(key.to_owned()))
    }
}

async fn trace(State(viewer): State<Viewer>, Parameters(shown): Parameters<Shown>) -> Result<Response, Failure> {
    let (json, writer) = viewer.get_with_writer(&shown.key).await?;
    if let Some(with) = shown.with {
        let other = viewer.get(&with).await?;
        let prices = viewer.prices;
        let compared = move || pages::compare((&shown.key, &json), (&with, &other), &prices);
        let compared = viewer.workers.run(compared).await?;
        return Ok(compared.into_response());
    }
    let Shown { key, plain, unfolded, turn, show, q, from, .. } = shown;
    let view = TraceView { plain, unfolded, turn, show };
    let search = Search { q, from, with: String::new() };
    let neighbours = viewer.results.neighbours(&key, &search).await.unwrap_or_default(); // the trace itself was read
    let workers = viewer.workers.clone();
    let page = workers.run(move || {
        let commands = commands(&viewer.traces, &key, &json);
        let page = TracePage {
            key: &key,
            json: &json,
            writer: &writer,
            view: &view,
            search: &search,
            neighbours,
            commands: &commands,
            prices: &viewer.prices,
        };
        page.render()
    });
    Ok(page.await?.into_response())
}

/// Redirects to the comparison of the two traces that the user chose in a list.
async fn chosen(Parameters(chosen): Parameters<Vec<(String, String)>>) -> Result<Redirect, Failure> {
    let keys: Vec<_> = chosen.iter().filter(|(name, _)| name == "key").map(|(_, key)| key).collect();
    let [one, other] = keys[..] else {
        return Err(Failure::WrongAddress(format!("A comparison needs two traces, and {} were chosen.", keys.len())));
    };
    Ok(Redirect::to(&trace_url(one, &[("with", other)])))
}

/// A step from a trace to its neighbour in the results.
#[derive(Debug, serde::Deserialize)]
struct Steps {
    key: String,
    to: Direction,
    #[serde(default)]
    plain: bool,
    #[serde(default)]
    q: String,
    #[serde(default)]
    from: String,
}

/// Redirects to a trace's neighbour, which may be on another page of results.
async fn step(State(viewer): State<Viewer>, Parameters(steps): Parameters<Steps>) -> Result<Redirect, Failure> {
    let Steps { key, to, plain, q, from } = steps;
    let search = Search { q, from, with: String::new() };
    let plain = if plain { "true" } else { "" };
    Ok(Redirect::to(&match viewer.results.step(&key, &search, to).await? {
        Neighbour::Trace { key, from } => trace_url(&key, &[("plain", plain), ("q", &search.q), ("from", &from)]),
        Neighbour::Page { from } => Search { from, ..search }.own_url(),
    }))
}

#[derive(Debug, serde::Deserialize)]
struct Raw {
    key: String,
}

async fn raw(State(viewer): State<Viewer>, Parameters(Raw { key }): Parameters<Raw>) -> Result<Response, Failure> {
    let json = viewer.get(&key).await?;
    Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
}

#[derive(Debug, serde::Deserialize)]
struct Copied {
    key: String,
    /// The fragment of a turn or of a part. By default, the whole conversation is copied.
    of: Option<String>,
}

async fn markdown(
    State(viewer): State<Viewer>,
    Parameters(Copied { key, of }): Parameters<Copied>,
) -> Result<Response, Failure> {
    let json = viewer.get(&key).await?;
    let workers = viewer.workers.clone();
    let text = move || match of {
        Some(of) => excerpt(&json, &of).ok_or_else(|| Failure::NoSuchTrace(format!("{key} has no {of}"))),
        None => Ok(transcript(&key, &json, &viewer.prices)),
    };
    let text = workers.run(text).await??;
    Ok(([(CONTENT_TYPE, "text/markdown; charset=utf-8")], text).into_response())
}

async fn share(State(viewer): State<Viewer>, Parameters(Raw { key }): Parameters<Raw>) -> Result<Response, Failure> {
    let json = viewer.get(&key).await?;
    let html = viewer.workers.run(move || pages::shared_page(&key, &json)).await?;
    Ok(([(CONTENT_DISPOSITION, "attachment")], html).into_response())
}
