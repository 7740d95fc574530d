//! `serve`: the endpoint on this machine. It needs neither AWS nor Docker, and it runs the deployed handler.
//!
//! [`gateway`] replaces API Gateway. An S3 in a folder replaces the S3 of AWS, unless `--bucket` names a real bucket.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use attest_terminal::result;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::{human_log, shutdown::stop_signal};

mod coding;
mod endpoint;
pub mod gateway;
mod options;
mod otlp;

pub use endpoint::LocalEndpoint;
pub use options::{Options, StoreOptions};

/// The trace of the printed curl line.
pub const EXAMPLE: &str =
    r#"{"model": "gpt-4o", "created": 1795305600, "messages": [{"role": "user", "content": "Hello!"}]}"#;

/// Serves until Ctrl-C or SIGTERM.
pub async fn run(options: Options) -> Result<()> {
    let ready_file = options.ready_file.clone();
    let endpoint = LocalEndpoint::start(options, human_log::print).await?;
    let LocalEndpoint { url, api_key, stored, .. } = &endpoint;
    let otlp = endpoint.otlp_url.as_ref().map(|otlp_url| {
        format!(
            "For OpenTelemetry:\n\n\
             export OTEL_EXPORTER_OTLP_ENDPOINT={otlp_url} OTEL_EXPORTER_OTLP_HEADERS=x-api-key=$ATTEST_API_KEY\n\n"
        )
    });
    // A closed output does not stop the endpoint.
    let _ = result!(
        "Listening on {url}. Try:\n\n\
         curl -X POST {url} -H 'x-api-key: {api_key}' -H 'content-type: application/json' -d '{EXAMPLE}'\n\n\
         For the client packages:\n\n\
         export ATTEST_URL={url} ATTEST_API_KEY={api_key}\n\n\
         {otlp}{stored}\n\
         Look at them: {page}/\n\n\
         Press Ctrl-C to stop.",
        otlp = otlp.unwrap_or_default(),
        page = url.trim_end_matches(gateway::PATH),
    );
    if let Some(path) = ready_file {
        write_ready_file(&path, &endpoint).with_context(|| format!("cannot write --ready-file {}", path.display()))?;
    }
    stop_signal().await;
    endpoint.stop().await?;
    let _ = result!("stopped");
    Ok(())
}

/// Writes the addresses and the API key as JSON. A reader sees the complete file or none.
///
/// A pipe is written to directly, so that its reader can wait for the endpoint.
fn write_ready_file(path: &Path, endpoint: &LocalEndpoint) -> Result<()> {
    let LocalEndpoint { url, api_key, s3_url, otlp_url, .. } = endpoint;
    let ready = json!({"url": url, "api_key": api_key, "s3_url": s3_url, "otlp_url": otlp_url});
    let ready = format!("{ready}\n");
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Ok(fs::write(path, ready)?);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = NamedTempFile::new_in(folder)?;
    fs::write(file.path(), ready)?;
    file.persist(path)?;
    Ok(())
}
