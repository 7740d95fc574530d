//! The routes of the page.

use axum::{
    Router,
    extract::{Query as UrlQuery, State},
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use maud::Markup;

use super::{
    guard::guard,
    pages::{self, Failure, List, Overview, TracePage},
    query::Query,
    search::{self, Search},
    stats::Stats,
    take::commands,
    workers::Workers,
};
use crate::storage::TraceReader;

/// The state of the routes.
#[derive(Debug, Clone)]
struct Viewer {
    traces: TraceReader,
    workers: Workers,
}

/// Returns the page over the traces of a reader.
pub fn router(traces: TraceReader) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/traces", get(list))
        .route("/trace", get(trace))
        .route("/raw", get(raw))
        .route("/share", get(share))
        .route("/view.css", get(async || asset("text/css", include_str!("view.css"))))
        .route("/view.js", get(async || asset("text/javascript", include_str!("view.js"))))
        .with_state(Viewer { traces, workers: Workers::default() })
        .layer(from_fn(guard))
}

fn asset(media_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, media_type)], text)
}

async fn overview(State(Viewer { traces, workers }): State<Viewer>) -> Result<Markup, Failure> {
    let stats = Stats::gather(&traces, &workers).await?;
    let page = Overview { stats, bucket: traces.bucket().to_owned(), is_folder: traces.folder().is_some() };
    Ok(workers.run(move || page.render()).await?)
}

async fn list(
    State(Viewer { traces, workers }): State<Viewer>,
    UrlQuery(search): UrlQuery<Search>,
) -> Result<Markup, Failure> {
    let query = Query::parse(&search.q);
    if let Err(error) = query.times() {
        return Err(Failure::BadSearch { q: search.q, error });
    }
    let prefix = search::prefix_of(&query);
    let (tree, found) = tokio::try_join!(traces.tree(&prefix), search::find(&traces, &workers, &query, &search.from))?;
    let bucket = traces.bucket().to_owned();
    let page = List { search, query, tree, found, bucket };
    Ok(workers.run(move || page.render()).await?)
}

/// A trace, and the way in which it is shown.
#[derive(Debug, serde::Deserialize)]
struct Shown {
    key: String,
    /// Another trace, beside it.
    with: Option<String>,
    #[serde(default)]
    plain: bool,
    #[serde(default)]
    turn: usize,
    #[serde(default)]
    q: String,
    #[serde(default)]
    from: String,
}

impl Viewer {
    async fn get(&self, key: &str) -> Result<Bytes, Failure> {
        self.traces.get(key).await?.ok_or_else(|| Failure::NoSuchTrace(key.to_owned()))
    }
}

async fn trace(State(viewer): State<Viewer>, UrlQuery(shown): UrlQuery<Shown>) -> Result<Response, Failure> {
    let json = viewer.get(&shown.key).await?;
    if let Some(with) = shown.with {
        let other = viewer.get(&with).await?;
        let compared = viewer.workers.run(move || pages::compare((&shown.key, &json), (&with, &other))).await?;
        return Ok(compared.into_response());
    }
    let Shown { key, plain, turn, q, from, .. } = shown;
    let search = Search { q, from, with: String::new() };
    let neighbours = viewer.neighbours(&key, &search).await;
    let traces = viewer.traces.clone();
    let page = viewer.workers.run(move || {
        let commands = commands(&traces, &key, &json);
        TracePage { key: &key, json: &json, plain, turn, search: &search, neighbours, commands: &commands }.render()
    });
    Ok(page.await?.into_response())
}

impl Viewer {
    /// Returns the keys before and behind `key` in the page of results that it was opened from. A search that fails has none.
    async fn neighbours(&self, key: &str, search: &Search) -> [Option<String>; 2] {
        let query = Query::parse(&search.q);
        let Ok(found) = search::find(&self.traces, &self.workers, &query, &search.from).await else {
            return [None, None];
        };
        let key_at = |place: Option<usize>| Some(found.rows.get(place?)?.entry.key.clone());
        let at = found.rows.iter().position(|row| row.entry.key == key);
        [key_at(at.and_then(|at| at.checked_sub(1))), key_at(at.map(|at| at + 1))]
    }
}

#[derive(Debug, serde::Deserialize)]
struct Raw {
    key: String,
}

async fn raw(State(viewer): State<Viewer>, UrlQuery(Raw { key }): UrlQuery<Raw>) -> Result<Response, Failure> {
    let json = viewer.get(&key).await?;
    Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
}

async fn share(State(viewer): State<Viewer>, UrlQuery(Raw { key }): UrlQuery<Raw>) -> Result<Response, Failure> {
    let json = viewer.get(&key).await?;
    let html = viewer.workers.run(move || pages::shared(&key, &json)).await?;
    Ok(([(CONTENT_DISPOSITION, "attachment")], html).into_response())
}
