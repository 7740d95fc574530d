//! Athena promises: a trace of this check has a row in the lake, and the saved queries run.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::{
    aws_cli::aws,
    lake::ingest,
    report::{Mismatch, Report, Verdict, ensure},
    stack::Stack,
    storing::Stored,
};

const ROW: &str = "a stored trace becomes one row of the lake";
const QUERIES: &str = "the saved queries run";

pub const PROMISES: &[&str] = &[ROW, QUERIES];

/// The time limit of one query.
const LIMIT: Duration = Duration::from_mins(5);

/// The pause before `ingest` runs again. S3 delivers notifications within seconds, and seldom takes a minute or longer
/// (Amazon S3 User Guide, "Amazon S3 Event Notifications").
const PAUSE: Duration = Duration::from_secs(5);

/// Checks the promises. Waits for the row of `stored` up to `longest_wait`.
pub async fn check(stack: &Stack, stored: Option<&Stored>, longest_wait: Duration, report: &mut Report) {
    if !stack.has_lake() || stack.is_stand_in {
        let reason = if stack.has_lake() { "this stand-in for AWS has no Athena" } else { "Queries is off" };
        for promise in PROMISES {
            report.not_checked(promise, reason);
        }
        return;
    }
    match stored {
        Some(stored) => report.add(ROW, row(stack, stored, longest_wait).await),
        None => report.not_checked(ROW, "no trace was stored"),
    }
    report.add(QUERIES, all(stack).await);
}

/// Runs `ingest` until Athena finds the row of a stored trace.
async fn row(stack: &Stack, stored: &Stored, longest_wait: Duration) -> anyhow::Result<Verdict> {
    let query = saved(stack).await?.into_iter().next().context("the stack has no saved query")?;
    // The keys of a check are a fingerprint and a UUID, so they need no escape.
    let text = format!("SELECT key FROM lake WHERE key = '{}'", stored.key);
    let deadline = Instant::now() + longest_wait;
    loop {
        if let Err(mismatch) = ingest(stack).await? {
            return Ok(Verdict::Fails(mismatch));
        }
        let rows = match run(&query, &text).await? {
            Ok(execution) => results(&execution).await?,
            Err(reason) => return Ok(Verdict::Fails(Mismatch::new("a row", reason))),
        };
        if rows > 0 || Instant::now() > deadline {
            return Ok(ensure(rows == 1, "1 row", format!("{rows} rows for {}", stored.key)).into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns the number of rows of a finished query. The first row of its results is the header.
async fn results(execution: &str) -> anyhow::Result<usize> {
    let found = aws(&["athena", "get-query-results", "--query-execution-id", execution]).await?;
    let rows = found["ResultSet"]["Rows"].as_array().context("aws athena get-query-results printed no rows")?;
    Ok(rows.len().saturating_sub(1))
}

async fn all(stack: &Stack) -> anyhow::Result<Verdict> {
    let mut failed = Vec::new();
    for query in saved(stack).await? {
        if let Err(reason) = run(&query, text(&query, "QueryString")?).await? {
            failed.push(format!("{}: {reason}", text(&query, "Name")?));
        }
    }
    Ok(ensure(failed.is_empty(), "every query succeeds", failed.join("; ")).into())
}

async fn saved(stack: &Stack) -> anyhow::Result<Vec<Value>> {
    let mut queries = Vec::new();
    for id in stack.all("AWS::Athena::NamedQuery") {
        queries.push(aws(&["athena", "get-named-query", "--named-query-id", id]).await?["NamedQuery"].take());
    }
    Ok(queries)
}

fn text<'q>(query: &'q Value, name: &str) -> anyhow::Result<&'q str> {
    query[name].as_str().with_context(|| format!("a saved query has no {name}"))
}

/// Runs a statement in the database and workgroup of a saved query. Returns the execution id, or the reason for a
/// failure.
async fn run(query: &Value, statement: &str) -> anyhow::Result<Result<String, String>> {
    let database = format!("Database={}", text(query, "Database")?);
    let mut arguments = vec!["athena", "start-query-execution", "--query-string", statement];
    arguments.extend(["--work-group", text(query, "WorkGroup")?, "--query-execution-context", &database]);
    let started = aws(&arguments).await?;
    let execution = started["QueryExecutionId"].as_str().context("aws athena printed no QueryExecutionId")?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = aws(&["athena", "get-query-execution", "--query-execution-id", execution]).await?;
        let status = &found["QueryExecution"]["Status"];
        match status["State"].as_str() {
            Some("SUCCEEDED") => return Ok(Ok(execution.to_owned())),
            Some("QUEUED" | "RUNNING") if Instant::now() < deadline => tokio::time::sleep(Duration::from_secs(1)).await,
            state => {
                let reason = status["StateChangeReason"].as_str().unwrap_or("no reason");
                return Ok(Err(format!("{} ({reason})", state.unwrap_or("no state"))));
            }
        }
    }
}
