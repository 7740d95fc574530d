//! Promises of storing: once, never over another trace, and repeatable.

use bytes::Bytes;
use futures_util::future::join_all;
use uuid::Uuid;

use super::{
    endpoint::{Answer, Endpoint},
    report::{Mismatch, Report, ensure},
};

/// The number of requests that are sent at once.
pub const AT_ONCE: usize = 64;

/// A trace that the endpoint confirmed.
pub struct Stored {
    pub key: String,
    pub bytes: Bytes,
}

/// Checks the promises, and returns the first stored trace.
pub async fn check(endpoint: &Endpoint, report: &mut Report) -> Option<Stored> {
    let id = Uuid::new_v4().to_string();
    // The digits, the escape and the white space must survive.
    let trace = endpoint.trace(&id, 1).replacen('{', r#"{ "number": 1.10e400, "text": "\u00e9 é", "#, 1);
    let first = new_trace(endpoint, &trace).await;
    let stored = first.as_ref().ok().map(|key| Stored { key: key.clone(), bytes: trace.clone().into() });
    report.add("a new trace gets 201", first.map(drop));
    report.add("a repeated trace gets 200", repeated(endpoint, &trace).await);
    report.add("a different trace under a taken id gets 409", conflict(endpoint, &endpoint.trace(&id, 2)).await);
    report.add("an Idempotency-Key makes a trace without an id repeatable", idempotent(endpoint).await);
    report.add("of 64 equal traces at once, exactly one is stored", equal_at_once(endpoint).await);
    report.add("of 64 different traces under one id at once, exactly one is stored", different_at_once(endpoint).await);
    stored
}

async fn post(endpoint: &Endpoint, trace: &str) -> Result<Answer, Mismatch> {
    endpoint.send(endpoint.request(trace.to_owned())).await
}

async fn new_trace(endpoint: &Endpoint, trace: &str) -> Result<String, Mismatch> {
    let receipt = post(endpoint, trace).await?.receipt(201)?;
    Ok(receipt["key"].as_str().unwrap_or_default().to_owned())
}

async fn repeated(endpoint: &Endpoint, trace: &str) -> Result<(), Mismatch> {
    post(endpoint, trace).await?.receipt(200).map(drop)
}

async fn conflict(endpoint: &Endpoint, trace: &str) -> Result<(), Mismatch> {
    post(endpoint, trace).await?.problem(409).map(drop)
}

async fn idempotent(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let key = Uuid::new_v4().to_string();
    let trace = endpoint.trace("", 1).replacen(r#""id":"","#, "", 1);
    let mut receipts = Vec::new();
    for status in [201, 200] {
        let mut request = endpoint.request(trace.clone());
        request.headers.push(("idempotency-key", &key));
        receipts.push(endpoint.send(request).await?.receipt(status)?);
    }
    ensure(receipts[0] == receipts[1], "the same receipt twice", format!("{} and {}", receipts[0], receipts[1]))
}

async fn equal_at_once(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let trace = endpoint.trace(&Uuid::new_v4().to_string(), 1);
    at_once(endpoint, vec![trace; AT_ONCE], 200).await
}

async fn different_at_once(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let id = Uuid::new_v4().to_string();
    at_once(endpoint, (1..).take(AT_ONCE).map(|created| endpoint.trace(&id, created)).collect(), 409).await
}

/// Sends traces at once. One must get 201, and every other one `others`.
async fn at_once(endpoint: &Endpoint, traces: Vec<String>, others: u16) -> Result<(), Mismatch> {
    let answers = join_all(traces.iter().map(|trace| post(endpoint, trace))).await;
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for answer in answers {
        *statuses.entry(answer?.status).or_default() += 1;
    }
    let expected = [(201, 1), (others, AT_ONCE - 1)].into();
    ensure(statuses == expected, counts(&expected), counts(&statuses))
}

fn counts(statuses: &std::collections::BTreeMap<u16, usize>) -> String {
    let counts: Vec<_> = statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
    counts.join(", ")
}
