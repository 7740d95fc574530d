//! Runs the AWS CLI, which deployment also requires. The CLI handles profiles, SSO, the region, signing and retries.

use std::process::Output;

use anyhow::{Context, anyhow};
use serde_json::Value;
use tokio::process::Command;

/// Runs `aws` with these arguments. Returns its output, or null if it prints nothing.
pub async fn aws(arguments: &[&str]) -> anyhow::Result<Value> {
    let command = arguments.iter().take(2).copied().collect::<Vec<_>>().join(" ");
    aws_result(arguments).await?.map_err(|error| anyhow!("aws {command}: {error}"))
}

/// Runs `aws`, which may fail. Returns its output, or its error message.
pub async fn aws_result(arguments: &[&str]) -> anyhow::Result<Result<Value, String>> {
    let output = run(arguments).await?;
    if !output.status.success() {
        return Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    if output.stdout.is_empty() {
        return Ok(Ok(Value::Null));
    }
    serde_json::from_slice(&output.stdout).map(Ok).context("aws did not print JSON")
}

async fn run(arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new("aws");
    command.args(arguments).args(["--output", "json"]).env("AWS_PAGER", "");
    // Ctrl-C must not end a command that creates or deletes the temporary API key.
    command.process_group(0);
    command.output().await.context("cannot run the AWS CLI (`aws`): install it as described in the README")
}

/// Returns whether the AWS CLI uses a local stand-in for AWS, which does not enforce everything that AWS enforces.
pub async fn is_stand_in() -> bool {
    if std::env::var("AWS_ENDPOINT_URL").is_ok_and(|url| !url.is_empty()) {
        return true;
    }
    let configured = run(&["configure", "get", "endpoint_url"]).await;
    configured.is_ok_and(|output| output.status.success() && !output.stdout.trim_ascii().is_empty())
}
