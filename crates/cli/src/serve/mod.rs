//! `serve`: runs the endpoint on this machine, with the deployed handler, and without AWS or Docker.
//!
//! [`gateway`] replaces API Gateway. An S3 over a folder replaces AWS's S3, unless `--bucket` selects a real bucket.

use anyhow::{Context, Result};
use attest_terminal::{result, shutdown::stop_signal};
use attest_view::EXAMPLE;

use crate::human_log;

mod coding;
mod endpoint;
pub mod gateway;
mod options;
mod otlp;
mod ready_file;

use ready_file::ReadyFile;

pub use endpoint::LocalEndpoint;
pub use options::{ServeOptions, StoreOptions};

pub async fn run(options: ServeOptions) -> Result<()> {
    let ready_file = options.ready_file.clone();
    let endpoint = LocalEndpoint::start(options, human_log::print).await?;
    // A closed output does not stop the endpoint.
    let _ = result!("{}", greeting(&endpoint));
    let ready_file = ready_file
        .map(|path| {
            ReadyFile::write(&path, &endpoint).with_context(|| format!("cannot write --ready-file {}", path.display()))
        })
        .transpose()?;
    stop_signal().await;
    drop(ready_file);
    endpoint.stop().await?;
    let _ = result!("stopped");
    Ok(())
}

/// Returns what a user needs to get started. A given API key is not printed, because output ends up in logs.
fn greeting(endpoint: &LocalEndpoint) -> String {
    let LocalEndpoint { url, api_key, is_own_key, stored, otlp_url, .. } = endpoint;
    let otlp = otlp_url.as_ref().map(|otlp_url| {
        format!(
            "For OpenTelemetry:\n\n\
             export OTEL_EXPORTER_OTLP_ENDPOINT={otlp_url} OTEL_EXPORTER_OTLP_HEADERS=x-api-key=$ATTEST_API_KEY\n\n"
        )
    });
    let (header, variables) = if *is_own_key {
        (format!("'x-api-key: {api_key}'"), format!("ATTEST_URL={url} ATTEST_API_KEY={api_key}"))
    } else {
        (
            "\"x-api-key: $ATTEST_API_KEY\"".to_owned(),
            format!("ATTEST_URL={url} # and ATTEST_API_KEY, the key that you chose"),
        )
    };
    format!(
        "Listening on {url}. Try:\n\n\
         curl -X POST {url} -H {header} -H 'content-type: application/json' -d '{EXAMPLE}'\n\n\
         For the client packages:\n\n\
         export {variables}\n\n\
         {otlp}{stored}\n\
         Look at them: {page}/\n\n\
         Press Ctrl-C to stop.",
        otlp = otlp.unwrap_or_default(),
        page = url.trim_end_matches(gateway::PATH),
    )
}
