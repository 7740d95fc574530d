//! The command-line options of `serve`, some of which `import` shares.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use attest::settings::MAX_TRACE_BYTES;
use attest_storage::LocationOptions;
use attest_terminal::api_key;
use clap::Args;

use super::otlp::OtelSpans;

#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
    /// The port of the endpoint on 127.0.0.1, or 0 for any free port
    #[arg(long, default_value_t = 9080)]
    pub port: u16,
    /// The key that requests must send as `x-api-key`. By default, each start creates a new one
    #[arg(long, env = "ATTEST_API_KEY", hide_env_values = true, value_parser = api_key::parse)]
    pub api_key: Option<String>,
    /// The location and the size limit of stored traces.
    #[command(flatten)]
    pub store: StoreOptions,
    /// The port of the S3 of this process, or 0 for any free port
    #[arg(long, default_value_t = 9081)]
    pub s3_port: u16,
    /// The address of that S3. On Linux, containers reach it through Docker's bridge, which usually is 172.17.0.1
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub s3_host: IpAddr,
    /// The port for OpenTelemetry on 127.0.0.1, or 0 for any free port. By default, 4318 if it is free. The endpoint's
    /// own port accepts OpenTelemetry too
    #[arg(long)]
    pub otlp_port: Option<u16>,
    /// The spans of OpenTelemetry that become traces
    #[arg(long, env = "OTEL_SPANS", value_enum, default_value_t = OtelSpans::Calls)]
    pub otel_spans: OtelSpans,
    /// A file or pipe to write when the endpoint listens: JSON with `url`, `api_key`, `s3_url`, `s3_access_key`,
    /// `s3_secret_key` and `otlp_url`. A file is deleted when the endpoint stops
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// The location and the size limit of stored traces.
#[derive(Debug, Clone, Args)]
pub struct StoreOptions {
    /// The largest trace in bytes
    #[arg(long, env = "MAX_TRACE_BYTES", default_value_t = MAX_TRACE_BYTES)]
    pub max_trace_bytes: usize,
    /// The location of the traces.
    #[command(flatten)]
    pub location: LocationOptions,
}

impl ServeOptions {
    /// Returns the options for an endpoint that can run alongside others on this machine.
    #[must_use]
    pub fn on_free_ports(store: StoreOptions) -> Self {
        Self {
            port: 0,
            api_key: None,
            store,
            s3_port: 0,
            s3_host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            otlp_port: Some(0),
            otel_spans: OtelSpans::Calls,
            ready_file: None,
        }
    }
}
