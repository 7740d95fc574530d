//! Usage plan promises, checked with temporary API keys that may send one request per second or one per day.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::future::join_all;
use serde_json::Value;
use uuid::Uuid;

use super::{
    aws_cli::aws,
    endpoint::{Endpoint, Sent},
    report::{Mismatch, Report, Verdict},
    stack::Stack,
    stop::Stop,
};

/// A usage plan with the lowest limit, and API Gateway's response beyond it.
struct Limit {
    promise: &'static str,
    plan: [&'static str; 2],
    problem: &'static str,
    /// Whether the response has `Retry-After`. A client can wait a second for a rate, but not a day for a quota.
    is_short: bool,
}

const RATE: Limit = Limit {
    promise: "a key over its rate gets 429 as problem details",
    plan: ["--throttle", "rateLimit=1,burstLimit=1"],
    problem: "throttled",
    is_short: true,
};

const QUOTA: Limit = Limit {
    promise: "a key over its quota gets 429 as problem details",
    plan: ["--quota", "limit=1,period=DAY"],
    problem: "quota",
    is_short: false,
};

pub const PROMISES: &[&str] = &[RATE.promise, QUOTA.promise];

/// The longest time that API Gateway may take to accept a new key.
const NEW_KEY: Duration = Duration::from_mins(2);

/// The size of a burst. Several bursts are sent, because usage plans are applied on a best-effort basis.
const BURST: usize = 30;
const BURSTS: usize = 5;

/// Checks the promises. An interruption ends the requests, but the keys are still deleted.
pub async fn check(stack: &Stack, endpoint: &Endpoint, stop: &Stop, report: &mut Report) {
    let verdicts = [RATE, QUOTA].map(|limit| async move {
        let verdict = with_temporary_key(&limit, stack, endpoint, stop).await;
        (limit.promise, verdict)
    });
    for (promise, verdict) in join_all(verdicts).await {
        report.add(promise, verdict);
    }
}

async fn with_temporary_key(limit: &Limit, stack: &Stack, endpoint: &Endpoint, stop: &Stop) -> anyhow::Result<Verdict> {
    let name = format!("attest-check-{}-{}", limit.problem, Uuid::new_v4());
    let stage = format!("apiId={},stage=prod", stack.one("AWS::ApiGateway::RestApi")?);
    let mut arguments = vec!["apigateway", "create-usage-plan", "--name", &name, "--api-stages", &stage];
    arguments.extend(limit.plan);
    let plan = aws(&arguments).await?;
    let plan = id(&plan)?;
    let key = aws(&["apigateway", "create-api-key", "--name", &name, "--enabled"]).await;
    let verdict = match &key {
        Ok(key) => stop.unless_set(limited(limit, endpoint, plan, key)).await.unwrap_or_else(|| bail!("interrupted")),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    let deleted = delete(stack, plan, key.ok()).await;
    deleted.with_context(|| format!("delete the API key and the usage plan {name} yourself"))?;
    verdict
}

/// Deletes the key and the plan. A plan that still has a stage cannot be deleted.
async fn delete(stack: &Stack, plan: &str, key: Option<Value>) -> anyhow::Result<()> {
    let of_key = match key {
        Some(key) => aws(&["apigateway", "delete-api-key", "--api-key", id(&key)?]).await.map(drop),
        None => Ok(()),
    };
    let detach = format!("op=remove,path=/apiStages,value={}:prod", stack.one("AWS::ApiGateway::RestApi")?);
    aws(&["apigateway", "update-usage-plan", "--usage-plan-id", plan, "--patch-operations", &detach]).await?;
    aws(&["apigateway", "delete-usage-plan", "--usage-plan-id", plan]).await?;
    of_key
}

fn id(created: &Value) -> anyhow::Result<&str> {
    created["id"].as_str().context("aws apigateway printed no id")
}

async fn limited(limit: &Limit, endpoint: &Endpoint, plan: &str, key: &Value) -> anyhow::Result<Verdict> {
    let add = ["apigateway", "create-usage-plan-key", "--usage-plan-id", plan, "--key-type", "API_KEY", "--key-id"];
    aws(&[&add[..], &[id(key)?]].concat()).await?;
    let value = key["value"].as_str().context("aws apigateway create-api-key printed no value")?;
    // A body that is not JSON, so that nothing is stored.
    let request = || Sent { api_key: Some(value), ..endpoint.request("attest-check") };
    let deadline = Instant::now() + NEW_KEY;
    loop {
        match endpoint.send_once(&request()).await {
            Ok(answer) if answer.status == 403 && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(_) => break,
            Err(mismatch) => return Ok(Verdict::Fails(mismatch)),
        }
    }
    for _ in 0..BURSTS {
        let requests: Vec<_> = (0..BURST).map(|_| request()).collect();
        for answer in join_all(requests.iter().map(|request| endpoint.send_once(request))).await {
            match answer {
                Ok(answer) if answer.status == 429 => {
                    let problem = answer.problem(429, &[limit.problem]);
                    return Ok(problem.and_then(|_| if limit.is_short { answer.retry_after() } else { Ok(()) }).into());
                }
                Ok(_) => {}
                Err(mismatch) => return Ok(Verdict::Fails(mismatch)),
            }
        }
    }
    let sent = BURST * BURSTS;
    Ok(Verdict::Fails(Mismatch::new("429", format!("none in {sent} requests with {}", limit.plan.join(" ")))))
}
