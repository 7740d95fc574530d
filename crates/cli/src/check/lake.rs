//! Promises of the lake: the bucket reports its objects, and the function runs.

use serde_json::Value;

use super::{
    aws_cli::aws,
    report::{Report, Verdict, ensure},
    stack::Stack,
};

const NOTIFICATIONS: &str = "the bucket reports stored and removed objects to the lake";
const SCHEDULES: &str = "the schedules of the lake are enabled";

/// The promises of this module.
pub const PROMISES: &[&str] = &[NOTIFICATIONS, SCHEDULES];

/// The events that each queue of `template.yaml` receives, by the logical id of the queue.
const EVENTS: [(&str, &str); 3] = [
    ("StoredQueue", "s3:ObjectCreated:*"),
    ("RemovedQueue", "s3:ObjectRemoved:*"),
    ("RemovedQueue", "s3:LifecycleExpiration:*"),
];

/// The number of schedules in `template.yaml`.
const SCHEDULE_COUNT: usize = 3;

/// Checks the promises.
pub async fn check(stack: &Stack, report: &mut Report) {
    if stack.has_lake() {
        report.add(NOTIFICATIONS, notifications(stack).await);
        report.add(SCHEDULES, schedules(stack).await);
    } else {
        report.not_checked(NOTIFICATIONS, "Queries is off");
        report.not_checked(SCHEDULES, "Queries is off");
    }
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
