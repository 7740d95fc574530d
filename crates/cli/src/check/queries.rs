//! The promise that the saved queries of Athena run.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::{
    aws_cli::aws,
    report::{Report, Verdict, ensure},
    stack::Stack,
};

const QUERIES: &str = "the saved queries run";

/// The promises of this module.
pub const PROMISES: &[&str] = &[QUERIES];

/// The time limit of one query. The lake of a new stack is empty.
const LIMIT: Duration = Duration::from_mins(5);

/// Checks the promises.
pub async fn check(stack: &Stack, report: &mut Report) {
    if stack.parameter("Queries").is_ok_and(|queries| queries == "off") {
        report.not_checked(QUERIES, "Queries is off");
    } else if stack.is_stand_in {
        report.not_checked(QUERIES, "this stand-in for AWS has no Athena");
    } else {
        report.add(QUERIES, all(stack).await);
    }
}

async fn all(stack: &Stack) -> anyhow::Result<Verdict> {
    let mut failed = Vec::new();
    for query in stack.all("AWS::Athena::NamedQuery") {
        if let Some(reason) = one(query).await? {
            failed.push(reason);
        }
    }
    Ok(ensure(failed.is_empty(), "every query succeeds", failed.join("; ")).into())
}

/// Runs a saved query. Returns the reason if it does not succeed.
async fn one(id: &str) -> anyhow::Result<Option<String>> {
    let found = aws(&["athena", "get-named-query", "--named-query-id", id]).await?;
    let query = &found["NamedQuery"];
    let text = |name: &str| query[name].as_str().with_context(|| format!("the saved query {id} has no {name}"));
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
                return Ok(Some(format!("{}: {} ({reason})", text("Name")?, state.unwrap_or("no state"))));
            }
        }
    }
}
