//! `check`: proves that a deployed endpoint keeps its promises.
//!
//! Every promise is one line of the report. The traces of a check have the fingerprint `attest-check`.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use attest::settings::MAX_TRACE_BYTES;
use attest_terminal::fail;
use clap::Args;
use reqwest::Url;

use crate::serve;
use endpoint::Endpoint;
use report::Report;
use signing::Signer;
use stack::Stack;

mod aws_cli;
mod bucket;
mod cleanup;
mod endpoint;
mod function;
mod lake;
mod latency;
mod monitoring;
mod queries;
mod refusals;
mod report;
mod signing;
mod stack;
mod storing;
mod throttling;
mod tls;

/// The options of `check`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
With --stack, the check runs the AWS CLI with your AWS profile. It then also reads the stack, its bucket, function,
alarms, log and metrics, creates a temporary API key with a rate of 1 request per second, and deletes its traces.

Exit status:
  0  no promise fails
  1  a promise fails
  2  the check could not run")]
pub struct Options {
    /// The endpoint's URL: the output ApiUrl of the stack
    #[arg(long, env = "ATTEST_URL")]
    url: Url,
    /// The endpoint's API key
    #[arg(long, env = "ATTEST_API_KEY", hide_env_values = true, value_parser = serve::parse_api_key)]
    api_key: String,
    /// The name of the stack, to run the checks that need access to its AWS account
    #[arg(long)]
    stack: Option<String>,
    /// The largest trace in bytes; a stack's own limit takes precedence
    #[arg(long, default_value_t = MAX_TRACE_BYTES)]
    max_trace_bytes: usize,
    /// Sign each request with the AWS profile (Signature Version 4); the default if the stack's Authorization is AWS_IAM
    #[arg(long)]
    sign: bool,
    /// The longest time to wait for log lines and metrics in CloudWatch, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    wait: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Checks every promise and prints the report. Returns the exit status.
pub async fn run(options: Options) -> ExitCode {
    match check(&options).await {
        Ok(report) if report.has_failures() => ExitCode::from(1),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 2),
    }
}

async fn check(options: &Options) -> anyhow::Result<Report> {
    let stack = match &options.stack {
        Some(name) => Some(Stack::describe(name).await.with_context(|| format!("cannot read the stack {name}"))?),
        None => None,
    };
    let is_signed =
        options.sign || stack.as_ref().is_some_and(|of| of.parameter("Authorization").is_ok_and(|of| of == "AWS_IAM"));
    let signer = if is_signed { Some(Signer::load().await?) } else { None };
    let endpoint = Endpoint::new(&options.url, &options.api_key, signer)?;
    let limit = stack.as_ref().and_then(Stack::max_trace_bytes).unwrap_or(options.max_trace_bytes);
    endpoint.probe().await?;

    let mut report = Report::new(options.json);
    let stored = storing::check(&endpoint, &mut report).await;
    refusals::check(&endpoint, limit, &mut report).await;
    tls::check(&options.url, &mut report).await;
    latency::check(&endpoint, &mut report).await;
    match &stack {
        None => {
            let promises = [
                bucket::PROMISES,
                function::PROMISES,
                monitoring::PROMISES,
                throttling::PROMISES,
                lake::PROMISES,
                queries::PROMISES,
            ];
            for promise in promises.concat() {
                report.not_checked(promise, "--stack is not given");
            }
        }
        Some(stack) => {
            bucket::check(stack, &endpoint, stored.as_ref(), &mut report).await;
            function::check(stack, &mut report).await;
            monitoring::check(stack, &endpoint, stored.as_ref(), Duration::from_secs(options.wait), &mut report).await;
            throttling::check(stack, &endpoint, &mut report).await;
            lake::check(stack, &mut report).await;
            queries::check(stack, &mut report).await;
        }
    }
    let left = cleanup::delete(stack.as_ref(), endpoint.keys()).await;
    report.finish(left);
    Ok(report)
}
