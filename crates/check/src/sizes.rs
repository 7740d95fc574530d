//! Size promises: traces up to the limit are stored completely, larger ones are refused, and compressed ones are
//! accepted.

use std::io::Write;

use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};

use attest::settings::MAX_TRACE_BYTES;

use super::{
    endpoint::Endpoint,
    probe::Trace,
    refusals::{has_offset, refused},
    report::{Mismatch, Report, Verdict, ensure},
    storing::{Stored, conflict},
};

/// The number of attempts to get a response to a body that is too large. A server may close the connection instead of
/// reading the rest, and the response may then be lost.
const ATTEMPTS: u32 = 3;

const MIB: usize = 1024 * 1024;

/// Checks the promises. `limit` is the largest trace in bytes, if known from the stack. Returns the large traces that
/// were stored.
pub async fn check(endpoint: &Endpoint, limit: Option<usize>, report: &mut Report) -> Vec<Stored> {
    let limit = match limit {
        Some(limit) => limit,
        None => stated_limit(endpoint).await,
    };
    let mut stored = Vec::new();
    report.add("a trace at the size limit gets 201", at_the_limit(endpoint, limit, &mut stored).await);
    report.add("a trace one byte over the size limit gets 413", over_the_limit(endpoint, limit).await);
    report.add("large traces are compared whole", compared(endpoint, limit, &mut stored).await);
    report.add("large bodies are read to their last byte", read_whole(endpoint, limit).await);
    report.add("a gzip-compressed trace gets 201", compressed(endpoint, "gzip", limit).await);
    report.add("a deflate-compressed trace gets 201", compressed(endpoint, "deflate", limit).await);
    report.add("an unknown Content-Encoding gets 415 as problem details", unknown_encoding(endpoint).await);
    report.add("bodies of 7 MB and 11 MB get 413", beyond_aws(endpoint).await);
    stored
}

/// Returns the limit that the endpoint reports, or the default. The stack parameter `MaxTraceBytes` may be lower.
async fn stated_limit(endpoint: &Endpoint) -> usize {
    let trace = endpoint.padded(MAX_TRACE_BYTES + 1);
    let Ok(answer) = endpoint.send(endpoint.request(trace.json)).await else { return MAX_TRACE_BYTES };
    let detail =
        answer.problem(413, &["too-large"]).ok().and_then(|problem| Some(problem["detail"].as_str()?.to_owned()));
    let numbers = detail.iter().flat_map(|detail| detail.split(|of: char| !of.is_ascii_digit()));
    let numbers = numbers.filter_map(|number| number.parse().ok());
    numbers.filter(|number| (1..=MAX_TRACE_BYTES).contains(number)).min().unwrap_or(MAX_TRACE_BYTES)
}

async fn at_the_limit(endpoint: &Endpoint, limit: usize, stored: &mut Vec<Stored>) -> Result<(), Mismatch> {
    let trace = endpoint.padded(limit);
    endpoint.store(&trace, 201).await?;
    stored.push(Stored::of(&trace));
    endpoint.store(&trace, 200).await.map(drop)
}

async fn over_the_limit(endpoint: &Endpoint, limit: usize) -> Result<(), Mismatch> {
    let trace = endpoint.padded(limit + 1);
    let answer = endpoint.send_trace(&trace, endpoint.request(trace.json.clone())).await?;
    let problem = answer.problem(413, &["too-large"])?;
    let detail = problem["detail"].as_str().unwrap_or_default();
    for (name, number) in [("limit", limit), ("size", limit + 1)] {
        ensure(detail.contains(&number.to_string()), format!("the {name} {number} in detail"), detail)?;
    }
    Ok(())
}

