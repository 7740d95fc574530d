//! Lake promises: the bucket reports its objects, the function runs, and nothing waits for an operator.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    aws_cli::aws,
    report::{Mismatch, Report, Verdict, ensure},
    stack::Stack,
};

const NOTIFICATIONS: &str = "the bucket reports stored and removed objects to the lake";
const SCHEDULES: &str = "the schedules of the lake are enabled";
const INGEST: &str = "a run of the lake succeeds";
const RUNS: &str = "each task of the lake has succeeded in time";
const DEAD_LETTERS: &str = "the lake has no dead letters";

pub const PROMISES: &[&str] = &[NOTIFICATIONS, SCHEDULES, INGEST, RUNS, DEAD_LETTERS];

/// The events that each queue in `template.yaml` receives, by the queue's logical id.
const EVENTS: [(&str, &str); 3] = [
    ("StoredQueue", "s3:ObjectCreated:*"),
    ("RemovedQueue", "s3:ObjectRemoved:*"),
    ("RemovedQueue", "s3:LifecycleExpiration:*"),
];

/// The number of schedules in `template.yaml`.
const SCHEDULE_COUNT: usize = 3;

/// The longest time between two successful runs of each task, with an hour for the run itself.
const TASKS: [(&str, Duration); 3] = [
    ("ingest", Duration::from_hours(1)),
    ("maintain", Duration::from_hours(25)),
    ("sync", Duration::from_hours(31 * 24 + 1)),
];

/// The alarms on a missing run, by their logical ids in `template.yaml`. After the given time, they indicate a fault:
/// their period plus an hour for the metric to arrive.
const ALARMS: [(&str, Duration); 2] =
    [("LakeIngestAlarm", Duration::from_mins(90)), ("LakeRemovalsAlarm", Duration::from_hours(27))];

/// Checks the promises. Runs the task `ingest`, because the lake does not exist before the first run.
pub async fn check(stack: &Stack, report: &mut Report) {
    if !stack.has_lake() {
        for promise in PROMISES {
            report.not_checked(promise, "Queries is off");
        }
        return;
    }
    report.add(NOTIFICATIONS, notifications(stack).await);
    report.add(SCHEDULES, schedules(stack).await);
    report.add(INGEST, ingest(stack).await.map(Verdict::from));
    if stack.is_stand_in {
        report.not_checked(RUNS, "this stand-in for AWS does not read metrics from the log");
    } else {
        report.add(RUNS, runs(stack).await);
    }
    report.add(DEAD_LETTERS, dead_letters(stack).await);
}

async fn notifications(stack: &Stack) -> anyhow::Result<Verdict> {
    let found = aws(&["s3api", "get-bucket-notification-configuration", "--bucket", stack.bucket()?]).await?;
    let configurations = found["QueueConfigurations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut missing = Vec::new();
    for (queue, event) in EVENTS {
        let name = stack.named(queue)?.rsplit('/').next();
        let reports = |configuration: &Value| {
            configuration["QueueArn"].as_str().and_then(|arn| arn.rsplit(':').next()) == name
                && configuration["Events"].as_array().is_some_and(|events| events.iter().any(|of| of == event))
        };
        if !configurations.iter().any(reports) {
            missing.push(event);
        }
    }
    let actual = format!("no notification for {}", missing.join(", "));
    Ok(ensure(missing.is_empty(), "a notification for each event", actual).into())
}

async fn schedules(stack: &Stack) -> anyhow::Result<Verdict> {
    let mut enabled = 0;
    for rule in stack.all("AWS::Events::Rule") {
        let found = aws(&["events", "describe-rule", "--name", rule]).await?;
        enabled += usize::from(found["State"] == "ENABLED");
    }
    Ok(ensure(enabled == SCHEDULE_COUNT, format!("{SCHEDULE_COUNT} schedules"), enabled.to_string()).into())
}

/// Runs the task `ingest` to completion.
pub async fn ingest(stack: &Stack) -> anyhow::Result<Result<(), Mismatch>> {
    let output = tempfile::NamedTempFile::new().context("cannot create a temporary file")?;
    let path = output.path().to_str().context("the path of the temporary file is not UTF-8")?;
    // The time limit exceeds the 900 s of the function (`template.yaml`).
    let mut arguments = vec!["lambda", "invoke", "--function-name", stack.named("LakeFunction")?];
    // Both versions of the AWS CLI send the bytes of a file unchanged.
    let payload = tempfile::NamedTempFile::new().context("cannot create a temporary file")?;
    std::fs::write(payload.path(), r#"{"task": "ingest"}"#).context("cannot write a temporary file")?;
    let payload = format!("fileb://{}", payload.path().display());
    arguments.extend(["--cli-read-timeout", "960", "--payload", &payload, path]);
    let invoked = aws(&arguments).await?;
    let answer = std::fs::read_to_string(output.path()).unwrap_or_default();
    Ok(ensure(invoked["FunctionError"].is_null(), "a run without an error", answer))
}

async fn runs(stack: &Stack) -> anyhow::Result<Verdict> {
    let function = format!("Name=FunctionName,Value={}", stack.named("LakeFunction")?);
    let now = Timestamp::now();
    let (mut late, mut due) = (Vec::new(), Vec::new());
    for (task, limit) in TASKS {
        let start = (now.as_second() - i64::try_from(limit.as_secs()).unwrap_or(i64::MAX)).to_string();
        let (end, task_dimension) = ((now.as_second() + 60).to_string(), format!("Name=Task,Value={task}"));
        let mut arguments = vec!["cloudwatch", "get-metric-statistics", "--namespace", "Attest"];
        arguments.extend(["--metric-name", "LakeRuns", "--dimensions", &function, &task_dimension]);
        arguments.extend(["--statistics", "Sum", "--period", "3600", "--start-time", &start, "--end-time", &end]);
        let found = aws(&arguments).await?;
        if found["Datapoints"].as_array().is_some_and(|points| !points.is_empty()) {
            continue;
        }
        if is_new(stack, limit) { &mut due } else { &mut late }.push(task);
    }
    if late.is_empty() && !due.is_empty() {
        let reason = format!("the stack was deployed a short time ago, and has no run yet of {}", due.join(", "));
        return Ok(Verdict::NotChecked { reason });
    }
    Ok(ensure(late.is_empty(), "a run of each task", format!("no successful run of {}", late.join(", "))).into())
}

/// Returns whether the last deployment was less than `limit` ago. A task that runs at night may not have been due
/// since.
fn is_new(stack: &Stack, limit: Duration) -> bool {
    let age = stack.updated.map(|updated| Timestamp::now().as_second() - updated.as_second());
    age.is_some_and(|age| age < i64::try_from(limit.as_secs()).unwrap_or(i64::MAX))
}

/// Returns the alarms that may ring although nothing is wrong, because their task has not been due since the last
/// deployment.
pub fn alarms_before_the_first_run(stack: &Stack) -> Vec<&str> {
    let waiting = ALARMS.iter().filter(|(_, limit)| is_new(stack, *limit));
    waiting.filter_map(|(alarm, _)| stack.named(alarm).ok()).collect()
}

async fn dead_letters(stack: &Stack) -> anyhow::Result<Verdict> {
    let queue = stack.named("DeadLetterQueue")?;
    let name = "ApproximateNumberOfMessages";
    let found = aws(&["sqs", "get-queue-attributes", "--queue-url", queue, "--attribute-names", name]).await?;
    let count = found["Attributes"][name].as_str().context("aws sqs get-queue-attributes printed no number")?;
    Ok(ensure(count == "0", "0 messages", format!("{count} messages (docs/operating.md, \"The lake\")")).into())
}
