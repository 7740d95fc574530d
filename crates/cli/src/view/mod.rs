//! The page on which stored traces are looked at: by the local endpoint at `GET /`, and by `view` without the endpoint.
//!
//! Whatever a trace contains is shown as text: templates escape it, the content security policy allows no inline script and no
//! request to another host, and a request that names another host than loopback is refused (DNS rebinding).

use std::net::Ipv4Addr;

use anyhow::Context;
use axum::{
    Router,
    extract::{Query, Request, State},
    http::{
        HeaderValue, StatusCode, Uri,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS},
    },
    middleware::{Next, from_fn},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use clap::Args;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use local_aws::http::serve;

use crate::{
    shutdown::stop_signal,
    storage::{Fingerprint, Location, TraceReader as Source, serve_folder},
};
use pages::{Failed, Found, Places};
use search::Search;

mod conversation;
mod pages;
mod search;

/// Nothing but this page's own style and script, from here.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// What `view` is started with.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    location: Location,
    /// Only traces of exactly this fingerprint: `a` does not select the fingerprint `a/b`
    #[arg(long, value_parser = Fingerprint::new)]
    fingerprint: Option<Fingerprint>,
    /// The port of the page, on 127.0.0.1; 0 for any that is free
    #[arg(long, default_value_t = 9082)]
    port: u16,
}

/// Serves the page until Ctrl-C.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut source = Source::open(&options.location).await?.restricted_to(options.fingerprint);
    if let Some(store) = source.folder().cloned() {
        source = source.served_at(format!("http://{}", serve_folder(store).await?));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await;
    let listener =
        listener.with_context(|| format!("cannot listen on port {}: choose another one with --port", options.port))?;
    let address = listener.local_addr()?;
    println!("Look at http://{address}/\nCtrl-C stops it.");
    serve(listener, TowerToHyperService::new(router(source)), stop_signal()).await;
    Ok(())
}

/// The page over these traces.
pub fn router(source: Source) -> Router {
    Router::new()
        .route("/", get(list))
        .route("/trace", get(trace))
        .route("/view.css", get(async || asset("text/css", include_str!("view.css"))))
        .route("/view.js", get(async || asset("text/javascript", include_str!("view.js"))))
        .with_state(source)
        .layer(from_fn(guard))
}

fn asset(media_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, media_type)], text)
}

/// Refuses requests for another host, and adds what keeps a browser to this page.
async fn guard(request: Request, next: Next) -> Response {
    let host =
        request.headers().get("host").and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Uri>().ok());
    let is_loopback = host.is_some_and(|host| matches!(host.host(), Some("127.0.0.1" | "localhost" | "[::1]")));
    let mut response = if is_loopback {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, Html("This page is for 127.0.0.1 and localhost.")).into_response()
    };
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn list(State(source): State<Source>, Query(search): Query<Search>) -> Result<Found, Failed> {
    let times = search.times().map_err(|error| Failed(StatusCode::BAD_REQUEST, error))?;
    let prefix = search.key_prefix();
    let (tree, page) = tokio::try_join!(source.tree(&prefix), search.run(&source, &prefix, times)).map_err(failed)?;
    Ok(Found { search, prefix, tree, page, places: Places::of(&source) })
}

/// The store cannot be read.
fn failed(error: anyhow::Error) -> Failed {
    Failed(StatusCode::BAD_GATEWAY, format!("{error:#}"))
}

/// Which trace is shown, and how.
#[derive(Debug, serde::Deserialize)]
struct Shown {
    key: String,
    /// Another trace, beside it.
    with: Option<String>,
    /// Whether Markdown is rendered.
    #[serde(default)]
    markdown: bool,
}

async fn trace(State(source): State<Source>, Query(shown): Query<Shown>) -> Result<Response, Failed> {
    let places = Places::of(&source);
    let Some(one) = source.get(&shown.key).await.map_err(failed)? else { return Ok(pages::missing(&shown.key)) };
    let Some(with) = shown.with else { return Ok(pages::trace(&shown.key, &one, shown.markdown, &places)) };
    let Some(other) = source.get(&with).await.map_err(failed)? else { return Ok(pages::missing(&with)) };
    Ok(pages::compare((&shown.key, &one), (&with, &other)))
}
