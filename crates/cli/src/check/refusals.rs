//! Promises of refusing: each kind of invalid request gets its status and problem details, and every valid one is accepted.

use std::io::Write;

use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    endpoint::{Endpoint, Sent},
    report::{Mismatch, Report, ensure},
};

/// Checks the promises. `limit` is the largest trace in bytes.
pub async fn check(endpoint: &Endpoint, limit: usize, report: &mut Report) {
    report.add("a body that is not UTF-8 gets 400 with its offset", not_utf8(endpoint).await);
    report.add("a body that is not JSON gets 400 with line and column", not_json(endpoint).await);
    report.add("a repeated name gets 400 with its pointer", repeated_name(endpoint).await);
    report.add("an unpaired surrogate gets 400", unpaired_surrogate(endpoint).await);
    report.add("a trace against the schema gets 400 with every pointer", against_the_schema(endpoint).await);
    report.add("a trace without a valid key gets 400", without_key(endpoint).await);
    report.add("errors do not quote the content of messages", quotes_nothing(endpoint).await);
    report.add("a missing API key gets 403", api_key(endpoint, None).await);
    report.add("a wrong API key gets 403", api_key(endpoint, Some("attest-check-wrong-api-key")).await);
    report.add("a trace at the size limit gets 201", at_the_limit(endpoint, limit).await);
    report.add("a trace one byte over the size limit gets 413", over_the_limit(endpoint, limit).await);
    report.add("a gzip-compressed trace gets 201", compressed(endpoint, "gzip").await);
    report.add("a deflate-compressed trace gets 201", compressed(endpoint, "deflate").await);
    report.add("an unknown Content-Encoding gets 415 as problem details", unknown_encoding(endpoint).await);
    report.add("an unknown route gets 403 or 404 as problem details", unknown_route(endpoint).await);
}

async fn refused(endpoint: &Endpoint, body: impl Into<Bytes>, kind: &str) -> Result<Value, Mismatch> {
    let problem = endpoint.send(endpoint.request(body)).await?.problem(400)?;
    let kind = format!("urn:attest:problem:{kind}");
    ensure(problem["type"] == *kind, kind, problem["type"].to_string())?;
    Ok(problem)
}

async fn not_utf8(endpoint: &Endpoint) -> Result<(), Mismatch> {
    // As text, API Gateway would replace the byte before the function sees it.
    let problem = refused(endpoint, &b"{\"model\":\"\xff\"}"[..], "not-utf8").await?;
    let detail = problem["detail"].as_str().unwrap_or_default();
    ensure(detail.contains("10"), "the offset 10 in detail", detail)
}

async fn not_json(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let problem = refused(endpoint, "{\"model\":\n oops}", "not-json").await?;
    let place = format!("line {} column {}", problem["line"], problem["column"]);
    ensure(place == "line 2 column 2", "line 2 column 2", place)
}

async fn repeated_name(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let trace = endpoint.trace("i", 1).replacen(r#""content""#, r#""role":"user","content""#, 1);
    points_at(&refused(endpoint, trace, "invalid").await?, &["/messages/0/role"])
}

async fn unpaired_surrogate(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let trace = endpoint.trace("i", 1).replace(&endpoint.secret, r"\ud83d");
    endpoint.send(endpoint.request(trace)).await?.problem(400).map(drop)
}

async fn against_the_schema(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let trace = r#"{"model":7,"created":1.0,"messages":[{"role":"user"}]}"#;
    points_at(&refused(endpoint, trace, "invalid").await?, &["/model", "/created", "/messages/0"])
}

fn points_at(problem: &Value, expected: &[&str]) -> Result<(), Mismatch> {
    let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pointers: Vec<_> = errors.iter().filter_map(|error| error["pointer"].as_str()).collect();
    let has_all = expected.iter().all(|pointer| pointers.iter().any(|found| found.starts_with(pointer)));
    ensure(has_all, format!("pointers at {}", expected.join(", ")), format!("pointers at {}", pointers.join(", ")))
}

async fn without_key(endpoint: &Endpoint) -> Result<(), Mismatch> {
    refused(endpoint, endpoint.trace("", 1), "no-key").await.map(drop)
}

async fn quotes_nothing(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let trace = endpoint.trace("i", 1).replace(r#""created":1"#, &format!(r#""created":"{}""#, endpoint.secret));
    let problem = refused(endpoint, trace, "invalid").await?.to_string();
    ensure(!problem.contains(&endpoint.secret), "an error without the content", &problem)
}

async fn api_key(endpoint: &Endpoint, key: Option<&str>) -> Result<(), Mismatch> {
    let trace = endpoint.trace(&Uuid::new_v4().to_string(), 1);
    let request = Sent { api_key: key, ..endpoint.request(trace) };
    endpoint.send(request).await?.problem(403).map(drop)
}

/// Returns a trace of exactly this size.
fn sized(endpoint: &Endpoint, size: usize) -> String {
    let trace = endpoint.trace(&Uuid::new_v4().to_string(), 1);
    let padding = size.saturating_sub(trace.len() + r#""padding":"","#.len());
    trace.replacen('{', &format!(r#"{{"padding":"{}","#, "x".repeat(padding)), 1)
}

async fn at_the_limit(endpoint: &Endpoint, limit: usize) -> Result<(), Mismatch> {
    endpoint.send(endpoint.request(sized(endpoint, limit))).await?.receipt(201).map(drop)
}

async fn over_the_limit(endpoint: &Endpoint, limit: usize) -> Result<(), Mismatch> {
    let problem = endpoint.send(endpoint.request(sized(endpoint, limit + 1))).await?.problem(413)?;
    let detail = problem["detail"].as_str().unwrap_or_default();
    ensure(detail.contains(&limit.to_string()), format!("the limit {limit} in detail"), detail)
}

async fn compressed(endpoint: &Endpoint, encoding: &'static str) -> Result<(), Mismatch> {
    let trace = endpoint.trace(&Uuid::new_v4().to_string(), 1);
    let mut request = endpoint.request(compress(trace.as_bytes(), encoding));
    request.headers.push(("content-encoding", encoding));
    endpoint.send(request).await?.receipt(201).map(drop)
}

fn compress(bytes: &[u8], encoding: &str) -> Vec<u8> {
    let compressed = if encoding == "gzip" {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).and_then(|()| encoder.finish())
    } else {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).and_then(|()| encoder.finish())
    };
    compressed.expect("writing to a Vec cannot fail")
}

async fn unknown_encoding(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let mut request = endpoint.request(endpoint.trace(&Uuid::new_v4().to_string(), 1));
    request.headers.push(("content-encoding", "attest-check"));
    endpoint.send(request).await?.problem(415).map(drop)
}

async fn unknown_route(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let request = Sent { path: "/attest-check/no/such/route", ..endpoint.request("{}") };
    let answer = endpoint.send(request).await?;
    // API Gateway answers 403 to a route that does not exist, the local endpoint 404.
    let expected = if answer.status == 404 { 404 } else { 403 };
    answer.problem(expected).map(drop)
}
