//! The ingest function keeps the lake of a bucket up to date. The schedule that invokes it passes the task.

use std::{
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use attest::{function, place, settings};
use attest_lake::{
    LakeLocation, Table,
    ingest::{Event, Lake, Queues, RunReport, Task},
    objects::Bucket,
    source::Source,
};
use lambda_runtime::{Error, LambdaEvent, service_fn};

/// No new commit is started this long before the end of an invocation.
const MARGIN: Duration = Duration::from_mins(3);

const RETENTION_DAYS: u64 = 7;

#[tokio::main]
async fn main() -> ExitCode {
    function::run(&["attest", "attest_lake"], &["delta_kernel"], serve).await
}

async fn serve() -> Result<(), Error> {
    let config = settings::aws_config().await?;
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let required = |name: &str| variable(name).ok_or_else(|| format!("the environment variable {name} is not set"));
    let objects = Bucket::new(&config, required("BUCKET_NAME")?);
    let source_name = place::bucket_name(objects.name(), settings::s3_endpoint(&config).as_deref());
    let location = LakeLocation::bucket(&required("LAKE_URL")?, &config)?;
    let queues = Queues {
        client: aws_sdk_sqs::Client::new(&config),
        stored: required("STORED_QUEUE_URL")?,
        removed: required("REMOVED_QUEUE_URL")?,
    };
    let days = variable("RETENTION_DAYS").map_or(Ok(RETENTION_DAYS), |days| days.parse())?;
    let retention = Duration::from_hours(24 * days);
    let lake = |table| Lake { table, objects: &objects, queues: queues.clone(), retention };
    let client = objects.client().clone();
    let handle = async |event: LambdaEvent<Event>| {
        let table = Table::open(&location).await?;
        let id = place::known_id(&client, objects.name()).await?;
        table.claim(&Source { name: source_name.clone(), id }).await?;
        let task = event.payload.task;
        let report = lake(table).run(task, deadline(event.context.deadline())).await?;
        log(task, &event.context.env_config.function_name, &report);
        Ok::<_, Error>(report)
    };
    lambda_runtime::run(service_fn(handle)).await
}

/// Returns the time after which a run starts no new work, so that it ends before Lambda stops it.
fn deadline(end: SystemTime) -> Instant {
    let left = end.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + left.saturating_sub(MARGIN.min(left / 2))
}

/// Writes the log line of a successful run, which CloudWatch counts by `function` and `task` (LakeRunsMetric in
/// `template.yaml`).
fn log(task: Task, function: &str, report: &RunReport) {
    let RunReport { messages, unreadable, added, known, absent, invalid, removed, .. } = report;
    let RunReport { too_large, archived, customer_key, denied, .. } = report;
    let RunReport { replaced_files, deleted_files, lost_races, files, rows, .. } = report;
    tracing::info!(
        task = task.name(),
        function,
        messages,
        unreadable,
        added,
        known,
        absent,
        invalid,
        too_large,
        archived,
        customer_key,
        denied,
        removed,
        replaced_files,
        deleted_files,
        lost_races,
        files,
        rows,
        "run"
    );
}