/// Stores large traces. Sends copies that differ in one character at the start, in between, or at the end.
async fn compared(endpoint: &Endpoint, limit: usize, stored: &mut Vec<Stored>) -> Result<(), Mismatch> {
    for (size, places) in [(MIB + MIB / 8, 5), (limit, 2)] {
        let trace = endpoint.long(size.min(limit));
        endpoint.store(&trace, 201).await?;
        stored.push(Stored::of(&trace));
        endpoint.store(&trace, 200).await?;
        let (start, end) = (trace.json.find("xxx"), trace.json.rfind("xxx"));
        let Some((start, end)) = start.zip(end) else { continue };
        for place in 0..places {
            let at = end + 2 - (end + 2 - start) * place / (places - 1).max(1);
            let mut json = trace.json.clone();
            json.replace_range(at..=at, "y");
            conflict(endpoint, &Trace { json, ..trace.clone() }).await?;
        }
    }
    Ok(())
}

/// Sends bodies that are invalid at their end. The reported location shows how much of the body arrived.
async fn read_whole(endpoint: &Endpoint, limit: usize) -> Result<(), Mismatch> {
    for size in [100_000, MIB + MIB / 8, 2 * MIB + 1, limit] {
        let mut body = endpoint.long(size.min(limit) - 2).json.into_bytes();
        body.push(b'}');
        refused(endpoint, &body, "not-json").await?;
    }
    let mut body = endpoint.long((MIB + MIB / 8).min(limit) - 1).json.into_bytes();
    body.push(0xff);
    has_offset(&refused(endpoint, &body, "not-utf8").await?, body.len() - 1)
}

/// Sends compressed traces, and repeats them uncompressed.
async fn compressed(endpoint: &Endpoint, encoding: &'static str, limit: usize) -> Result<(), Mismatch> {
    for trace in [endpoint.new_trace(), endpoint.long((MIB + MIB / 8).min(limit))] {
        let mut request = endpoint.request(compress(trace.json.as_bytes(), encoding));
        request.headers.push(("content-encoding", encoding));
        endpoint.send_trace(&trace, request).await?.receipt(201, &trace)?;
        endpoint.store(&trace, 200).await?;
    }
    Ok(())
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

async fn unknown_encoding(endpoint: &Endpoint) -> Verdict {
    let unknown = (endpoint.new_trace(), "attest-check");
    let broken = (endpoint.new_trace(), "gzip"); // its body is not compressed
    for (trace, encoding) in [unknown, broken] {
        let mut request = endpoint.request(trace.json.clone());
        request.headers.push(("content-encoding", encoding));
        match endpoint.send_trace(&trace, request).await {
            Ok(answer) if answer.status == 415 && answer.is_before_routing() => {
                return before_routing(&answer.to_string());
            }
            Ok(answer) => {
                if let Err(mismatch) = answer.problem(415, &["unsupported-encoding", "gateway"]) {
                    return Verdict::Fails(mismatch);
                }
            }
            Err(mismatch) => return Verdict::Fails(mismatch),
        }
    }
    Verdict::Holds { measured: None }
}

/// Reports a response that API Gateway sent before it knew the API. The stack cannot configure such a response.
fn before_routing(answer: &str) -> Verdict {
    Verdict::NotChecked { reason: format!("API Gateway answered before it knew the API: {answer}") }
}

/// Sends bodies above the limits of Lambda (6 MB in base64) and of API Gateway (10 MB).
async fn beyond_aws(endpoint: &Endpoint) -> Verdict {
    let mut early = Vec::new();
    for size in [7_000_000, 11_000_000] {
        let body = Bytes::from(endpoint.padded(size).json);
        let mut answer = endpoint.send(endpoint.request(body.clone())).await;
        for _ in 1..ATTEMPTS {
            if answer.is_err() {
                answer = endpoint.send(endpoint.request(body.clone())).await;
            }
        }
        match answer {
            Ok(answer) if answer.status == 413 && answer.is_before_routing() => early.push(answer.to_string()),
            Ok(answer) => {
                if let Err(mismatch) = answer.problem(413, &["too-large"]) {
                    return Verdict::Fails(mismatch);
                }
            }
            Err(mismatch) => early.push(mismatch.actual),
        }
    }
    if early.is_empty() { Verdict::Holds { measured: None } } else { before_routing(&early.join(", ")) }
}
