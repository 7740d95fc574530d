//! The command `check`, which proves that a deployed endpoint keeps its promises.
//!
//! Every promise is one line of the report. The traces that a check stores have the fingerprint `attest-check`.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use attest_terminal::{api_key, fail, url};
use clap::Args;
use reqwest::Url;

use endpoint::Endpoint;
use report::Report;
use signing::Signer;
use stack::Stack;
use stop::Stop;
use storing::Stored;

mod access;
mod answer;
mod aws_cli;
mod bucket;
mod cleanup;
mod endpoint;
mod function;
mod gateway;
mod lake;
mod latency;
mod monitoring;
mod otlp;
mod probe;
mod queries;
mod refusals;
mod report;
mod signing;
mod sizes;
mod stack;
mod stop;
mod storing;
mod tls;
mod usage_plan;

/// The options of `check`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
With --stack, the check runs the AWS CLI with your AWS profile. It then also reads the stack, its bucket, function,
alarms, log and metrics, creates a temporary API key with a rate of 1 request per second, and deletes its traces.

Exit status:
  0  no promise fails
  1  a promise fails
  2  the check could not run, its report could not be written, or it was interrupted: it then deletes its temporary
     API key and its traces")]
pub struct CheckOptions {
    /// The endpoint's URL: the output ApiUrl of the stack
    #[arg(long, env = "ATTEST_URL", hide_env_values = true, value_parser = url::parse)]
    url: Url,
    /// The endpoint's API key
    #[arg(long, env = "ATTEST_API_KEY", hide_env_values = true, value_parser = api_key::parse)]
    api_key: String,
    /// The name of the stack, to run the checks that need access to its AWS account
    #[arg(long)]
    stack: Option<String>,
    /// Sign each request with the AWS profile (Signature Version 4); the default if the stack's Authorization is
    /// AWS_IAM
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
pub async fn run(options: CheckOptions) -> ExitCode {
    let stop = Stop::listen();
    match check(&options, &stop).await {
        Ok(_) if stop.is_set() => ExitCode::from(2),
        Ok(has_failures) => ExitCode::from(u8::from(has_failures)),
        Err(error) => fail(&error, 2),
    }
}

/// Returns whether any promise fails.
async fn check(options: &CheckOptions, stop: &Stop) -> anyhow::Result<bool> {
    url::warn_if_exposed(&options.url);
    let stack = match &options.stack {
        Some(name) => Some(Stack::describe(name).await.with_context(|| format!("cannot read the stack {name}"))?),
        None => None,
    };
    let is_signed =
        options.sign || stack.as_ref().is_some_and(|of| of.parameter("Authorization").is_ok_and(|of| of == "AWS_IAM"));
    let signer = if is_signed { Some(Signer::load().await?) } else { None };
    let endpoint = Endpoint::new(&options.url, &options.api_key, signer)?;
    endpoint.probe().await?;

    let mut report = Report::new(options.json);
    let stored = stop.unless_set(of_endpoint(options, &endpoint, stack.as_ref(), &mut report)).await;
    match (&stack, stored) {
        (None, _) => {
            for promise in OF_STACK.concat() {
                report.not_checked(promise, "--stack is not given");
            }
        }
        (Some(stack), Some(stored)) => {
            let wait = Duration::from_secs(options.wait);
            stop.unless_set(of_bucket(stack, &endpoint, &stored, wait, &mut report)).await;
            if !stop.is_set() {
                usage_plan::check(stack, &endpoint, stop, &mut report).await;
            }
            stop.unless_set(of_lake(stack, &stored, wait, &mut report)).await;
        }
        (Some(_), None) => {}
    }
    access::quotations(&endpoint, &mut report);
    let left = cleanup::delete(stack.as_ref(), endpoint.keys()).await;
    let has_failures = report.has_failures();
    report.finish(left, stop.is_set())?;
    Ok(has_failures)
}

/// The promises that require access to the stack.
const OF_STACK: [&[&str]; 7] = [
    bucket::PROMISES,
    function::PROMISES,
    gateway::PROMISES,
    monitoring::PROMISES,
    usage_plan::PROMISES,
    lake::PROMISES,
    queries::PROMISES,
];

/// Checks what a client can see. Returns the stored traces that the bucket must contain.
async fn of_endpoint(
    options: &CheckOptions,
    endpoint: &Endpoint,
    stack: Option<&Stack>,
    report: &mut Report,
) -> Vec<Stored> {
    let mut stored = Vec::from_iter(storing::check(endpoint, report).await);
    refusals::check(endpoint, report).await;
    access::check(endpoint, report).await;
    stored.extend(sizes::check(endpoint, stack.and_then(Stack::max_trace_bytes), report).await);
    stored.extend(otlp::check(endpoint, stack.map(Stack::has_otel), report).await);
    tls::check(&options.url, report).await;
    latency::check(endpoint, report).await;
    stored
}

async fn of_bucket(stack: &Stack, endpoint: &Endpoint, stored: &[Stored], wait: Duration, report: &mut Report) {
    bucket::check(stack, endpoint, stored, report).await;
    function::check(stack, report).await;
    gateway::check(stack, report).await;
    monitoring::check(stack, endpoint, stored.first(), wait, report).await;
}

async fn of_lake(stack: &Stack, stored: &[Stored], wait: Duration, report: &mut Report) {
    lake::check(stack, report).await;
    queries::check(stack, stored.first(), wait, report).await;
}
