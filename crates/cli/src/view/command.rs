//! `view`: the page without the endpoint.

use std::net::Ipv4Addr;

use anyhow::{Context, anyhow};
use clap::Args;
use hyper_util::service::TowerToHyperService;
use local_aws::http::serve;
use tokio::net::TcpListener;

use super::{routes::routes, traces::Traces};
use crate::{
    shutdown::stop_signal,
    storage::{Place, Source},
};

/// Options of `view`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// Only traces of this fingerprint, and of fingerprints below it: `allenai` includes `allenai/OLMoE`
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<String>,
    /// The port of the page, on 127.0.0.1; 0 for any that is free
    #[arg(long, default_value_t = 9082)]
    port: u16,
}

/// Serves the page until Ctrl-C.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let source = Source::open(&options.place).await.map_err(|error| anyhow!(error))?;
    let traces = match &options.fingerprint {
        Some(fingerprint) => Traces::of(source, fingerprint).with_context(|| format!("--fingerprint {fingerprint}"))?,
        None => Traces::all(source),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await;
    let listener =
        listener.with_context(|| format!("cannot listen on port {}; choose another with --port", options.port))?;
    println!("Look at http://{}/\nCtrl-C stops it.", listener.local_addr()?);
    serve(listener, TowerToHyperService::new(routes(traces)), stop_signal()).await;
    Ok(())
}
