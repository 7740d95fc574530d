//! The promise that the saved Athena queries run.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::{
    aws_cli::aws,
    report::{Report, Verdict, ensure},
    stack::Stack,
};

const QUERIES: &str = "the saved queries run";

/// The promises of this module.
pub const PROMISES: &[&str] = &[QUERIES];

/// The time limit of one query.
const LIMIT: Duration = Duration::from_mins(5);

/// Checks the promises.
pub async fn check(stack: &Stack, report: &mut Report) {
    if !stack.has_lake() {
        report.not_checked(QUERIES, "Queries is off");
    } else if stack.is_stand_in {
        report.not_checked(QUERIES, "this stand-in for AWS has no Athena");
    } else {
        report.add(QUERIES, all(stack).await);
    }
}

async fn all(stack: &Stack) -> anyhow::Result<Verdict> {
    let mut queries = Vec::new();
    for id in stack.all("AWS::Athena::NamedQuery") {
        queries.push(aws(&["athena", "get-named-query", "--named-query-id", id]).await?["NamedQuery"].take());
    }
    // The other queries read the table that this one creates.
    queries.sort_by_key(|query| !creates_table(query));
    let mut failed = Vec::new();
    for query in &queries {
        if let Some(reason) = one(query).await? {
            failed.push(reason);
        }
    }
    Ok(ensure(failed.is_empty(), "every query succeeds", failed.join("; ")).into())
}

fn creates_table(query: &Value) -> bool {
    query["QueryString"].as_str().is_some_and(|text| text.starts_with("CREATE EXTERNAL TABLE"))
}

/// Runs a saved query. Returns the reason if the query fails. A table that already exists is not a failure.
async fn one(query: &Value) -> anyhow::Result<Option<String>> {
    let text = |name: &str| query[name].as_str().with_context(|| format!("a saved query has no {name}"));
    let database = format!("Database={}", text("Database")?);
    let mut arguments = vec!["athena", "start-query-execution", "--query-string", text("QueryString")?];
    arguments.extend(["--work-group", text("WorkGroup")?, "--query-execution-context", &database]);
    let started = aws(&arguments).await?;
    let execution = started["QueryExecutionId"].as_str().context("aws athena printed no QueryExecutionId")?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = aws(&["athena", "get-query-execution", "--query-execution-id", execution]).await?;
        let status = &found["QueryExecution"]["Status"];
        match status["State"].as_str() {
            Some("SUCCEEDED") => return Ok(None),
            Some("QUEUED" | "RUNNING") if Instant::now() < deadline => tokio::time::sleep(Duration::from_secs(1)).await,
            state => {
                let reason = status["StateChangeReason"].as_str().unwrap_or("no reason");
                if creates_table(query) && reason.to_lowercase().replace(' ', "").contains("alreadyexists") {
                    return Ok(None);
                }
                return Ok(Some(format!("{}: {} ({reason})", text("Name")?, state.unwrap_or("no state"))));
            }
        }
    }
}
