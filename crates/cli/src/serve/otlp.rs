//! The listener on OpenTelemetry's port, so that exporters with their default settings reach this endpoint.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::{Context, Result};
use attest_otlp::batch::Spans;
use clap::ValueEnum;
use tokio::net::TcpListener;

use super::endpoint;

/// The port of OTLP/HTTP (OpenTelemetry specification, "OTLP/HTTP Default Port").
const PORT: u16 = 4318;

/// The spans that become traces.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OtelSpans {
    /// Calls of a model
    Calls,
    /// Also agents, tools and other steps, as traces without messages
    All,
}

impl From<OtelSpans> for Spans {
    fn from(spans: OtelSpans) -> Self {
        match spans {
            OtelSpans::Calls => Self::Calls,
            OtelSpans::All => Self::All,
        }
    }
}

/// Listens on `port`, or on OpenTelemetry's port if that is free. Several endpoints and collectors may share a machine,
/// so a taken port is an error only if the user chose it.
pub async fn listen(port: Option<u16>) -> Result<Option<(TcpListener, SocketAddr)>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(PORT)));
    let listener = match port {
        Some(_) => endpoint::listen(address, "--otlp-port").await?,
        None => match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) if error.kind() == ErrorKind::AddrInUse => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {address}")),
        },
    };
    let address = listener.local_addr().context("cannot read the address of the listener for OpenTelemetry")?;
    Ok(Some((listener, address)))
}
