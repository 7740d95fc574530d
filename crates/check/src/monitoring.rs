//! Monitoring promises: alarms with a confirmed subscription, a log line without content, and metrics.

use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    aws_cli::aws,
    endpoint::Endpoint,
    lake,
    report::{Mismatch, Report, Verdict, ensure},
    stack::Stack,
    storing::Stored,
};

const ALARMS: &str = "the alarms exist and are enabled";
const QUIET: &str = "no alarm is in state ALARM";
const SUBSCRIPTION: &str = "the e-mail subscription of the alarms is confirmed";
const LOG: &str = "the log has a line for the request";
const CONTENT: &str = "the log contains no message content";
const METRICS: &str = "the metrics arrive";

pub const PROMISES: &[&str] = &[ALARMS, QUIET, SUBSCRIPTION, LOG, CONTENT, METRICS];

/// The number of alarms in `template.yaml`, without those of the lake and OpenTelemetry.
const ALARMS_OF_THE_ENDPOINT: usize = 6;

const ALARMS_OF_THE_LAKE: usize = 5;

const ALARMS_OF_OTEL: usize = 5;

/// The pause between two queries to CloudWatch.
const PAUSE: Duration = Duration::from_secs(2);

/// Checks the promises. Waits for log lines and metrics, because CloudWatch stores them asynchronously, usually within
/// a minute.
pub async fn check(
    stack: &Stack,
    endpoint: &Endpoint,
    stored: Option<&Stored>,
    longest_wait: Duration,
    report: &mut Report,
) {
    if stack.parameter("AlarmEmail").is_ok_and(|email| email != "none") {
        match alarms(stack).await {
            Ok([enabled, quiet]) => {
                report.add(ALARMS, enabled);
                report.add(QUIET, quiet);
            }
            Err(error) => {
                report.not_checked(ALARMS, format!("{error:#}"));
                report.not_checked(QUIET, format!("{error:#}"));
            }
        }
        report.add(SUBSCRIPTION, subscription(stack).await);
    } else {
        report.not_checked(ALARMS, "AlarmEmail is none");
        report.not_checked(QUIET, "AlarmEmail is none");
        report.not_checked(SUBSCRIPTION, "AlarmEmail is none");
    }
    match stored {
        Some(stored) => report.add(LOG, log_line(stack, stored, longest_wait).await),
        None => report.not_checked(LOG, "no trace was stored"),
    }
    report.add(CONTENT, no_content(stack, endpoint).await);
    if stack.is_stand_in {
        report.not_checked(METRICS, "this stand-in for AWS does not read metrics from the log");
    } else {
        report.add(METRICS, metrics(stack, longest_wait).await);
    }
}

/// Checks that the alarms are enabled, and that none is in state ALARM.
async fn alarms(stack: &Stack) -> anyhow::Result<[Verdict; 2]> {
    let names: Vec<_> = stack.all("AWS::CloudWatch::Alarm").collect();
    let mut arguments = vec!["cloudwatch", "describe-alarms", "--alarm-names"];
    arguments.extend(&names);
    let found = aws(&arguments).await?;
    let alarms = found["MetricAlarms"].as_array().map(Vec::as_slice).unwrap_or_default();
    let enabled = alarms.iter().filter(|alarm| alarm["ActionsEnabled"] == Value::Bool(true)).count();
    let expected = ALARMS_OF_THE_ENDPOINT
        + if stack.has_lake() { ALARMS_OF_THE_LAKE } else { 0 }
        + if stack.has_otel() { ALARMS_OF_OTEL } else { 0 };
    let ringing = alarms.iter().filter(|alarm| alarm["StateValue"] == "ALARM");
    let ringing: Vec<_> = ringing.filter_map(|alarm| alarm["AlarmName"].as_str()).collect();
    Ok([ensure(enabled == expected, format!("{expected} alarms"), enabled.to_string()).into(), quiet(stack, &ringing)])
}

/// Judges the ringing alarms. The alarms on lake runs also ring from the deployment to the first run, which is no
/// fault.
fn quiet(stack: &Stack, ringing: &[&str]) -> Verdict {
    let early = lake::alarms_before_the_first_run(stack);
    let (early, others): (Vec<_>, Vec<_>) = ringing.iter().copied().partition(|name| early.contains(name));
    if others.is_empty() && !early.is_empty() {
        let reason =
            format!("the stack was deployed a short time ago, and waits for the first run: {}", early.join(", "));
        return Verdict::NotChecked { reason };
    }
    ensure(others.is_empty(), "no alarm", others.join(", ")).into()
}

