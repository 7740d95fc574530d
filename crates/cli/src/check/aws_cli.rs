//! The AWS CLI, which deploying the stack requires too. It brings the profile, SSO, the region, signing and retries.

use std::process::Output;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::process::Command;

/// Runs `aws` with these arguments and returns its output, or null if there is none.
pub async fn aws(arguments: &[&str]) -> anyhow::Result<Value> {
    let output = run(arguments).await?;
    let error = String::from_utf8_lossy(&output.stderr);
    let command = arguments.iter().take(2).copied().collect::<Vec<_>>().join(" ");
    ensure!(output.status.success(), "aws {command}: {}", error.trim());
    if output.stdout.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("aws {command} did not print JSON"))
}

/// Runs `aws`, which must fail. Returns the error message, or `None` if it succeeded.
pub async fn aws_error(arguments: &[&str]) -> anyhow::Result<Option<String>> {
    let output = run(arguments).await?;
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok((!output.status.success()).then_some(error))
}

async fn run(arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new("aws");
    command.args(arguments).args(["--output", "json"]).env("AWS_PAGER", "");
    command.output().await.context("cannot run the AWS CLI (`aws`); install it, see the README")
}

/// Returns whether the AWS CLI uses a local stand-in for AWS, which does not enforce everything that AWS does.
pub async fn is_stand_in() -> bool {
    if std::env::var("AWS_ENDPOINT_URL").is_ok_and(|url| !url.is_empty()) {
        return true;
    }
    let configured = run(&["configure", "get", "endpoint_url"]).await;
    configured.is_ok_and(|output| output.status.success() && !output.stdout.trim_ascii().is_empty())
}
