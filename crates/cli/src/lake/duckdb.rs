//! Selects traces of a lake with SQL, by the DuckDB CLI. An engine for SQL would be larger than everything else here.

use std::{fmt::Write, process::Stdio};

use anyhow::{Context, Result, ensure};
use attest::settings;
use attest_storage::aws_config;
use aws_sdk_s3::config::ProvideCredentials;
use tokio::{io::AsyncWriteExt, process::Command};

/// Returns the keys of the traces in a lake for which a condition on the lake's columns holds.
pub async fn keys(lake: &str, condition: &str) -> Result<Vec<String>> {
    // CREATE SECRET prints a row too.
    let mut script = ".output /dev/null\nINSTALL delta;\nLOAD delta;\n".to_owned();
    if lake.starts_with("s3://") {
        script.push_str(&secret().await?);
    }
    // A comment at the end of the condition must not hide the parenthesis.
    writeln!(script, ".output\nSELECT key FROM delta_scan({}) WHERE (\n{condition}\n);", quoted(lake))?;
    // Credentials on the command line would be visible to other users.
    let mut duckdb = Command::new("duckdb")
        .args(["-init", "/dev/null", "-bail", "-noheader", "-list"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run the DuckDB CLI (`duckdb`): install it (https://duckdb.org/install), or use --keys")?;
    let mut input = duckdb.stdin.take().context("duckdb has no standard input")?;
    // If DuckDB ends early, its error message says why.
    let _ = input.write_all(script.as_bytes()).await;
    drop(input);
    let output = duckdb.wait_with_output().await.context("cannot run the DuckDB CLI (`duckdb`)")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && error.is_empty(), "duckdb: {}", error.trim());
    let keys = String::from_utf8(output.stdout).context("duckdb did not print text")?;
    Ok(keys.lines().map(str::to_owned).collect())
}

/// Returns the statements that give DuckDB the credentials, the region and the endpoint of the AWS SDK.
async fn secret() -> Result<String> {
    let config = aws_config().await?;
    let provider = config.credentials_provider().context("no AWS credentials are configured")?;
    let credentials = provider.provide_credentials().await.context("no AWS credentials")?;
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    let mut secret = format!(
        "INSTALL httpfs;\nLOAD httpfs;\nCREATE SECRET (TYPE s3, KEY_ID {}, SECRET {}, REGION {}",
        quoted(credentials.access_key_id()),
        quoted(credentials.secret_access_key()),
        quoted(&region)
    );
    if let Some(token) = credentials.session_token() {
        write!(secret, ", SESSION_TOKEN {}", quoted(token))?;
    }
    if let Some(endpoint) = settings::s3_endpoint(&config) {
        let (is_tls, host) = match endpoint.strip_prefix("http://") {
            Some(host) => (false, host),
            None => (true, endpoint.trim_start_matches("https://")),
        };
        let host = quoted(host.trim_end_matches('/'));
        write!(secret, ", ENDPOINT {host}, URL_STYLE 'path', USE_SSL {is_tls}")?;
    }
    secret.push_str(");\n");
    Ok(secret)
}

/// Writes a string literal of SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