async fn subscription(stack: &Stack) -> anyhow::Result<Verdict> {
    let topic = stack.one("AWS::SNS::Topic")?;
    let found = aws(&["sns", "list-subscriptions-by-topic", "--topic-arn", topic]).await?;
    let subscriptions = found["Subscriptions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let states: Vec<_> = subscriptions.iter().filter_map(|of| of["SubscriptionArn"].as_str()).collect();
    let is_confirmed = states.iter().any(|state| state.starts_with("arn:"));
    Ok(ensure(is_confirmed, "a confirmed subscription", states.join(", ")).into())
}

async fn log_line(stack: &Stack, stored: &Stored, longest_wait: Duration) -> anyhow::Result<Verdict> {
    let lines = wait(longest_wait, || matching(stack, "LogGroup", &stored.key), |lines| !lines.is_empty()).await?;
    let is_there = lines.iter().any(|line| line["status"] == 201 && line["key"] == *stored.key);
    let actual = lines.first().map_or_else(|| "no line".to_owned(), Value::to_string);
    Ok(ensure(is_there, format!("a line with status 201 and key {}", stored.key), actual).into())
}

async fn no_content(stack: &Stack, endpoint: &Endpoint) -> anyhow::Result<Verdict> {
    let mut lines = matching(stack, "LogGroup", &endpoint.secret).await?;
    if stack.has_otel() {
        lines.extend(matching(stack, "OtelLogGroup", &endpoint.secret).await?);
    }
    Ok(ensure(lines.is_empty(), "no line", format!("{} lines", lines.len())).into())
}

/// Returns the lines that contain `text` in the log group named by a stack output.
async fn matching(stack: &Stack, output: &str, text: &str) -> anyhow::Result<Vec<Value>> {
    let (group, pattern) = (stack.output(output)?, format!("\"{text}\""));
    let start = (Timestamp::now().as_millisecond() - 3_600_000).to_string();
    let arguments =
        ["logs", "filter-log-events", "--log-group-name", group, "--filter-pattern", &pattern, "--start-time", &start];
    let found = aws(&arguments).await?;
    let events = found["events"].as_array().context("aws logs filter-log-events printed no events")?;
    let messages = events.iter().filter_map(|event| event["message"].as_str());
    // Stand-ins for AWS may ignore the pattern.
    let messages = messages.filter(|message| message.contains(text));
    Ok(messages.map(|message| serde_json::from_str(message).unwrap_or_else(|_| message.into())).collect())
}

async fn metrics(stack: &Stack, longest_wait: Duration) -> anyhow::Result<Verdict> {
    let dimension = format!("Name=FunctionName,Value={}", stack.function()?);
    let now = Timestamp::now();
    let (start, end) = (now.as_second() - 3_600, now.as_second() + 600);
    let (start, end) = (start.to_string(), end.to_string());
    let mut arguments = vec!["cloudwatch", "get-metric-statistics", "--namespace", "Attest", "--metric-name", "Stored"];
    arguments.extend(["--dimensions", &dimension, "--statistics", "Sum", "--period", "60"]);
    arguments.extend(["--start-time", &start, "--end-time", &end]);
    let found = wait(
        longest_wait,
        || async { aws(&arguments).await },
        |found: &Value| found["Datapoints"].as_array().is_some_and(|points| !points.is_empty()),
    )
    .await?;
    let has_points = found["Datapoints"].as_array().is_some_and(|points| !points.is_empty());
    let missing = || Mismatch::new("the metric Stored", format!("none within {} s", longest_wait.as_secs()));
    Ok(if has_points { Verdict::Holds { measured: None } } else { Verdict::Fails(missing()) })
}

/// Reads repeatedly until `is_there` accepts the result or the longest wait is over.
async fn wait<T, F>(longest: Duration, read: impl Fn() -> F, is_there: impl Fn(&T) -> bool) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let deadline = Instant::now() + longest;
    loop {
        let found = read().await?;
        if is_there(&found) || Instant::now() > deadline {
            return Ok(found);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
